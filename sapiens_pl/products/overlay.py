"""The photograph with its poses drawn on it."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.protocols import PictureProduct
from sapiens_pl.core.settings import check, number
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.products.subpixels import SUBPIXEL_BITS, fixed

LEFT_BGR, RIGHT_BGR, MIDDLE_BGR, OUTLINE_BGR = (80, 200, 60), (40, 120, 255), (255, 190, 60), (30, 30, 30)
BOX_BGR = (230, 230, 230)
LINE_PER_IMAGE = 1 / 300
"""Line width as a part of the image's longer side."""
JPEG_QUALITY = 90
MAX_SIDE = 65500
"""px; libjpeg writes no longer one."""


class Overlay(PictureProduct):
    """`overlays/a.jpg.jpg`.

    Args:
        score_threshold: keypoints with a lower score are not drawn.

    Raises:
        ConfigError: it is no number.
    """

    folder, suffix, ending = "overlays", ".jpg", b"\xff\xd9"

    def __init__(self, score_threshold: float) -> None:
        check({"overlay_score_threshold": number()}, {"overlay_score_threshold": score_threshold}, "output")
        self._score_threshold = score_threshold

    def content(self, result: PoseResult, keypoint_set: KeypointSet, photograph: Callable[[], np.ndarray]) -> bytes:
        return overlay_jpeg(photograph(), result, keypoint_set, self._score_threshold)


def overlay_jpeg(pixels: np.ndarray, result: PoseResult, keypoint_set: KeypointSet, score_threshold: float) -> bytes:
    """Draws boxes, skeletons and points: green on the person's left, orange on the right, blue between.

    Args:
        pixels: (H, W, 3) uint8 BGR, the upright photograph; it stays as it is.
        result: the poses found in it.
        score_threshold: keypoints with a lower score are not drawn.

    Returns:
        A JPEG file's content.

    Raises:
        ValueError: a JPEG cannot be that large.
    """
    longest = max(pixels.shape[:2])
    if longest > MAX_SIDE:
        raise ValueError(f"a JPEG has no side of {longest} px (at most {MAX_SIDE})")
    canvas = pixels.copy()
    width = max(1, round(max(canvas.shape[:2]) * LINE_PER_IMAGE))
    for row in range(len(result.instance_ids)):
        _draw_instance(canvas, result, row, keypoint_set, score_threshold, width)
    ok, data = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not ok:
        raise ValueError(f"OpenCV writes no JPEG of {canvas.shape[1]}x{canvas.shape[0]} px")
    return data.tobytes()


def _draw_instance(
    canvas: np.ndarray, result: PoseResult, row: int, keypoint_set: KeypointSet, score_threshold: float, width: int
) -> None:
    corners = result.bboxes[row].reshape(2, 2)
    cv2.rectangle(canvas, fixed(corners[0]), fixed(corners[1]), BOX_BGR, max(1, width // 2), cv2.LINE_AA, SUBPIXEL_BITS)
    keypoints, shown = result.keypoints[row], result.keypoint_scores[row] >= score_threshold
    for start, end in keypoint_set.skeleton:
        if shown[start] and shown[end]:
            ends = fixed(keypoints[start]), fixed(keypoints[end])
            cv2.line(canvas, *ends, OUTLINE_BGR, width + 2, cv2.LINE_AA, SUBPIXEL_BITS)
            colour = _link_colour(keypoint_set.names[start], keypoint_set.names[end])
            cv2.line(canvas, *ends, colour, width, cv2.LINE_AA, SUBPIXEL_BITS)
    # Whole-body sets crowd faces and hands: their points are drawn finer.
    radius = width * (1.5 if keypoint_set.num_keypoints <= 32 else 0.7)
    for index in np.flatnonzero(shown):
        center = fixed(keypoints[index])
        for grow, colour in ((0.5, OUTLINE_BGR), (0.0, _side_colour(keypoint_set.names[index]))):
            size = round((radius + grow) * (1 << SUBPIXEL_BITS))
            cv2.circle(canvas, center, size, colour, -1, cv2.LINE_AA, SUBPIXEL_BITS)


def _side_colour(name: str) -> tuple[int, int, int]:
    if "left" in name:
        return LEFT_BGR
    return RIGHT_BGR if "right" in name else MIDDLE_BGR


def _link_colour(start: str, end: str) -> tuple[int, int, int]:
    one, other = _side_colour(start), _side_colour(end)
    if MIDDLE_BGR in (one, other):
        return other if one == MIDDLE_BGR else one
    return one if one == other else MIDDLE_BGR
