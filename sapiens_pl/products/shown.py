"""Draws a result for Python callers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from sapiens_pl.core.keypoints import PART_SIZES, numbered_set
from sapiens_pl.core.settings import check, either, number, whole_number
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.data.python_images import checked_image, load_image
from sapiens_pl.products.overlay import draw_poses

_SETTINGS = {"score_threshold": number(), "max_side": either(whole_number(1), None)}


def draw_result(
    result: PoseResult,
    image: Any = None,
    score_threshold: float = 0.3,
    labels: bool = True,
    parts: Sequence[str] | None = None,
    max_side: int | None = None,
) -> np.ndarray:
    """See `PoseResult.draw`."""
    check(_SETTINGS, {"score_threshold": score_threshold, "max_side": max_side})
    pixels = _pixels(result, image)
    if max_side is not None and max(pixels.shape[:2]) > max_side:
        scale = max_side / max(pixels.shape[:2])
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    keypoint_set = result.keypoint_set or numbered_set(result.keypoints.shape[1])
    unknown = [part for part in parts or () if part not in keypoint_set.parts]
    if unknown:
        known = ", ".join(part for part in PART_SIZES if part in keypoint_set.parts) or "none"
        raise ValueError(f"parts={unknown} are not in the set {keypoint_set.dataset_name}; it has {known}.")
    canvas = pixels.copy()
    draw_poses(canvas, result, keypoint_set, score_threshold, labels=labels, parts=parts)
    return canvas


def _pixels(result: PoseResult, image: Any) -> np.ndarray:
    if image is None:
        if not result.path or result.frame is not None or result.member is not None:
            raise ValueError(
                f"{result.name} has no picture file of its own: pass its pixels, draw(image); for a run's results "
                "open_run(folder).pixels(result) reads them."
            )
        image = result.path
    pixels = load_image("The image", checked_image(0, image)).pixels
    height, width = pixels.shape[:2]
    if result.image_wh not in (None, (width, height)):
        raise ValueError(
            f"The image has {width}x{height} px, and the poses of {result.name} were found in one of "
            f"{'x'.join(map(str, result.image_wh or ()))}; pass that one."
        )
    return pixels
