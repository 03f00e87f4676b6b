"""Copies from the device to the host while the device goes on.

Legend: B crops, K keypoints.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sapiens_pl.core.geometry import heatmap_to_image
from sapiens_pl.core.structures import PosePrediction


class HostCopy:
    """A tensor on its way to the host: from CUDA into page-locked memory without waiting, from elsewhere at once."""

    def __init__(self, tensor: Tensor) -> None:
        self._copy = tensor.to("cpu", non_blocking=tensor.is_cuda)
        self._event: torch.cuda.Event | None = None
        if tensor.is_cuda:
            self._event = torch.cuda.Event(blocking=True)  # a blocking wait sleeps, and leaves the core to the loader
            self._event.record(torch.cuda.current_stream(tensor.device))

    @property
    def is_ready(self) -> bool:
        return self._event is None or self._event.query()

    def numpy(self) -> np.ndarray:
        """The values, once they are here."""
        if self._event is not None:
            self._event.synchronize()
        return self._copy.numpy()


class PendingPrediction:
    """One batch's outcome, which the device may still be computing.

    Args:
        copies: of (b, K, 3) keypoints in heatmap px and scores; together the batch's crops.
        centers, scales: (B, 2), image px.
        heatmap_wh: width and height of the heatmaps.
    """

    def __init__(
        self, copies: Sequence[HostCopy], centers: np.ndarray, scales: np.ndarray, heatmap_wh: tuple[int, int]
    ) -> None:
        self._copies, self._centers, self._scales, self._heatmap_wh = copies, centers, scales, heatmap_wh

    @property
    def is_ready(self) -> bool:
        """True if `result` need not wait."""
        return all(copy.is_ready for copy in self._copies)

    def result(self) -> PosePrediction:
        """Waits for the device, and maps the keypoints to image px."""
        decoded = np.concatenate([copy.numpy() for copy in self._copies])
        in_image = heatmap_to_image(decoded[..., :2], self._centers, self._scales, self._heatmap_wh)
        return PosePrediction(in_image.astype(np.float32), decoded[..., 2])
