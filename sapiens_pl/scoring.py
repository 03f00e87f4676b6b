"""How good one person's pose is as a whole, as COCO's keypoint evaluation ranks people."""

from __future__ import annotations

import numpy as np

VISIBLE_SCORE = 0.2
"""Keypoints below it do not count towards their person's score (the original's evaluation settings)."""


def instance_scores(bbox_scores: np.ndarray, keypoint_scores: np.ndarray) -> np.ndarray:
    """Box score times the mean of the keypoint scores above `VISIBLE_SCORE`; 0 where none is.

    Args:
        bbox_scores: (N,).
        keypoint_scores: (N, K), heatmap maxima.

    Returns:
        (N,) float64.
    """
    scores = np.asarray(keypoint_scores, np.float64)
    visible = scores > VISIBLE_SCORE
    sums = np.where(visible, scores, 0.0).sum(axis=1)
    return np.asarray(bbox_scores, np.float64) * sums / np.maximum(visible.sum(axis=1), 1)
