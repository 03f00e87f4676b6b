"""The LightningDataModule: lists images, brings boxes, plans batches, loads crops."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import lightning as L
from torch.utils.data import DataLoader

from sapiens_pl.data.boxes import BoxedImages
from sapiens_pl.data.dataset import CropDataset, prepare_worker, ragged_collate
from sapiens_pl.data.packing import pack_batches, shard_images
from sapiens_pl.data.sources import ImageSource, list_images
from sapiens_pl.errors import ConfigError
from sapiens_pl.images import MAX_MEGAPIXELS
from sapiens_pl.structures import CropSpan, Failure, ImageTask

MAX_DEFAULT_WORKERS = 16


class ImageDataModule(L.LightningDataModule):
    """Batches of crops from images of any sizes with any numbers of boxes.

    After `setup`, `tasks` holds every image of the run, `failures` what went wrong before any
    image was read, and `batches` this rank's plan.

    Args:
        images: a folder, a glob, a list file or one image.
        boxes: called with the images found, gives their boxes (`sapiens_pl.data.boxes`).
        input_hw: height and width of a crop, px.
        batch_size: crops a batch.
        num_workers: loader processes; None for one a core, at most 16, shared by the ranks.
        prefetch_factor: batches that each worker prepares ahead.
        max_megapixels: larger images are refused before decoding.
        finished: called once in `setup`, gives the names that need not be done again.

    Raises:
        ConfigError: a value that cannot work, or no images.
    """

    def __init__(
        self,
        images: str,
        boxes: Callable[[ImageSource], BoxedImages],
        input_hw: tuple[int, int],
        batch_size: int = 8,
        num_workers: int | None = None,
        prefetch_factor: int = 2,
        max_megapixels: float = MAX_MEGAPIXELS,
        finished: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        super().__init__()
        self.images, self.boxes, self.input_hw, self.finished = images, boxes, input_hw, finished
        self.batch_size = _whole_number("data.batch_size", batch_size, 1)
        self.num_workers = None if num_workers is None else _whole_number("data.num_workers", num_workers, 0)
        self.prefetch_factor = _whole_number("data.prefetch_factor", prefetch_factor, 1)
        if not isinstance(max_megapixels, (int, float)) or max_megapixels <= 0:
            raise ConfigError(f"data.max_megapixels={max_megapixels} must be a number above 0.")
        self.max_megapixels = max_megapixels
        self.tasks: list[ImageTask] = []
        self.failures: list[Failure] = []
        self.batches: list[list[CropSpan]] = []
        self.num_finished = 0

    def setup(self, stage: str | None = None) -> None:
        boxed = self.boxes(list_images(self.images))
        finished = self.finished()
        self.tasks = [task for task in boxed.tasks if task.name not in finished]
        self.failures = [failure for failure in boxed.failures if failure.image not in finished]
        self.num_finished = len(boxed.tasks) - len(self.tasks)
        rank, world_size = self._rank_and_world_size()
        counts = [task.num_boxes for task in self.tasks]
        mine = shard_images(counts, world_size)[rank]
        self.batches = pack_batches(((index, counts[index]) for index in mine), self.batch_size)
        if rank:  # said once
            self.failures = []

    @property
    def num_crops(self) -> int:
        """Crops that this rank has planned."""
        return sum(span.stop - span.start for batch in self.batches for span in batch)

    @property
    def num_images(self) -> int:
        """Images that this rank has planned."""
        return len({span.image_index for batch in self.batches for span in batch})

    def predict_dataloader(self) -> DataLoader:
        dataset = CropDataset(self.tasks, self.batches, self.input_hw, self.max_megapixels)
        workers = min(self._workers(), len(self.batches))
        several: dict[str, Any] = {}
        if workers:
            several = {"persistent_workers": True, "prefetch_factor": self.prefetch_factor}
        return DataLoader(
            dataset,
            batch_size=None,  # an item is a whole batch already
            shuffle=False,
            num_workers=workers,
            collate_fn=partial(ragged_collate, input_hw=self.input_hw),
            worker_init_fn=prepare_worker,
            pin_memory=self._on_cuda(),
            **several,
        )

    def _rank_and_world_size(self) -> tuple[int, int]:
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    def _workers(self) -> int:
        if self.num_workers is not None:
            return self.num_workers
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        ranks = self.trainer.num_devices if self.trainer else 1
        return max(1, min(MAX_DEFAULT_WORKERS, cores // max(ranks, 1)))

    def _on_cuda(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"


def _whole_number(key: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{key}={value} must be a whole number of at least {least}.")
    return value
