"""How many people there will be, where only a detector can say it: it looks at some of the pictures."""

from __future__ import annotations

import time
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from sapiens_pl.core.devices import free_cached
from sapiens_pl.core.plan import Tasks
from sapiens_pl.data.datamodule import ImageDataModule
from sapiens_pl.detection.boxes import DetectorBoxes
from sapiens_pl.detection.data import whole_images
from sapiens_pl.detection.module import DetectionModule
from sapiens_pl.run.portion_sample import sample_of
from sapiens_pl.run.ranks import build_trainer, place_of

_MOST_IMAGES = 256


class PeopleSample(NamedTuple):
    """What the detector saw in `num_images`, of which `spread` is the standard deviation of people an image.

    `images_per_second` is without the first batch, where there are several; `looked_at` is the part of all images that
    the run will look at (`boxes.every`).
    """

    num_images: int
    num_people: int
    spread: float
    images_per_second: float
    looked_at: float

    @property
    def people_an_image(self) -> float:
        return self.num_people / max(self.num_images, 1)

    @property
    def standard_error(self) -> float:
        """Of `people_an_image`, if the sample is like the rest."""
        return self.spread / max(self.num_images, 1) ** 0.5


def look_at_some(cfg: DictConfig, data: ImageDataModule) -> PeopleSample:
    """Looks for people in pictures that are planned now, evenly chosen, for `calibrate` seconds at most.

    Raises:
        ConfigError: no such detector, or no weights.
    """
    boxes: Any = instantiate(cfg.boxes, _convert_="all")
    assert isinstance(boxes, DetectorBoxes)
    trainer = build_trainer(cfg, [], devices=1, num_nodes=1, strategy="auto", precision="32-true")
    data.place = partial(place_of, trainer)
    device = trainer.strategy.root_device
    module = DetectionModule(boxes.take_detector(), boxes.rules).eval().to(device)
    tasks = _mixed(sample_of(data.portion, _MOST_IMAGES))
    counts, times = list[int](), list[tuple[float, int]]()

    def is_over() -> bool:
        return bool(times) and time.perf_counter() - times[0][0] > cfg.calibrate

    size = boxes.batch_size(device)
    began = time.perf_counter()
    for batch in whole_images(data, data.portion.source, tasks, size, is_over):
        with torch.inference_mode():
            found = module.predict_step(batch.on(device))
        counts += [len(rows) for rows in found]
        times.append((time.perf_counter(), len(batch.parts)))
    pictures = data.portion.tasks.pictures
    looked_at = boxes.looks(pictures).is_looked_at[data.portion.tasks.indices]
    del module
    free_cached(device)
    return PeopleSample(
        len(counts),
        sum(counts),
        float(np.std(counts)) if counts else 0.0,
        _speed(began, times),
        float(looked_at.mean()) if len(looked_at) else 1.0,
    )


def _mixed(tasks: Tasks) -> Tasks:
    """In an order of which every beginning is like the whole, as time may run out; frames of videos too, although each
    is
    then decoded from a keyframe on.
    """
    some = tasks.select(np.random.default_rng(0).permutation(len(tasks)))
    return Tasks(some.pictures._replace(stretches=None), some.boxes, some.indices)


def _speed(began: float, times: list[tuple[float, int]]) -> float:
    if len(times) < 2:
        return sum(count for _, count in times) / max(time.perf_counter() - began, 1e-9)
    return sum(count for _, count in times[1:]) / max(times[-1][0] - times[0][0], 1e-9)
