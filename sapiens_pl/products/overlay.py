"""The photograph with its poses drawn on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from sapiens_pl.core.instance_scores import instance_scores
from sapiens_pl.core.keypoints import PART_SIZES, KeypointSet
from sapiens_pl.core.protocols import PictureProduct
from sapiens_pl.core.settings import SWITCH, Kind, check, either, is_list, number
from sapiens_pl.core.structures import NO_TRACK_ID, PoseResult
from sapiens_pl.products.drawing import Pen, draw_box, draw_skeleton, line_width, of_parts, track_colour
from sapiens_pl.products.labels import Labels

JPEG_QUALITY = 90
MAX_SIDE = 65500
"""px; the longest side that libjpeg writes."""
PARTS = Kind(
    f"a list of {', '.join(PART_SIZES)}",
    lambda value: is_list(value) and len(value) > 0 and all(part in PART_SIZES for part in value),
)
_SETTINGS = {"overlay_score_threshold": number(), "overlay_labels": SWITCH, "overlay_parts": either(PARTS, None)}


class Overlay(PictureProduct):
    """`overlays/a.jpg.jpg`.

    Args:
        score_threshold: keypoints with a lower score are not drawn.
        labels: write id and score at each box.
        parts: of the body, those whose keypoints are drawn (`KeypointSet.parts`); None: all there are.

    Raises:
        ConfigError: a setting that cannot be used.
    """

    folder, suffix, ending = "overlays", ".jpg", b"\xff\xd9"

    def __init__(self, score_threshold: float, labels: bool = True, parts: Sequence[str] | None = None) -> None:
        given = {"overlay_score_threshold": score_threshold, "overlay_labels": labels, "overlay_parts": parts}
        check(_SETTINGS, given, "output")
        self._score_threshold, self._labels, self._parts = score_threshold, labels, parts
        self.needs = tuple(parts or ())

    def content(self, result: PoseResult, keypoint_set: KeypointSet, photograph: Callable[[], np.ndarray]) -> bytes:
        return overlay_jpeg(
            photograph(), result, keypoint_set, self._score_threshold, labels=self._labels, parts=self._parts
        )


def overlay_jpeg(
    pixels: np.ndarray,
    result: PoseResult,
    keypoint_set: KeypointSet,
    score_threshold: float,
    *,
    labels: bool = True,
    parts: Sequence[str] | None = None,
) -> bytes:
    """`draw_poses` on a copy of the photograph.

    Args:
        pixels: (H, W, 3) uint8 BGR, the upright photograph; it stays as it is.

    Returns:
        A JPEG file's content.

    Raises:
        ValueError: a JPEG cannot be that large.
    """
    longest = max(pixels.shape[:2])
    if longest > MAX_SIDE:
        raise ValueError(f"a JPEG has no side of {longest} px (at most {MAX_SIDE})")
    canvas = pixels.copy()
    draw_poses(canvas, result, keypoint_set, score_threshold, labels=labels, parts=parts)
    return to_jpeg(canvas)


def to_jpeg(canvas: np.ndarray) -> bytes:
    """Raises ValueError where OpenCV writes none."""
    ok, data = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not ok:
        raise ValueError(f"OpenCV writes no JPEG of {canvas.shape[1]}x{canvas.shape[0]} px")
    return data.tobytes()


def draw_poses(
    canvas: np.ndarray,
    result: PoseResult,
    keypoint_set: KeypointSet,
    score_threshold: float,
    *,
    labels: bool = True,
    parts: Sequence[str] | None = None,
) -> None:
    """Draws boxes, skeletons and points: green on the person's left, orange on the right, blue between.

    Box and label have a colour for each id: the track's in a video, else the instance's. The label's number behind the
    id is the person's score (`core.instance_scores`).

    Args:
        canvas: (H, W, 3) uint8 BGR, of any size.
        result: the poses found in it.
        score_threshold: keypoints with a lower score are not drawn.
        labels: write id and score at each box.
        parts: of the body, those whose keypoints are drawn; None: all.
    """
    wh = canvas.shape[1], canvas.shape[0]
    scale = np.array([1.0, 1.0]) if result.image_wh is None else np.array(wh) / result.image_wh
    bboxes, keypoints = result.bboxes * np.tile(scale, 2), result.keypoints * scale
    chosen, ids = of_parts(keypoint_set, parts), _ids(result)
    pens = [Pen(line_width(wh, bbox), score_threshold, None, chosen) for bbox in bboxes]
    for pen, bbox, who, points, scores in zip(pens, bboxes, ids, keypoints, result.keypoint_scores):
        draw_box(canvas, bbox, pen._replace(colour=track_colour(who)))
        draw_skeleton(canvas, points, scores, keypoint_set, pen)
    if labels:
        texts = Labels(canvas)
        for who, score, bbox in zip(ids, instance_scores(result.bbox_scores, result.keypoint_scores), bboxes):
            texts.draw([str(who), f"{score:.2f}"], bbox, track_colour(who))


def _ids(result: PoseResult) -> list[int]:
    ids = result.instance_ids
    if result.track_ids is not None:
        ids = np.where(result.track_ids == NO_TRACK_ID, ids, result.track_ids)
    return ids.tolist()
