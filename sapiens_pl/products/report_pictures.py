"""The pictures of a report: the part that is looked at, as a small JPEG, and who is drawn on it, as numbers.

All JPEGs together keep to a budget of bytes, however many there are.

Legend: K keypoints; the view is the part of the picture that is shown, in its px, which may reach beyond its edges.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np

from sapiens_pl.core.errors import ReaderDiedError, ReadTimeoutError, SapiensError
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.core.wording import one_line
from sapiens_pl.products.report_galleries import Pick

_BUDGET = 2_700_000
"""Bytes of all JPEGs; as base64 they take a third more, and the page stays below 5 MB."""
_SIDES, _QUALITIES = (720, 560, 448, 352, 272, 208, 160), (78, 62)
_MARGIN = 0.15
"""Around a person and its keypoints, of the longer side."""
_WHOLE = 0.45
"""A person who takes that part of the picture's longer side is shown with all of it."""
_FARTHEST = 0.5
"""How far a view may reach beyond the picture's edges, as a fraction of its sides."""
_UNITS = 8192
"""Of the view's longer side: the steps in which keypoints are given."""
_MANY_NUMBERS = 4000
"""Keypoints drawn in one picture, above which of each person only the body's are."""
_GROUND = (128, 128, 128)
_PATIENCE = 2
"""How many reads may hang before no more pictures are read."""


class View(NamedTuple):
    """px of the picture."""

    left: float
    top: float
    width: float
    height: float


class Pictures:
    """Reads pictures again and makes them small.

    Args:
        photograph: reads the pixels of a result again.
        num_pictures: how many there will be.
    """

    def __init__(self, photograph: Callable[[PoseResult], np.ndarray], num_pictures: int) -> None:
        self._photograph, self._left, self._bytes = photograph, num_pictures, _BUDGET
        self._stuck = 0
        self._known: tuple[str, np.ndarray] | None = None

    def small(self, result: PoseResult, view: View) -> tuple[str | None, str | None]:
        """A data URL, or why there is none."""
        share, self._left = self._bytes // max(1, self._left), self._left - 1
        if self._stuck >= _PATIENCE:
            return None, "not read, for others could not be read in time"
        try:
            data = _jpeg(self._read(result), view, share)
        except (SapiensError, ValueError) as error:
            self._stuck += isinstance(error, ReadTimeoutError | ReaderDiedError)
            return None, one_line(error)
        self._bytes -= len(data)
        return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}", None

    def _read(self, result: PoseResult) -> np.ndarray:
        if self._known is None or self._known[0] != result.name:
            self._known = result.name, self._photograph(result)
        return self._known[1]


def view_of(pick: Pick) -> View:
    """The part of the picture that shows the person with everything that is drawn of it, or all of the picture."""
    assert pick.result.image_wh is not None, "an image that could not be read has no poses"
    size = np.array(pick.result.image_wh, float)
    if pick.row is None:
        return View(0, 0, *size.tolist())
    points = np.concatenate([pick.result.keypoints[pick.row], pick.result.bboxes[pick.row].reshape(2, 2)])
    low, high = points.min(axis=0), points.max(axis=0)
    margin = _MARGIN * float((high - low).max())
    low, high = low - margin, high + margin
    if (high - low).max() > _WHOLE * size.max():
        low, high = np.minimum(low, 0), np.maximum(high, size)
    low = np.maximum(np.minimum(low, size - 1), -_FARTHEST * size)
    high = np.minimum(np.maximum(high, 1), size * (1 + _FARTHEST))
    low, high = np.floor(low), np.ceil(high)
    return View(*low.tolist(), *np.maximum(high - low, 1).tolist())


def _jpeg(pixels: np.ndarray, view: View, most: int) -> bytes:
    """Of the largest side and quality that takes no more than that many bytes, or the smallest."""
    data = b""
    for side in dict.fromkeys(min(side, max(view.width, view.height)) for side in _SIDES):
        shown = _shown(pixels, view, side)
        for quality in _QUALITIES:
            ok, encoded = cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, quality])
            if not ok:
                raise ValueError(f"OpenCV writes no JPEG of {shown.shape[1]}x{shown.shape[0]} px")
            data = encoded.tobytes()
            if len(data) <= most:
                return data
    return data


def _shown(pixels: np.ndarray, view: View, side: float) -> np.ndarray:
    """The view at that longer side, or at its own if that is less; grey beyond the picture."""
    scale = min(1.0, side / max(view.width, view.height))
    wide, high = (max(1, round(length * scale)) for length in (view.width, view.height))
    canvas = np.full((high, wide, 3), _GROUND, np.uint8)
    height, width = pixels.shape[:2]
    left, top = max(0, int(view.left)), max(0, int(view.top))
    right, bottom = min(width, int(view.left + view.width)), min(height, int(view.top + view.height))
    if right <= left or bottom <= top:
        return canvas
    place = [round((edge - start) * scale) for edge, start in ((left, view.left), (top, view.top))]
    size = [min(max(1, round(length * scale)), most - at) for length, most, at in
            ((right - left, wide, place[0]), (bottom - top, high, place[1]))]  # fmt: skip
    if min(size) > 0:
        part = cv2.resize(pixels[top:bottom, left:right], size, interpolation=cv2.INTER_AREA)
        canvas[place[1] : place[1] + size[1], place[0] : place[0] + size[0]] = part
    return canvas


def people_of(pick: Pick, view: View, keypoint_set: KeypointSet) -> list[dict[str, Any]]:
    """All people who are drawn: `b` the box, `k` the keypoints, `i` which these are where they are not all.

    Coordinates are int16, `_UNITS` a view's longer side, from its upper left corner; scores int16 thousandths. They
    stand as x, y, score of each keypoint, little-endian, in base64.
    """
    result, unit = pick.result, max(view.width, view.height) / _UNITS
    chosen: list[int] | None = None
    if len(result.instance_ids) * keypoint_set.num_keypoints > _MANY_NUMBERS and pick.row is None:
        chosen = list(keypoint_set.parts.get("body", range(min(17, keypoint_set.num_keypoints))))
    indices = list(range(keypoint_set.num_keypoints)) if chosen is None else chosen
    people = []
    for row in range(len(result.instance_ids)):
        numbers = np.empty((len(indices), 3))
        numbers[:, :2] = (result.keypoints[row, indices] - (view.left, view.top)) / unit
        numbers[:, 2] = result.keypoint_scores[row, indices] * 1000
        box = (result.bboxes[row].reshape(2, 2) - (view.left, view.top)) / unit
        person: dict[str, Any] = {"b": _int16(box), "k": _int16(numbers)}
        people.append(person if chosen is None else person | {"i": chosen})
    return people


def _int16(numbers: np.ndarray) -> str:
    return base64.b64encode(np.clip(np.rint(numbers), -32768, 32767).astype("<i2").tobytes()).decode()
