"""The LightningDataModule: lists images, brings boxes, plans batches, loads crops."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection
from typing import TypeVar

import lightning as L

from sapiens_pl.boxes.matching import BoxedImages, DealtImages
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.geometry import SAPIENS_CROPS, CropSettings
from sapiens_pl.core.settings import check
from sapiens_pl.core.structures import CropSpan, Failure, ImageFile, ImageTask
from sapiens_pl.data.dataset import CropDataset
from sapiens_pl.data.loader import READ_TIMEOUT_SECONDS, CropLoader
from sapiens_pl.data.packing import check_shard, pack_batches, shard_images
from sapiens_pl.data.settings import LOADING
from sapiens_pl.inference.batch_size import best_batch_size
from sapiens_pl.pictures import MAX_MEGAPIXELS
from sapiens_pl.pictures.folder import ImageSource, list_images

_Named = TypeVar("_Named", ImageTask, ImageFile)

log = logging.getLogger(__name__)

MAX_DEFAULT_WORKERS = 16


class ImageDataModule(L.LightningDataModule):
    """Batches of crops from images of any sizes with any numbers of boxes.

    After `setup`, `tasks` holds every image of the run, `failures` what went wrong before any
    image was read, and `share` this rank's images.

    Args:
        images: a folder, a glob, a list file or one image.
        boxes: called with the images found, gives their boxes (`sapiens_pl.boxes.matching`).
        input_hw: height and width of a crop, px.
        batch_size: crops a batch, or "auto" for what `inference.batch_size` finds best on the trainer's device.
        max_memory_gib: the most that "auto" lets the process hold of the device's memory; None for nine tenths.
        num_workers: loader processes; None for one a core, at most 16, shared by the ranks.
        prefetch_factor: batches that each worker prepares ahead.
        max_megapixels: larger images are refused before decoding.
        read_timeout: seconds after which reading one image counts as stuck.
        num_shards, shard: of so many independent runs this one does its share.
        finished: called in `setup` with all images, gives the names of those that need not be done again:
            the ones done, and the ones that failed.
        crop_settings: how the network wants its crops.
        stopped: asked before each batch; True ends the run after the batch in flight.
        agree: called in `setup` with the names of the images left to do, gives those that all ranks take for left.

    Raises:
        ConfigError: a value that cannot work, or no images.
    """

    def __init__(
        self,
        images: str,
        boxes: Callable[[ImageSource], BoxedImages | DealtImages],
        input_hw: tuple[int, int],
        batch_size: int | str = 8,
        max_memory_gib: float | None = None,
        num_workers: int | None = None,
        prefetch_factor: int = 2,
        max_megapixels: float = MAX_MEGAPIXELS,
        read_timeout: float = READ_TIMEOUT_SECONDS,
        num_shards: int = 1,
        shard: int = 0,
        finished: Callable[[list[ImageTask]], tuple[Collection[str], Collection[str]]] = lambda tasks: ((), ()),
        crop_settings: CropSettings = SAPIENS_CROPS,
        stopped: Callable[[], bool] = lambda: False,
        agree: Callable[[list[str]], list[str]] = lambda names: names,
    ) -> None:
        super().__init__()
        self.images, self.boxes, self.input_hw, self.crop_settings = images, boxes, input_hw, crop_settings
        self.finished, self.stopped, self.agree = finished, stopped, agree
        self.batch_size, self.max_memory_gib = batch_size, max_memory_gib
        self.num_workers, self.prefetch_factor = num_workers, prefetch_factor
        self.max_megapixels, self.read_timeout = max_megapixels, read_timeout
        check(LOADING, vars(self))
        check_shard(num_shards, shard)
        self.num_shards, self.shard = num_shards, shard
        # A rank that finds nothing left to do is in order.
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self._source: ImageSource | None = None
        self.tasks: list[ImageTask] = []
        self.failures: list[Failure] = []
        self.share: list[tuple[int, int]] = []
        """The index of each of this rank's images, and how many crops it gives."""
        self.shares: list[list[str]] = []
        """The names of every rank's images."""
        self.planned_batch_size: int | None = None
        self.num_done_before = self.num_failed_before = 0
        self.num_dealt = 0
        """This process's part of all images that are listed, whatever has become of them."""
        self.num_without_boxes = 0
        """This rank's images that should have got boxes and have not: the run was stopped before."""
        self.all_mine = False
        """True if `tasks` are this rank's only."""

    def list_images(self) -> ImageSource:
        """All images there are; they are looked for once, and what was left out is said by rank 0."""
        if self._source is None:
            self._source = list_images(self.images)
            if self._rank_and_world_size()[0] == 0:
                for failure in self._source.failures:
                    log.warning(failure.message)
                for sentence in self._source.left_out.sentences():
                    log.warning(sentence)
        return self._source

    def setup(self, stage: str | None = None) -> None:
        source = self.list_images()
        self._deal(self.boxes(source))
        failed = sum(row.instance_id is None for row in self.failures) if self.all_mine else 0
        own = len(self.share) + self.num_without_boxes + failed
        self.num_dealt = own + self.num_done_before + self.num_failed_before
        if self._rank_and_world_size()[0] == 0 and self.shard == 0:  # whatever was on record, it was looked at anew
            self.failures += source.failures

    def _deal(self, boxed: BoxedImages | DealtImages) -> None:
        done, failed = self.finished(boxed.tasks)
        if isinstance(boxed, DealtImages):
            self.tasks, self.failures, self.all_mine = boxed.tasks, boxed.failures, True
            self.num_done_before, self.num_failed_before = boxed.num_done_before, boxed.num_failed_before
            self.num_without_boxes = boxed.num_without_boxes
            self.share = [(index, task.num_boxes) for index, task in enumerate(self.tasks)]
            return
        tasks, failures = self._own_share(boxed)
        left = [task.name for task in tasks if task.name not in done and task.name not in failed]
        self.tasks = in_order(tasks, self.agree(left))
        self.failures = [row for row in failures if row.image not in done and row.image not in failed]
        self.num_done_before = sum(task.name in done for task in tasks)
        self.num_failed_before = len(tasks) - len(self.tasks) - self.num_done_before
        rank, world_size = self._rank_and_world_size()
        counts = [task.num_boxes for task in self.tasks]
        shares = shard_images(counts, world_size)
        self.shares = [[self.tasks[index].name for index in share] for share in shares]
        self.share = [(index, counts[index]) for index in shares[rank]]
        if rank:  # said once
            self.failures, self.num_done_before, self.num_failed_before = [], 0, 0

    def _own_share(self, boxed: BoxedImages) -> tuple[list[ImageTask], list[Failure]]:
        """The shard's images, dealt from all there are: a restart must deal as the first start did."""
        if self.num_shards == 1:
            return boxed.tasks, boxed.failures
        shares = shard_images([task.num_boxes for task in boxed.tasks], self.num_shards)
        tasks = [boxed.tasks[index] for index in shares[self.shard]]
        mine = {task.name for task in tasks}
        if self.shard == 0:  # ... and names that no image has
            mine |= {row.image for row in boxed.failures} - {task.name for task in boxed.tasks}
        return tasks, [row for row in boxed.failures if row.image in mine]

    @property
    def num_crops(self) -> int:
        """Crops that this rank has planned."""
        return sum(count for _, count in self.share)

    @property
    def num_images(self) -> int:
        """Images that this rank has planned."""
        return len(self.share)

    def predict_dataloader(self) -> CropLoader:
        batches = self._plan()
        return CropLoader(
            CropDataset(self.tasks, batches, self.input_hw, self.max_megapixels, self.crop_settings),
            num_workers=min(self.workers(self.trainer.num_devices if self.trainer else 1), len(batches)),
            prefetch_factor=self.prefetch_factor,
            pin_memory=self._on_cuda(),
            read_timeout=self.read_timeout,
            stopped=self.stopped,
            sharers=self.trainer.num_devices if self.trainer else 1,
        )

    def _plan(self) -> list[list[CropSpan]]:
        """This rank's batches; only now, as the best batch size can only be found with the network in its place."""
        if not isinstance(self.batch_size, str):
            self.planned_batch_size = self.batch_size
        elif self.num_crops:
            assert self.trainer is not None, "data.batch_size=auto needs a trainer, whose device it tries"
            self.planned_batch_size = best_batch_size(self.trainer, self.max_memory_gib)
        return pack_batches(self.share, self.planned_batch_size or 1)

    def _rank_and_world_size(self) -> tuple[int, int]:
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    def workers(self, num_ranks: int) -> int:
        """Loader processes for each of so many ranks on this machine."""
        if self.num_workers is not None:
            return self.num_workers
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, min(MAX_DEFAULT_WORKERS, cores // max(num_ranks, 1)))

    def _on_cuda(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"


def in_order(found: list[_Named], names: list[str]) -> list[_Named]:
    """Those that are named, in the order of the names.

    Raises:
        ConfigError: one of them is not there.
    """
    if [each.name for each in found] == names:
        return found
    by_name = {each.name: each for each in found}
    try:
        return [by_name[name] for name in names]
    except KeyError as error:
        raise ConfigError(f"{error.args[0]} has gone while the run was starting; run the same command again.") from None
