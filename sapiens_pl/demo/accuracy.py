"""How far found keypoints lie from drawn ones.

Legend: N figures, K keypoints; coordinates in image px.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

PCK_FRACTION = 0.05
"""A keypoint counts as right within this part of the box's longer side."""


class Accuracy(NamedTuple):
    """`pck`: part of the visible keypoints that is right; mean error in px and in box sides."""

    pck: float
    mean_error_px: float
    mean_error_sides: float
    num_keypoints: int
    num_figures: int


def measure(found: np.ndarray, drawn: np.ndarray, visible: np.ndarray, sides: np.ndarray) -> Accuracy:
    """Compares keypoints.

    Args:
        found, drawn: (N, K, 2).
        visible: (N, K) bool; the others do not count.
        sides: (N,) longer sides of the boxes.
    """
    errors = np.linalg.norm(found - drawn, axis=2)
    relative = errors / sides[:, None]
    return Accuracy(
        float((relative[visible] <= PCK_FRACTION).mean()),
        float(errors[visible].mean()),
        float(relative[visible].mean()),
        int(visible.sum()),
        len(found),
    )


def accuracy_line(found: np.ndarray, drawn: np.ndarray, visible: np.ndarray, sides: np.ndarray) -> str:
    """`measure` as a sentence."""
    result = measure(found, drawn, visible, sides)
    return (
        f"Of {result.num_keypoints} visible keypoints of {result.num_figures} figures, {100 * result.pck:.2f}% lie "
        f"within {100 * PCK_FRACTION:g}% of the box's longer side; mean error {result.mean_error_px:.2f} px "
        f"({100 * result.mean_error_sides:.2f}% of that side)."
    )
