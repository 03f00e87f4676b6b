"""How well the people of one frame match those of earlier ones, and which of them are the same.

Legend: T people of earlier frames, N people of this one.
"""

from __future__ import annotations

import numpy as np

from sapiens_pl.core.errors import ConfigError


def overlaps(expected: np.ndarray, bboxes: np.ndarray, margins: np.ndarray) -> np.ndarray:
    """Intersection over union after both boxes have grown by the same part of their heights on each side.

    So people who have moved further than their width, in a video of few frames a second, still overlap (buffered IoU:
    Yang et al., arXiv 2211.14317).

    Args:
        expected: (T, 4) xyxy.
        bboxes: (N, 4) xyxy.
        margins: (T,).

    Returns:
        (T, N).
    """
    ones, others = _grown(expected[:, None], margins[:, None]), _grown(bboxes[None], margins[:, None])
    sides = np.minimum(ones[..., 2:], others[..., 2:]) - np.maximum(ones[..., :2], others[..., :2])
    common = np.maximum(sides, 0).prod(axis=-1)
    union = _areas(ones) + _areas(others) - common
    return common / np.maximum(union, np.finfo(float).tiny)


def _grown(bboxes: np.ndarray, margins: np.ndarray) -> np.ndarray:
    growth = margins[..., None] * (bboxes[..., 3:] - bboxes[..., 1:2])
    return np.concatenate([bboxes[..., :2] - growth, bboxes[..., 2:] + growth], axis=-1)


def _areas(bboxes: np.ndarray) -> np.ndarray:
    return (bboxes[..., 2:] - bboxes[..., :2]).prod(axis=-1)


def matched(likeness: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """The pairs that have the largest sum of all, each person in one at most.

    Args:
        likeness: (T, N).
        least: pairs of lower likeness are not matched.

    Returns:
        Rows and columns of the pairs.

    Raises:
        ConfigError: SciPy is not installed.
    """
    possible = likeness >= least
    if not possible.any():
        return np.empty(0, np.int64), np.empty(0, np.int64)
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError:
        raise ConfigError("Tracking needs SciPy: pip install 'sapiens_pl[video]', or set tracking=none.") from None
    rows, columns = linear_sum_assignment(np.where(possible, likeness, 0.0), maximize=True)
    kept = possible[rows, columns]
    return rows[kept], columns[kept]
