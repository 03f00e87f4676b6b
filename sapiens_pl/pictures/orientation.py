"""Turning pictures and boxes upright, as the Exif 2.3 standard numbers the orientations (1 to 8)."""

from __future__ import annotations

import numpy as np

TURNED_ORIENTATIONS = (5, 6, 7, 8)
"""Orientations that exchange width and height."""


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes an orientation: (h, w, 3) as a file stores them to (H, W, 3) as people see them."""
    if orientation in TURNED_ORIENTATIONS:
        pixels = pixels.transpose(1, 0, 2)
    flip_rows, flip_columns = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    pixels = pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
    return np.ascontiguousarray(pixels)


def upright_bboxes(bboxes_xyxy: np.ndarray, orientation: int, upright_wh: tuple[int, int]) -> np.ndarray:
    """Carries (N, 4) boxes from a file's raw pixels into its upright picture.

    Args:
        orientation: the file's EXIF value, 1 to 8.
        upright_wh: width and height of the upright picture, px.
    """
    width, height = upright_wh
    x1, y1, x2, y2 = bboxes_xyxy.T
    if orientation in TURNED_ORIENTATIONS:
        x1, y1, x2, y2 = y1, x1, y2, x2
    if orientation in (2, 3, 6, 7):
        x1, x2 = width - x2, width - x1
    if orientation in (3, 4, 7, 8):
        y1, y2 = height - y2, height - y1
    return np.stack([x1, y1, x2, y2], axis=1)
