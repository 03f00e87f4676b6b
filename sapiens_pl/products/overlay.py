"""The photograph with its poses drawn on it."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.protocols import PictureProduct
from sapiens_pl.core.settings import check, number
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.products.drawing import Pen, draw_box, draw_skeleton, line_width

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
    pen = Pen(line_width((canvas.shape[1], canvas.shape[0])), score_threshold)
    for row in range(len(result.instance_ids)):
        draw_box(canvas, result.bboxes[row], pen)
        draw_skeleton(canvas, result.keypoints[row], result.keypoint_scores[row], keypoint_set, pen)
    ok, data = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not ok:
        raise ValueError(f"OpenCV writes no JPEG of {canvas.shape[1]}x{canvas.shape[0]} px")
    return data.tobytes()
