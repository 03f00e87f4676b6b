"""Skeletons on black as ControlNet's own preprocessor draws OpenPose's points, which its networks take as their input.

The 18 points, their links and colours are those of OpenPose's COCO model (Cao et al., "OpenPose", TPAMI 2021); hands
and faces are drawn as in its 21-point hand and its face rendering. Whole px, no smooth edges, and the same widths at
512 as at 1024 px are what `controlnet_aux` has, and ControlNet has seen.

Legend: K keypoints; coordinates in px of the picture that is drawn.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.protocols import PictureProduct
from sapiens_pl.core.settings import SWITCH, Kind, check, either, is_list, number, whole_number
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.products.openpose_face import face_points, with_jaw
from sapiens_pl.products.subpixels import FAR

BODY, HANDS, FACE = PARTS = ("body", "hands", "face")
_BODY = (0, -1, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
"""OpenPose's 18 points by their numbers among COCO's 17; -1 is the neck, midway between the shoulders."""
_NECK, _SHOULDERS = 1, (2, 5)
_LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10),
    (1, 11), (11, 12), (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
_HAND_LINKS = tuple((0 if joint % 4 == 1 else joint - 1, joint) for joint in range(1, 21))
_FACE_BGR, _HAND_POINT_BGR = (255, 255, 255), (255, 0, 0)
_LIMB_OPACITY = 0.6
_SIZES_FROM, _SIZES_TO = 512, 1024
"""px of the shorter side, between which widths do not change; in other pictures they are in proportion."""
_MULTIPLE = 64
"""px, of both sides with a resolution."""
_SETTINGS = {
    "overlay_score_threshold": number(),
    "openpose_parts": Kind(
        "a list of body, hands and face", lambda value: is_list(value) and len(value) > 0 and set(value) <= set(PARTS)
    ),
    "openpose_jaw": SWITCH,
    "resolution": either(whole_number(_MULTIPLE), None),
}


class _Sizes(NamedTuple):
    """px: radii of points, half the width of limbs, and the width of a hand's lines."""

    joint: int
    limb: int
    hand_point: int
    hand_line: int
    face_point: int


_CONTROLNET = _Sizes(4, 4, 4, 2, 3)


class OpenPosePictures(PictureProduct):
    """`openpose/a.jpg.png`.

    Args:
        score_threshold: keypoints with a lower score are not drawn.
        parts: what is drawn, of `PARTS`.
        jaw: draw a jaw line for faces that have only the chin.
        resolution: px of the picture's shorter side; None for the photograph's size.

    Raises:
        ConfigError: not a number, an unknown part, not true or false, not a whole number of at least 64.
    """

    folder, suffix, ending = "openpose", ".png", b"\xaeB`\x82"
    needs = ("body",)

    def __init__(
        self,
        score_threshold: float,
        parts: Sequence[str] = PARTS,
        jaw: bool = True,
        resolution: int | None = None,
    ) -> None:
        values = {"openpose_parts": parts, "openpose_jaw": jaw, "resolution": resolution}
        check(_SETTINGS, values | {"overlay_score_threshold": score_threshold}, "output")
        self._threshold, self._parts, self._jaw, self._resolution = score_threshold, tuple(parts), jaw, resolution

    def content(self, result: PoseResult, keypoint_set: KeypointSet, photograph: Callable[[], np.ndarray]) -> bytes:
        return openpose_png(result, keypoint_set, self._threshold, self._parts, self._jaw, self._resolution)


def openpose_png(
    result: PoseResult,
    keypoint_set: KeypointSet,
    score_threshold: float,
    parts: Sequence[str] = PARTS,
    jaw: bool = True,
    resolution: int | None = None,
) -> bytes:
    """Draws everyone's body, and hands and face where the set has them.

    Args:
        result: the poses found in a photograph.
        keypoint_set: what their keypoints are.
        score_threshold: keypoints with a lower score are not drawn.
        parts: what is drawn, of `PARTS`.
        jaw: as for `OpenPosePictures`.
        resolution: as for `OpenPosePictures`.

    Returns:
        A PNG file's content.
    """
    assert result.image_wh is not None, "an image that could not be read has no picture"
    width, height = _size(result.image_wh, resolution)
    canvas, sizes = np.zeros((height, width, 3), np.uint8), _sizes(min(width, height))
    keypoints = result.keypoints * (np.array([width, height]) / result.image_wh)
    for points, scores in zip(keypoints, result.keypoint_scores):
        if BODY in parts:
            _draw_body(canvas, *_openpose_body(points, scores >= score_threshold, keypoint_set), sizes)
        if HANDS in parts:
            for side in ("left_hand", "right_hand"):
                hand = list(keypoint_set.parts.get(side, ()))
                _draw_hand(canvas, points[hand], scores[hand] >= score_threshold, sizes)
        if FACE in parts:
            face = face_points(points, scores, keypoint_set)
            face = with_jaw(face, points, scores, keypoint_set) if jaw else face
            for x, y, score in face:
                if score >= score_threshold and score > 0:  # what is 0 is not there at all
                    cv2.circle(canvas, _whole((x, y)), sizes.face_point, _FACE_BGR, -1)
    ok, data = cv2.imencode(".png", canvas)
    if not ok:
        raise ValueError(f"OpenCV writes no PNG of {width}x{height} px")
    return data.tobytes()


def _size(image_wh: tuple[int, int], resolution: int | None) -> tuple[int, int]:
    if resolution is None:
        return image_wh
    width, height = (max(1, round(side * resolution / min(image_wh) / _MULTIPLE)) * _MULTIPLE for side in image_wh)
    return width, height


def _sizes(shorter: int) -> _Sizes:
    factor = shorter / min(max(shorter, _SIZES_FROM), _SIZES_TO)
    return _Sizes(*(max(1, round(size * factor)) for size in _CONTROLNET))


def _openpose_body(
    keypoints: np.ndarray, visible: np.ndarray, keypoint_set: KeypointSet
) -> tuple[np.ndarray, np.ndarray]:
    """(18, 2) points and (18,) whether they are to be drawn."""
    body = np.array(keypoint_set.parts["body"])[list(_BODY)]
    points, seen = keypoints[body], visible[body].copy()
    points[_NECK] = points[list(_SHOULDERS)].mean(axis=0)
    seen[_NECK] = seen[list(_SHOULDERS)].all()
    return points, seen


def _draw_body(canvas: np.ndarray, points: np.ndarray, seen: np.ndarray, sizes: _Sizes) -> None:
    for limb, (start, end) in enumerate(_LIMBS):
        if seen[start] and seen[end]:
            one, other = np.clip(points[[start, end]], -FAR, FAR)
            (run, rise), middle = one - other, (one + other) / 2
            axes, angle = (int(np.hypot(run, rise) / 2), sizes.limb), int(np.degrees(np.arctan2(rise, run)))
            colour = tuple(int(_LIMB_OPACITY * value) for value in _hue(limb, 18))
            outline = np.array(cv2.ellipse2Poly(_whole(middle), axes, angle, 0, 360, 1))
            cv2.fillConvexPoly(canvas, outline, colour)  # cv2.ellipse differs in a px here and there
    for place in np.flatnonzero(seen).tolist():
        cv2.circle(canvas, _whole(points[place]), sizes.joint, _hue(place, 18), -1)


def _draw_hand(canvas: np.ndarray, points: np.ndarray, seen: np.ndarray, sizes: _Sizes) -> None:
    for link, (start, end) in enumerate(_HAND_LINKS if len(points) else ()):
        if seen[start] and seen[end]:
            colour = _hue(link, len(_HAND_LINKS))
            cv2.line(canvas, _whole(points[start]), _whole(points[end]), colour, sizes.hand_line)
    for point in points[seen]:
        cv2.circle(canvas, _whole(point), sizes.hand_point, _HAND_POINT_BGR, -1)


def _whole(point: np.ndarray | Sequence[float]) -> tuple[int, int]:
    """Whole px, the fraction cut off."""
    x, y = np.clip(point, -FAR, FAR)
    return int(x), int(y)


def _hue(place: int, count: int) -> tuple[int, int, int]:
    """BGR; OpenPose's colours go round the circle in steps of 20 degrees, in thirds of 255."""
    red, green, blue = colorsys.hsv_to_rgb(place / count, 1, 1)
    return round(255 * blue), round(255 * green), round(255 * red)
