"""The LightningModule: a batch of crops in, keypoints in image pixels out.

Legend: B crops, K keypoints, H W crop px, h w heatmap px.
"""

from __future__ import annotations

from collections.abc import Sequence

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn

from sapiens_pl.decoding import decode_heatmaps
from sapiens_pl.geometry import heatmap_to_image
from sapiens_pl.structures import CropBatch, PosePrediction

PIXEL_MEAN_RGB = (123.675, 116.28, 103.53)
PIXEL_STD_RGB = (58.395, 57.12, 57.375)
"""Grey levels of 255, as the published Sapiens configurations give them (ImageNet's)."""


def normalise(crops: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, 3, H, W) uint8 BGR -> (B, 3, H, W) RGB of mean 0 and deviation 1, in `dtype`.

    Computed in float32: in half precision the means themselves would be rounded.
    """
    mean = torch.tensor(PIXEL_MEAN_RGB, dtype=torch.float32, device=crops.device).view(3, 1, 1)
    std = torch.tensor(PIXEL_STD_RGB, dtype=torch.float32, device=crops.device).view(3, 1, 1)
    return ((crops.flip(1).to(torch.float32) - mean) / std).to(dtype)


class PoseModule(L.LightningModule):
    """Runs a pose network over batches and decodes its heatmaps where they are.

    Args:
        network: normalised crops (B, 3, H, W) to heatmaps (B, K, h, w) float32.
        flip_indices: the keypoint that each keypoint becomes in a mirrored image; given, the
            heatmaps are averaged with those of the mirrored crops (flip test).
    """

    def __init__(self, network: nn.Module, flip_indices: Sequence[int] | None = None) -> None:
        super().__init__()
        self.network = network
        self.flip_indices = None if flip_indices is None else list(flip_indices)

    def forward(self, crops: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 BGR crops -> (B, K, h, w) float32 heatmaps, averaged if flip testing."""
        inputs = normalise(crops, next(self.network.parameters()).dtype)
        heatmaps = self.network(inputs)
        if self.flip_indices is None:
            return heatmaps
        mirrored = self.network(inputs.flip(3)).flip(3)[:, self.flip_indices]
        return (heatmaps + mirrored) / 2

    def predict_step(self, batch: CropBatch, batch_idx: int = 0) -> PosePrediction:
        """Keypoints of every crop of the batch, in image px, and their scores."""
        if len(batch.crops) == 0:  # only images without boxes, or none that could be read
            return PosePrediction(np.empty((0, 0, 2), np.float32), np.empty((0, 0), np.float32))
        heatmaps = self(batch.crops)
        keypoints, scores = decode_heatmaps(heatmaps)
        decoded = torch.cat([keypoints, scores[..., None]], dim=2).cpu().numpy()  # the only copy to the host
        heatmap_wh = heatmaps.shape[3], heatmaps.shape[2]
        in_image = heatmap_to_image(decoded[..., :2], batch.centers, batch.scales, heatmap_wh)
        return PosePrediction(in_image.astype(np.float32), decoded[..., 2])
