"""Which of a detector's boxes are people to be posed, and how they are written down.

Legend: N boxes of one image; coordinates are image px.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torchvision.ops import nms

from sapiens_pl.core.not_counted import RowsNotCounted
from sapiens_pl.core.settings import check
from sapiens_pl.detection.settings import DETECTING

COORDINATE_DECIMALS, SCORE_DECIMALS = 2, 5


class PersonRules:
    """Chooses among the people that a detector has found in an image.

    Args:
        score_threshold: less likely ones are left out.
        nms_threshold: of two that overlap by a larger IoU only the likelier stays; None keeps all.
        largest_n: how many stay, the largest by area; None for all.
        min_size: those whose shorter side is less, px, are left out.

    Attributes:
        counted: what has become so far of those that are likely enough.

    Raises:
        SettingError: a value that cannot work.
    """

    def __init__(
        self, score_threshold: float, nms_threshold: float | None, largest_n: int | None, min_size: float
    ) -> None:
        self.score_threshold, self.nms_threshold = score_threshold, nms_threshold
        self.largest_n, self.min_size = largest_n, min_size
        check(DETECTING, vars(self))
        self.counted = RowsNotCounted()

    def __call__(self, bboxes_xyxy: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """(N, 4) boxes and (N,) scores -> (N, 5) float64 rows x, y, width, height, score: the likeliest first.

        They are rounded before anything is decided, so that a reader of the file decides in the same way.
        """
        boxes = np.round(bboxes_xyxy.astype(np.float64), COORDINATE_DECIMALS)
        sides = np.round(boxes[:, 2:] - boxes[:, :2], COORDINATE_DECIMALS)
        rows = np.column_stack([boxes[:, :2], sides, np.round(scores.astype(np.float64), SCORE_DECIMALS)])
        rows = rows[np.isfinite(rows).all(axis=1)]
        shorter = rows[:, 2:4].min(axis=1, initial=np.inf)
        is_likely, is_large = rows[:, 4] >= self.score_threshold, (shorter >= self.min_size) & (shorter > 0)
        rows = rows[is_likely & is_large]
        rows = rows[np.argsort(-rows[:, 4], kind="stable")]
        num_likely, num_large = int(is_likely.sum()), len(rows)
        if self.nms_threshold is not None and len(rows) > 1:
            corners = np.column_stack([rows[:, :2], rows[:, :2] + rows[:, 2:4]])
            kept = nms(torch.from_numpy(corners), torch.from_numpy(rows[:, 4].copy()), self.nms_threshold)
            rows = rows[np.sort(kept.numpy())]
        num_apart = len(rows)
        if self.largest_n is not None and len(rows) > self.largest_n:
            largest = np.argsort(-rows[:, 2] * rows[:, 3], kind="stable")[: self.largest_n]
            rows = rows[np.sort(largest)]
        self._count(num_likely, num_large, num_apart, len(rows))
        return rows

    def _count(self, num_likely: int, num_large: int, num_apart: int, num_used: int) -> None:
        self.counted = self.counted.plus(
            RowsNotCounted(
                rows=num_likely,
                used=num_used,
                too_small=num_likely - num_large,
                overlapping=num_large - num_apart,
                not_largest=num_apart - num_used,
            )
        )

    def settings(self) -> dict[str, Any]:
        return {
            f"boxes.{key}": getattr(self, key) for key in ("score_threshold", "nms_threshold", "largest_n", "min_size")
        }
