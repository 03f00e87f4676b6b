"""Skeletons on black as OpenPose draws them, which ControlNet's pose networks take as their input.

The 18 points, their links and colours are those of OpenPose's COCO model (Cao et al., "OpenPose", TPAMI 2021);
hands and faces are drawn as in its 21-point hand and its face rendering.

Legend: K keypoints, H W image px.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import cv2
import numpy as np

from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.protocols import PictureProduct
from sapiens_pl.core.settings import check, number
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.products.subpixels import FAR, SUBPIXEL_BITS, fixed

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
STICK_PER_IMAGE = 4 / 512
"""Radius of points and half-width of limbs as a part of the image's shorter side (4 px at 512)."""


class OpenPosePictures(PictureProduct):
    """`openpose/a.jpg.png`.

    Args:
        score_threshold: keypoints with a lower score are not drawn.

    Raises:
        ConfigError: it is no number.
    """

    folder, suffix, ending = "openpose", ".png", b"\xaeB`\x82"
    needs = ("body",)

    def __init__(self, score_threshold: float) -> None:
        check({"overlay_score_threshold": number()}, {"overlay_score_threshold": score_threshold}, "output")
        self._score_threshold = score_threshold

    def content(self, result: PoseResult, keypoint_set: KeypointSet, photograph: Callable[[], np.ndarray]) -> bytes:
        return openpose_png(result, keypoint_set, self._score_threshold)


def openpose_png(result: PoseResult, keypoint_set: KeypointSet, score_threshold: float) -> bytes:
    """Draws everyone's body, and hands and face where the set has them, in the size of the photograph.

    Args:
        result: the poses found in it.
        score_threshold: keypoints with a lower score are not drawn.

    Returns:
        A PNG file's content.
    """
    assert result.image_wh is not None, "an image that could not be read has no picture"
    width, height = result.image_wh
    canvas = np.zeros((height, width, 3), np.uint8)
    radius = max(1.0, min(width, height) * STICK_PER_IMAGE)
    shown = result.keypoint_scores >= score_threshold
    for keypoints, visible in zip(result.keypoints, shown):
        _draw_limbs(canvas, *_openpose_body(keypoints, visible, keypoint_set), radius)
    np.multiply(
        canvas, _LIMB_OPACITY, out=canvas, casting="unsafe"
    )  # in place: a copy in floats is eight times as large
    for keypoints, visible in zip(result.keypoints, shown):
        for place, (point, seen) in enumerate(zip(*_openpose_body(keypoints, visible, keypoint_set))):
            if seen:
                _draw_point(canvas, point, radius, _hue(place, 18))
        for side in ("left_hand", "right_hand"):
            part = list(keypoint_set.parts.get(side, ()))
            _draw_hand(canvas, keypoints[part], visible[part], radius)
        for index in set(keypoint_set.parts.get("face", ())) - set(
            keypoint_set.parts["body"]
        ):  # nose, eyes, ears are the body's
            if visible[index]:
                _draw_point(canvas, keypoints[index], radius * 0.6, _FACE_BGR)
    ok, data = cv2.imencode(".png", canvas)
    if not ok:
        raise ValueError(f"OpenCV writes no PNG of {width}x{height} px")
    return data.tobytes()


def _openpose_body(
    keypoints: np.ndarray, visible: np.ndarray, keypoint_set: KeypointSet
) -> tuple[np.ndarray, np.ndarray]:
    """(18, 2) points and (18,) whether they are to be drawn."""
    body = np.array(keypoint_set.parts["body"])[list(_BODY)]
    points, seen = keypoints[body], visible[body].copy()
    points[_NECK] = points[list(_SHOULDERS)].mean(axis=0)
    seen[_NECK] = seen[list(_SHOULDERS)].all()
    return points, seen


def _draw_limbs(canvas: np.ndarray, points: np.ndarray, seen: np.ndarray, radius: float) -> None:
    for limb, (start, end) in enumerate(_LIMBS):
        if seen[start] and seen[end]:
            one, other = np.clip(points[[start, end]], -FAR, FAR).astype(np.float64)
            (run, rise), middle = other - one, (one + other) / 2
            size, angle = (float(np.hypot(run, rise)), 2 * radius), float(np.degrees(np.arctan2(rise, run)))
            outline = ((float(middle[0]), float(middle[1])), size, angle)
            cv2.ellipse(canvas, outline, _hue(limb, 18), -1, cv2.LINE_AA)


def _draw_hand(canvas: np.ndarray, points: np.ndarray, seen: np.ndarray, radius: float) -> None:
    if not len(points):
        return
    for link, (start, end) in enumerate(_HAND_LINKS):
        if seen[start] and seen[end]:
            ends = fixed(points[start]), fixed(points[end])
            colour = _hue(link, len(_HAND_LINKS))
            cv2.line(canvas, *ends, colour, max(1, round(radius / 2)), cv2.LINE_AA, SUBPIXEL_BITS)
    for point in points[seen]:
        _draw_point(canvas, point, radius * 0.75, _HAND_POINT_BGR)


def _draw_point(canvas: np.ndarray, point: np.ndarray, radius: float, colour: tuple[int, int, int]) -> None:
    cv2.circle(canvas, fixed(point), round(radius * (1 << SUBPIXEL_BITS)), colour, -1, cv2.LINE_AA, SUBPIXEL_BITS)


def _hue(place: int, count: int) -> tuple[int, int, int]:
    """BGR; OpenPose's colours go round the circle in steps of 20 degrees, in thirds of 255."""
    red, green, blue = colorsys.hsv_to_rgb(place / count, 1, 1)
    return round(255 * blue), round(255 * green), round(255 * red)
