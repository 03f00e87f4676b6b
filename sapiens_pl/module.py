"""The LightningModule: a batch of crops in, keypoints in image pixels out.

Legend: B crops, K keypoints, H W crop px, h w heatmap px.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sapiens_pl.decoding import decode_heatmaps
from sapiens_pl.errors import DeviceMemoryError
from sapiens_pl.geometry import SAPIENS_CROPS, CropSettings, heatmap_to_image
from sapiens_pl.memory import GIB, free_cached, is_out_of_memory, memory_in_numbers
from sapiens_pl.structures import CropBatch, PosePrediction

log = logging.getLogger(__name__)

_WEIGHTS_IN_HALF = {"bf16-true": torch.bfloat16, "16-true": torch.float16}


def normalise(crops: Tensor, dtype: torch.dtype, settings: CropSettings = SAPIENS_CROPS) -> Tensor:
    """(B, 3, H, W) uint8 BGR -> (B, 3, H, W) RGB of mean 0 and deviation 1, in `dtype`.

    Computed in float32: in half precision the means themselves would be rounded.
    """
    mean = torch.tensor(settings.pixel_mean_rgb, dtype=torch.float32, device=crops.device).view(3, 1, 1)
    std = torch.tensor(settings.pixel_std_rgb, dtype=torch.float32, device=crops.device).view(3, 1, 1)
    return ((crops.flip(1).to(torch.float32) - mean) / std).to(dtype)


class PoseModule(L.LightningModule):
    """Runs a pose network over batches and decodes its heatmaps where they are.

    Args:
        network: normalised crops (B, 3, H, W) to heatmaps (B, K, h, w) float32; its `crop_settings` say how
            the crops are normalised (Sapiens v1's if it has none).
        flip_indices: the keypoint that each keypoint becomes in a mirrored image; given, the
            heatmaps are averaged with those of the mirrored crops (flip test).
    """

    def __init__(self, network: nn.Module, flip_indices: Sequence[int] | None = None) -> None:
        super().__init__()
        self.network = network
        self.crop_settings: CropSettings = getattr(network, "crop_settings", SAPIENS_CROPS)
        self.flip_indices = None if flip_indices is None else list(flip_indices)
        self.largest_working_batch: int | None = None
        """Crops that go through the network at a time, once memory has run out; None while it has not."""
        # Each rank has read the same file: what Lightning would send them all need not be sent.
        names = [name for name, _ in (*self.named_parameters(), *self.named_buffers())]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(self, names)

    def setup(self, stage: str | None = None) -> None:
        # Before Lightning would do it the other way round, on the host.
        self.place(self.trainer.strategy.root_device, self.trainer.precision)

    def place(self, device: torch.device, precision: Any) -> None:
        """Brings the weights to the device, and there to the dtype that they have in that precision.

        They go tensor by tensor from the file's memory map, so the host never holds a copy of the whole.
        """
        begin = time.perf_counter()
        self.network.to(device)
        self.network.to(_WEIGHTS_IN_HALF.get(str(precision), torch.float32))
        self.placing_seconds = time.perf_counter() - begin

    def forward(self, crops: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 BGR crops -> (B, K, h, w) float32 heatmaps, averaged if flip testing."""
        inputs = normalise(crops, next(self.network.parameters()).dtype, self.crop_settings)
        heatmaps = self.network(inputs)
        if self.flip_indices is None:
            return heatmaps
        mirrored = self.network(inputs.flip(3)).flip(3)[:, self.flip_indices]
        return (heatmaps + mirrored) / 2

    def predict_step(self, batch: CropBatch, batch_idx: int = 0) -> PosePrediction:
        """Keypoints of every crop of the batch, in image px, and their scores.

        Raises:
            DeviceMemoryError: not even one crop fits into the device's memory.
        """
        if len(batch.crops) == 0:  # only images without boxes, or none that could be read
            return PosePrediction(np.empty((0, 0, 2), np.float32), np.empty((0, 0), np.float32))
        decoded, heatmap_wh = self._decode_in_parts(batch.crops)
        in_image = heatmap_to_image(decoded[..., :2], batch.centers, batch.scales, heatmap_wh)
        return PosePrediction(in_image.astype(np.float32), decoded[..., 2])

    def _decode_in_parts(self, crops: Tensor) -> tuple[np.ndarray, tuple[int, int]]:
        """(B, K, 3) heatmap px and scores, and the heatmaps' width and height; in as many parts as memory asks for."""
        parts: list[np.ndarray] = []
        start, limit = 0, self.largest_working_batch
        while start < len(crops):
            size = min(limit or len(crops), len(crops) - start)
            try:
                decoded, heatmap_wh = self._decode(crops[start : start + size])
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                complaint = " ".join(str(error).split())[:200]
            else:
                parts.append(decoded)
                start += size
                continue
            # Out here the failed pass's tensors are no longer held by the exception.
            if size == 1:
                raise DeviceMemoryError(self._does_not_fit(crops, complaint))
            limit = size // 2
            free_cached(crops.device)
        if limit != self.largest_working_batch:
            log.warning("Out of memory on %s: going on with %d crops at a time.", crops.device, limit)
            self.largest_working_batch = limit
        return np.concatenate(parts), heatmap_wh

    def _decode(self, crops: Tensor) -> tuple[np.ndarray, tuple[int, int]]:
        heatmaps = self(crops)
        keypoints, scores = decode_heatmaps(heatmaps)
        decoded = torch.cat([keypoints, scores[..., None]], dim=2).cpu().numpy()  # the only copy to the host
        return decoded, (heatmaps.shape[3], heatmaps.shape[2])

    def _does_not_fit(self, crops: Tensor, complaint: str) -> str:
        weights = sum(parameter.numel() * parameter.element_size() for parameter in self.parameters())
        return (
            f"A single crop of {crops.shape[3]}x{crops.shape[2]} px does not fit into the memory of {crops.device} "
            f"beside {weights / GIB:.2f} GiB of weights ({memory_in_numbers(crops.device)}; it said: {complaint}); "
            "use a smaller model, trainer.precision=bf16-true, or a device with more memory."
        )
