"""How good one person's pose is as a whole, and how similar two poses are, as COCO's keypoint evaluation defines it.

Legend: N people of one image, K keypoints.
"""

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
    visible = scores.astype(np.float32) > np.float32(VISIBLE_SCORE)  # float32's 0.2 is above float64's
    sums = np.where(visible, scores, 0.0).sum(axis=1)
    return np.asarray(bbox_scores, np.float64) * sums / np.maximum(visible.sum(axis=1), 1)


def oks_nms(
    keypoints: np.ndarray, scores: np.ndarray, areas: np.ndarray, sigmas: np.ndarray, threshold: float
) -> np.ndarray:
    """Keeps only the best of several people whose poses are nearly the same.

    Two poses' object keypoint similarity (OKS, cocodataset.org/#keypoints-eval) is taken over all keypoints, with
    the mean of both areas.

    Args:
        keypoints: (N, K, 2) xy, image px.
        scores: (N,), of whole people.
        areas: (N,), square px, of the crops (Sapiens' evaluation settings).
        sigmas: (K,), the data set's OKS constants.
        threshold: a pose is removed if its OKS with a better one is above this.

    Returns:
        Indices of the people who are kept, best first.
    """
    left = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    points, sizes = np.asarray(keypoints, np.float64), np.asarray(areas, np.float64)
    variances = (2 * np.asarray(sigmas, np.float64)) ** 2
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        squares = ((points[left] - points[best]) ** 2).sum(axis=2)
        area = (sizes[left] + sizes[best]) / 2 + np.spacing(1)
        likeness = np.exp(-squares / variances / area[:, None] / 2).mean(axis=1)
        left = left[likeness <= threshold]
    return np.array(kept, np.int64)
