"""Cutting one crop out of an image.

Legend: H W crop px, h w image px.
"""

from __future__ import annotations

import cv2
import numpy as np

from sapiens_pl.core.geometry import CropSettings
from sapiens_pl.data.large_pictures import LONGEST_SIDE, blend_neighbours, cut_to_region

_INTERPOLATIONS = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}


def cut_crop(pixels: np.ndarray, matrix: np.ndarray, input_wh: tuple[int, int], settings: CropSettings) -> np.ndarray:
    """What the image shows in the crop's region; black where that lies outside the image.

    The bytes of `cv2.warpAffine`, as in the originals; it rounds positions to 1/32 px.

    Args:
        pixels: (h, w, 3) uint8.
        matrix: (2, 3), image px to crop px, without rotation (`geometry.box_to_crop`).
        input_wh: width and height of the crop.

    Returns:
        (H, W, 3) uint8, rounded to the nearest grey level.
    """
    enlarged = min(matrix[0, 0], matrix[1, 1]) >= 1
    if max(pixels.shape[:2]) > LONGEST_SIDE:
        pixels, matrix = cut_to_region(pixels, matrix, input_wh)
        if max(pixels.shape[:2]) > LONGEST_SIDE:  # so it is reduced, and bilinear
            return blend_neighbours(pixels, matrix, input_wh)
    interpolation = _INTERPOLATIONS[settings.enlarging] if enlarged else cv2.INTER_LINEAR
    return cv2.warpAffine(pixels, matrix, input_wh, flags=interpolation)
