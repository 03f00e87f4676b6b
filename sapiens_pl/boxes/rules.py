"""When a row of a box file is a box, and which one.

Boxes that cannot hold a person (not numbers, no area) become failures before they take a place in a batch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from sapiens_pl.boxes.suppression import suppressed
from sapiens_pl.boxes.table import BoxRow, BoxTable, four_numbers, number
from sapiens_pl.core.columns import NO_IMAGE_ID, BoxColumns
from sapiens_pl.core.errors import BoxError, ConfigError
from sapiens_pl.core.plan import Pictures
from sapiens_pl.core.settings import SWITCH, check, either, one_of, whole_number
from sapiens_pl.core.settings import number as a_number
from sapiens_pl.core.structures import Failure

BOX_FORMATS = ("xyxy", "xywh", "cxcywh", "cxcywhn")
BOX_SETTINGS = {
    "format": one_of(*BOX_FORMATS),
    "score_threshold": either(a_number(), None),
    "nms_threshold": either(a_number(0), None),
    "exif": one_of("upright", "raw"),
    "strict": SWITCH,
    "first_frame": either(whole_number(0), None),
}
FARTHEST_PX = 1e7
"""No image is so large, and float32 geometry is still finite there."""
INVERTED = "is inverted (its right or lower side comes before the left or upper one)"


class Ruled(NamedTuple):
    """What the rules make of rows: the boxes of all pictures, and the rows that cannot be used.

    `places` (F,) int64 are the failures' rows, of which `num_inverted` are inverted; `num_below` and `num_overlapping`
    count those that a threshold left out.
    """

    boxes: BoxColumns
    failures: list[Failure]
    places: np.ndarray
    num_inverted: int
    num_below: int
    num_overlapping: int

    @property
    def num_left_out(self) -> int:
        """Those that a threshold left out."""
        return self.num_below + self.num_overlapping


class BoxRules:
    """How the rows of a box file become boxes.

    Args:
        format: `xyxy`, `xywh` or `cxcywh` in image px, or `cxcywhn`, parts of the image's width and height.
        score_threshold: rows with a lower score are left out; rows without a score stay. None keeps all.
        nms_threshold: of two scored boxes of one image that overlap by a larger IoU only the better
            stays; None keeps all.
        exif: `upright` if the boxes live in the picture as viewers show it, `raw` if in the file's
            pixels before its EXIF orientation.
        strict: a row that cannot be used is an error, not left out and recorded.
        first_pixel: the coordinate of the first pixel; 1 where a format counts from 1.
        first_frame: the number of a video's first frame; None for the format's own.

    Raises:
        SettingError: a value that is not allowed.
    """

    def __init__(
        self,
        format: str,
        score_threshold: float | None = None,
        nms_threshold: float | None = None,
        exif: str = "upright",
        strict: bool = False,
        first_pixel: float = 0.0,
        first_frame: int | None = None,
    ) -> None:
        self.format, self.exif, self.strict, self.first_frame = format, exif, strict, first_frame
        self.score_threshold, self.nms_threshold = score_threshold, nms_threshold
        check(BOX_SETTINGS, vars(self))
        self.normalised = format == "cxcywhn"
        self.first_pixel = 0.0 if self.normalised else first_pixel

    def apply(
        self,
        pictures: Pictures,
        whose: np.ndarray,
        table: BoxTable,
        origin: Callable[[int], str] | None = None,
    ) -> Ruled:
        """Rows as boxes.

        Args:
            pictures: all of them.
            whose: (N,) int64, the rows' pictures, ascending.
            table: the rows; those of a picture in the order of the file.
            origin: where a picture's rows are from, so that with a row's number behind it a person finds it.

        Raises:
            ConfigError: a row cannot be used, and the rules are strict.
        """
        corners = corners_of(table.boxes, self.format, self.first_pixel)
        first = np.searchsorted(whose, whose)
        ids = np.where(table.has_id, table.ids, np.arange(len(whose)) - first)
        unusable = _unusable(corners, table)
        failures = [
            self._failure(pictures, int(whose[place]), int(ids[place]), corners[place], table.row(place), origin)
            for place in unusable.tolist()
        ]
        kept = np.ones(len(whose), bool)
        kept[unusable] = False
        num_usable = int(kept.sum())
        if self.score_threshold is not None:
            kept &= np.isnan(table.scores) | (table.scores >= self.score_threshold)
        num_above = int(kept.sum())
        if self.nms_threshold is not None:
            kept[suppressed(whose, corners, table.scores, kept, self.nms_threshold)] = False
        num_kept = int(kept.sum())
        if not kept.all():
            whose, corners, ids = whose[kept], corners[kept], ids[kept]
        scores = table.scores if len(whose) == len(table.scores) else table.scores[kept]
        offsets = np.searchsorted(whose, np.arange(len(pictures.names) + 1))
        boxes = BoxColumns(
            offsets,
            corners,
            np.where(np.isnan(scores), 1.0, scores),
            ids,
            np.full(len(pictures.names), NO_IMAGE_ID),
            self.exif == "raw",
            self.normalised,
            table.has_id if kept.all() else table.has_id[kept],
        )
        num_inverted = sum(INVERTED in failure.message for failure in failures)
        return Ruled(boxes, failures, unusable, num_inverted, num_usable - num_above, num_above - num_kept)

    def _failure(
        self,
        pictures: Pictures,
        index: int,
        instance_id: int,
        box: np.ndarray,
        row: BoxRow,
        origin: Callable[[int], str] | None,
    ) -> Failure:
        complaint = _complaint(box.tolist(), number(row.score), row)
        where = f" ({origin(index)} {row.number})" if origin else ""
        hint = self.if_inverted if complaint == INVERTED else ""
        remedy = f"correct it in the box file{hint or '.'}" if origin else "give x1, y1, x2, y2 in image px."
        path = pictures.path(index) or pictures.names[index]
        message = f"Box {instance_id} of {path}{where} {complaint}; {remedy}"
        if self.strict:
            raise strict_error(message)
        return Failure(pictures.names[index], instance_id, BoxError.__name__, message)

    @property
    def if_inverted(self) -> str:
        """The likely cause of inverted boxes, to be appended to a sentence."""
        return ": was boxes.format=xywh meant?" if self.format == "xyxy" else ""

    def left_out_sentence(self, num_left_out: int, num_rows: int) -> str:
        """A sentence about the rows that the thresholds left out."""
        thresholds = {"score_threshold": self.score_threshold, "nms_threshold": self.nms_threshold}
        given = [f"boxes.{key}={value}" for key, value in thresholds.items() if value is not None]
        return f"{' and '.join(given)} left out {num_left_out} of {num_rows} rows (null keeps all)"


def corners_of(boxes: np.ndarray, format: str, first_pixel: float) -> np.ndarray:
    """(N, 4) xyxy, where the first pixel is 0; overflows are seen later."""
    one, two = boxes[:, :2], boxes[:, 2:]
    with np.errstate(over="ignore", invalid="ignore"):
        if format == "xyxy":
            return boxes - first_pixel if first_pixel else boxes
        if format == "xywh":
            return np.concatenate([one, one + two], axis=1) - first_pixel
        return np.concatenate([one - two / 2, one + two / 2], axis=1) - first_pixel


def _unusable(corners: np.ndarray, table: BoxTable) -> np.ndarray:
    """(F,) int64, the rows that are not boxes."""
    good = np.ones(len(corners), bool)
    for column in corners.T:  # one by one, as there are millions
        good &= np.abs(column) <= FARTHEST_PX  # false for NaN
    for low, high in ((0, 2), (1, 3)):
        good &= corners[:, high] > corners[:, low]
    good[list(table.odd)] = False
    return np.flatnonzero(~good)


def _complaint(box: Sequence[float], score: float | None, row: BoxRow) -> str:
    if four_numbers(row.bbox) is None or not all(map(math.isfinite, box)):
        return f"is {json.dumps(row.bbox, default=str)[:80]}, not four finite numbers"
    if max(map(abs, box)) > FARTHEST_PX:
        return "is larger than any image"
    if score is not None and not math.isfinite(score):
        return f"has a score of {json.dumps(row.score, default=str)[:80]}, which is not a finite number"
    left, top, right, bottom = box
    if right < left or bottom < top:
        return INVERTED
    return "has no area"


def strict_error(message: str) -> ConfigError:
    return ConfigError(f"{message} boxes.strict=true stops here; with false such boxes are recorded and left out.")
