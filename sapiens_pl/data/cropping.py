"""Cutting one crop out of an image.

Legend: H W crop px, h w image px.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sapiens_pl.data.large_pictures import LONGEST_SIDE, blend_neighbours, cut_to_region
from sapiens_pl.geometry import CropSettings

SHARPNESS = -0.75
"""The free parameter of cubic convolution (Keys, 1981), as OpenCV and torch set it."""
STRIP_ROWS = 256
"""Rows of the crop that are made at a time, so that what lies between the two passes stays in the cache."""


def cut_crop(pixels: np.ndarray, matrix: np.ndarray, input_wh: tuple[int, int], settings: CropSettings) -> np.ndarray:
    """What the image shows in the crop's region; black where that lies outside the image.

    Bilinear crops are `cv2.warpAffine`'s, as the original's are. Its bicubic interpolation takes four to six times
    as long as one axis after the other, and rounds positions to 1/32 px; here they are not rounded.

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
    if enlarged and settings.enlarging == "bicubic":
        return _bicubic(pixels, matrix, input_wh)
    return cv2.warpAffine(pixels, matrix, input_wh, flags=cv2.INTER_LINEAR)


def _bicubic(pixels: np.ndarray, matrix: np.ndarray, input_wh: tuple[int, int]) -> np.ndarray:
    (width, height), (image_height, image_width) = input_wh, pixels.shape[:2]
    columns, column_weights = _taps(matrix[0, 0], matrix[0, 2], width, image_width)
    rows, row_weights = _taps(matrix[1, 1], matrix[1, 2], height, image_height)
    left, right = int(columns.min()), int(columns.max()) + 1
    crop = np.empty((height, width * 3), np.uint8)
    for start in range(0, height, STRIP_ROWS):
        strip = slice(start, start + STRIP_ROWS)
        top, bottom = int(rows[strip].min()), int(rows[strip].max()) + 1
        upright = torch.from_numpy(cv2.transpose(pixels[top:bottom, left:right])).flatten(1).float()
        wide = _weighted_rows(upright, columns - left, column_weights).view(width, bottom - top, 3)
        wide = torch.from_numpy(cv2.transpose(wide.numpy())).flatten(1)
        high = _weighted_rows(wide, rows[strip] - top, row_weights[strip])
        cv2.convertScaleAbs(high.relu_().numpy(), dst=crop[strip])  # rounds; values over 255 become 255
    return crop.reshape(height, width, 3)


def _taps(gain: float, shift: float, count: int, size: int) -> tuple[Tensor, Tensor]:
    """(count, 4) which pixels of an axis of `size` px each pixel of the crop is made of, and their weights."""
    positions = (np.arange(count) - float(shift)) / float(gain)
    first = np.floor(positions)
    taps = first[:, None] + np.arange(-1, 3)
    distance, a = np.abs(positions[:, None] - taps), SHARPNESS
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = (((distance - 5) * distance + 8) * distance - 4) * a
    weights = np.where(distance <= 1, near, far)
    weights[(taps < 0) | (taps >= size)] = 0
    indices = taps.clip(0, size - 1).astype(np.int64)
    return torch.from_numpy(indices), torch.from_numpy(weights.astype(np.float32))


def _weighted_rows(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """(n, c) -> (count, c): each row the sum of the table's four `rows`, weighted."""
    return F.embedding_bag(rows, table, mode="sum", per_sample_weights=weights)
