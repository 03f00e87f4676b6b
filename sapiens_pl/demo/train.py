"""Trains the demo network on calibration figures: `python -m sapiens_pl.demo.train`.

A Sapiens v1 network of demo size learns COCO-17 heatmaps (a Gaussian of sigma 2 heatmap px a
keypoint) of figures drawn on the fly. The bundled checkpoint came from this command's defaults.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from sapiens_pl.core.geometry import box_center_scale, box_to_crop, image_to_heatmap
from sapiens_pl.demo.figures import NUM_KEYPOINTS, draw_scene
from sapiens_pl.inference.module import normalise
from sapiens_pl.models.checkpoints import save_network
from sapiens_pl.models.sapiens import SapiensPose, SapiensShape

DEMO_SHAPE = SapiensShape(
    embed_dim=128,
    num_layers=4,
    num_heads=4,
    mlp_dim=512,
    head_dims=(64, 64),
    head_conv_dims=(64, 64),
    num_keypoints=NUM_KEYPOINTS,
    input_hw=(256, 192),
)
TARGET_SIGMA = 2.0
"""Heatmap px, usual for inputs of 256x192 px; the published configurations, of 1024x768, have 6."""


class Lessons(NamedTuple):
    """A training batch: `crops` (B, 3, H, W) uint8 BGR, `keypoints` (B, K, 2) heatmap px, `visible` (B, K)."""

    crops: Tensor
    keypoints: Tensor
    visible: Tensor


class FigureCrops(IterableDataset):
    """Endless crops of new figures, one `Lessons` of size one at a time."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        worker = get_worker_info()
        rng = np.random.default_rng([self.seed, worker.id if worker else 0])
        input_wh = DEMO_SHAPE.input_hw[1], DEMO_SHAPE.input_hw[0]
        heatmap_wh = DEMO_SHAPE.heatmap_hw[1], DEMO_SHAPE.heatmap_hw[0]
        while True:
            width, height = (int(side) for side in rng.integers(160, 560, 2))
            scene = draw_scene(rng, width, height, int(rng.integers(1, 8)))
            sizes = scene.bboxes_xyxy[:, 2:] - scene.bboxes_xyxy[:, :2]
            jitter = np.tile(rng.normal(0, 0.04, (len(sizes), 2)), 2) + rng.normal(0, 0.03, (len(sizes), 4))
            boxes = scene.bboxes_xyxy + jitter * np.tile(sizes, 2)
            centers, scales = box_center_scale(boxes, input_wh)
            targets = image_to_heatmap(scene.keypoints, centers, scales, heatmap_wh)
            for index, (center, scale) in enumerate(zip(centers, scales)):
                crop = cv2.warpAffine(scene.image, box_to_crop(center, scale, input_wh), input_wh)
                yield crop.transpose(2, 0, 1), targets[index].astype(np.float32), scene.visible[index]


class HeatmapTraining(L.LightningModule):
    """Mean squared error between the network's heatmaps and the drawn keypoints' Gaussians."""

    def __init__(self, network: nn.Module, learning_rate: float, num_steps: int) -> None:
        super().__init__()
        self.network = network
        self.learning_rate = learning_rate
        self.num_steps = num_steps

    def training_step(self, batch: Lessons, batch_idx: int) -> Tensor:
        heatmaps = self.network(normalise(batch.crops, torch.float32))
        targets = _gaussians(batch.keypoints, DEMO_SHAPE.heatmap_hw) * batch.visible[..., None, None]
        loss = 1000 * torch.nn.functional.mse_loss(heatmaps, targets)
        self.log("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.learning_rate, weight_decay=0.01)
        warmup = min(50, self.num_steps // 10 + 1)
        schedule = torch.optim.lr_scheduler.SequentialLR(
            optimizer,
            [
                torch.optim.lr_scheduler.LinearLR(optimizer, 0.05, total_iters=warmup),
                torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.num_steps - warmup),
            ],
            milestones=[warmup],
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _gaussians(keypoints: Tensor, heatmap_hw: tuple[int, int]) -> Tensor:
    """(B, K, h, w) maps with a peak of 1 at each keypoint; `keypoints` is (B, K, 2) in heatmap px."""
    rows = torch.arange(heatmap_hw[0], device=keypoints.device)
    columns = torch.arange(heatmap_hw[1], device=keypoints.device)
    along_x = torch.exp(-((columns - keypoints[..., 0:1]) ** 2) / (2 * TARGET_SIGMA**2))
    along_y = torch.exp(-((rows - keypoints[..., 1:2]) ** 2) / (2 * TARGET_SIGMA**2))
    return along_y[..., :, None] * along_x[..., None, :]


def train(steps: int, seed: int, batch_size: int = 32, learning_rate: float = 1e-3) -> SapiensPose:
    """Trains the demo network from nothing.

    Args:
        steps: optimiser steps.
        seed: of the weights and of the drawings.
    """
    L.seed_everything(seed, workers=True)
    network = SapiensPose(DEMO_SHAPE)
    torch.nn.init.trunc_normal_(network.backbone.pos_embed, std=0.02)
    torch.nn.init.normal_(network.head.last_layer.weight, std=0.001)
    fit(HeatmapTraining(network, learning_rate, steps), lessons(seed, batch_size), steps)
    return network.eval()


def lessons(seed: int, batch_size: int = 32) -> DataLoader:
    """Endless batches of `Lessons`, drawn in a process of their own."""
    return DataLoader(
        FigureCrops(seed),
        batch_size=batch_size,
        num_workers=1,
        collate_fn=lambda rows: Lessons(*(torch.from_numpy(np.stack(column)) for column in zip(*rows))),
        prefetch_factor=8,
    )


def fit(module: L.LightningModule, loader: DataLoader, steps: int) -> None:
    """Takes `steps` optimiser steps; the weights stay in the module's network, no file is written."""
    trainer = L.Trainer(
        max_steps=steps,
        max_epochs=1,
        limit_train_batches=steps,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        log_every_n_steps=10,
    )
    trainer.fit(module, loader)


def training_arguments(what: str, steps: int, output: str) -> argparse.Namespace:
    """`--steps`, `--seed` and `--output` of a training command, with these defaults."""
    parser = argparse.ArgumentParser(description=what.splitlines()[0])
    parser.add_argument("--steps", type=int, default=steps, help="optimiser steps")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and of the drawings")
    parser.add_argument("--output", type=Path, default=Path(output))
    return parser.parse_args()


def main() -> None:
    args = training_arguments(str(__doc__), 1400, "demo_network.safetensors")
    save_network(train(args.steps, args.seed), args.output)
    print(f"saved {args.output}")


if __name__ == "__main__":
    main()
