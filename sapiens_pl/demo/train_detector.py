"""Trains the demo's detector on calibration figures: `python -m sapiens_pl.demo.train_detector`.

It learns where figures stand, from scenes drawn on the fly; the bundled weights came from this command's defaults.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import lightning as L
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from sapiens_pl.demo.figures import draw_scene
from sapiens_pl.demo.train import fit, training_arguments
from sapiens_pl.detection.fcos_small import fcos_small

FIGURE_LABEL = 1
_LONGEST_SIDE_PX = 320
"""The longest side that the network sees; larger scenes are reduced to it here."""
Target = dict[str, Tensor]


class FigureScenes(IterableDataset):
    """Endless new scenes: (3, H, W) float32 RGB from 0 to 1, and what torchvision's training
    wants to know of them (`boxes` xyxy px, `labels`).
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __iter__(self) -> Iterator[tuple[Tensor, Target]]:
        worker = get_worker_info()
        rng = np.random.default_rng([self.seed, worker.id if worker else 0])
        while True:
            width, height = (int(side) for side in rng.integers(200, 900, 2))
            scene = draw_scene(rng, width, height, int(rng.integers(0, 9)))
            scale = min(1.0, rng.uniform(0.9, 1.5) * _LONGEST_SIDE_PX / max(width, height))
            image = cv2.resize(scene.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
            pixels = torch.from_numpy(np.ascontiguousarray(image[..., ::-1])).permute(2, 0, 1) / 255
            boxes = torch.from_numpy(scene.bboxes_xyxy * scale).float()
            yield pixels, {"boxes": boxes, "labels": torch.full((len(boxes),), FIGURE_LABEL)}


class DetectorTraining(L.LightningModule):
    """The losses are the architecture's own."""

    def __init__(self, detector: nn.Module, learning_rate: float, num_steps: int) -> None:
        super().__init__()
        self.detector, self.learning_rate, self.num_steps = detector, learning_rate, num_steps

    def training_step(self, batch: list[tuple[Tensor, Target]], batch_idx: int) -> Tensor:
        images, targets = zip(*batch)
        losses = self.detector(list(images), list(targets))
        for name, loss in losses.items():
            self.log(name, loss, prog_bar=True, batch_size=len(images))
        return sum(losses.values(), torch.zeros(()))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.learning_rate, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.learning_rate, total_steps=self.num_steps, pct_start=0.1
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def train(steps: int, seed: int, batch_size: int = 16, learning_rate: float = 2e-3) -> nn.Module:
    """Trains the detector from nothing.

    Args:
        steps: optimiser steps.
        seed: of the weights and of the drawings.
    """
    L.seed_everything(seed, workers=True)
    detector = fcos_small()
    loader = DataLoader(FigureScenes(seed), batch_size=batch_size, num_workers=1, collate_fn=list, prefetch_factor=4)
    fit(DetectorTraining(detector, learning_rate, steps), loader, steps)
    return detector.eval()


def main() -> None:
    args = training_arguments(str(__doc__), 1500, "demo_detector.safetensors")
    weights = train(args.steps, args.seed).state_dict()
    save_file(
        {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}, args.output
    )
    print(f"saved {args.output}")


if __name__ == "__main__":
    main()
