"""Which boxes only repeat a better one of the same picture.

Legend: N boxes, P pairs.
"""

from __future__ import annotations

import numpy as np

_SLACK = 1e-6
"""The exact computation decides where the quick one is that close."""


def suppressed(
    whose: np.ndarray, bboxes_xyxy: np.ndarray, scores: np.ndarray, kept: np.ndarray, threshold: float
) -> np.ndarray:
    """(n,) int64: positions of boxes to be left out, of those that are kept so far.

    Only pictures whose boxes all have scores are looked at.

    Args:
        whose: (N,) the boxes' pictures, ascending.
        bboxes_xyxy: (N, 4).
        scores: (N,), NaN for none.
        kept: (N,) bool, the boxes that count.
        threshold: of two boxes that overlap by a larger IoU only the better stays.
    """
    places = np.flatnonzero(kept)
    unscored = whose[places[np.isnan(scores[places])]]
    if len(unscored):
        places = places[~np.isin(whose[places], unscored)]
    crowded = _with_overlap(whose[places], bboxes_xyxy[places], threshold - _SLACK)
    if not len(crowded):
        return places[:0]
    import torch
    from torchvision.ops import nms

    left_out = []
    starts = np.searchsorted(whose[places], crowded)
    for start, stop in zip(starts, np.searchsorted(whose[places], crowded, side="right")):
        rows = places[start:stop]
        stay = nms(torch.from_numpy(bboxes_xyxy[rows]), torch.from_numpy(scores[rows]), threshold).numpy()
        left_out.append(np.delete(rows, stay))
    return np.concatenate(left_out)


def _with_overlap(whose: np.ndarray, boxes: np.ndarray, least: float) -> np.ndarray:
    """The pictures that have a pair of boxes with at least this IoU."""
    found = []
    for distance in range(1, int(np.bincount(whose).max(initial=0)) if len(whose) else 0):
        one = np.flatnonzero(whose[distance:] == whose[:-distance])
        found.append(whose[one[_iou(boxes[one], boxes[one + distance]) >= least]])
    return np.unique(np.concatenate(found)) if found else whose[:0]


def _iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(P,) of boxes that have an area."""
    sides = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
    common = sides.clip(0).prod(axis=1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (one, other)]
    return common / (areas[0] + areas[1] - common)
