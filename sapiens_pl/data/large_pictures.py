"""Crops of pictures that are longer than OpenCV's warp takes.

Legend: H W crop px, h w image px.
"""

from __future__ import annotations

import cv2
import numpy as np

LONGEST_SIDE = 32766
"""Px; `cv2.warpAffine` counts in 16 bits."""
_MARGIN = 4
"""Px beyond the outermost positions; cubic interpolation looks at two on either side."""


def cut_to_region(pixels: np.ndarray, matrix: np.ndarray, input_wh: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The part of a picture that a crop shows, and the mapping from there, which gives the same crop.

    Args:
        pixels: (h, w, 3) uint8.
        matrix: (2, 3), image px to crop px, without rotation.
        input_wh: width and height of the crop.

    Returns:
        A view of the pixels, and a (2, 3) float64 matrix; where the region lies outside, one black pixel.
    """
    matrix = matrix.astype(np.float64)
    window = []
    for axis, count in enumerate(input_wh):
        size = pixels.shape[1 - axis]
        positions = (np.array([0, count - 1]) - matrix[axis, 2]) / matrix[axis, axis]
        first = int(np.clip(np.floor(positions[0]) - _MARGIN, 0, size))
        window.append(slice(first, int(np.clip(np.ceil(positions[1]) + _MARGIN + 1, first, size))))
        matrix[axis, 2] += matrix[axis, axis] * first
    part = pixels[window[1], window[0]]
    return (part if part.size else np.zeros((1, 1, 3), np.uint8)), matrix


def blend_neighbours(pixels: np.ndarray, matrix: np.ndarray, input_wh: tuple[int, int]) -> np.ndarray:
    """The (H, W, 3) bilinear crop of a region that is too long itself, as `cv2.warpAffine` would make it.

    Each pixel of the crop is made of two columns and two rows, far from those of the next. They are brought
    together, and OpenCV blends them there. Arguments as above.
    """
    indices, maps = [], []
    for axis, count in enumerate(input_wh):
        positions = (np.arange(count) - float(matrix[axis, 2])) / float(matrix[axis, axis])
        first = np.floor(positions)
        indices.append((first[:, None] + (0, 1)).astype(np.int64).ravel())
        maps.append((2 * np.arange(count) + positions - first).astype(np.float32))
    (columns, rows), (height, width) = indices, pixels.shape[:2]
    pairs = pixels[np.ix_(rows.clip(0, height - 1), columns.clip(0, width - 1))]
    pairs[(rows < 0) | (rows >= height)] = 0
    pairs[:, (columns < 0) | (columns >= width)] = 0
    map_x, map_y = np.meshgrid(*maps)
    return cv2.remap(pairs, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
