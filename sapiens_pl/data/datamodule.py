"""The LightningDataModule: lists images, brings boxes, plans batches, loads crops."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
import numpy as np

from sapiens_pl.boxes.matching import DealtImages
from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.geometry import SAPIENS_CROPS, CropSettings
from sapiens_pl.core.not_counted import RowsNotCounted
from sapiens_pl.core.plan import Pictures, Tasks, box_columns
from sapiens_pl.core.protocols import BoxedImages, BoxSource
from sapiens_pl.core.settings import check
from sapiens_pl.core.structures import CropBatch, Failure
from sapiens_pl.data.crops import CropCutter
from sapiens_pl.data.dataset import PictureDataset
from sapiens_pl.data.digests import digest_of_plan, digests
from sapiens_pl.data.handed_in import FinishedCheck, Place, no_trial, nothing_finished
from sapiens_pl.data.loader import READ_TIMEOUT_SECONDS, PictureLoader
from sapiens_pl.data.packing import Batches, check_shard, pack_batches, shard_images
from sapiens_pl.data.settings import LOADING
from sapiens_pl.data.stretches import dealt_together, places_among
from sapiens_pl.pictures import MAX_MEGAPIXELS
from sapiens_pl.pictures.sources import open_source

log = logging.getLogger(__name__)

MAX_DEFAULT_WORKERS = 16


class ImageDataModule(L.LightningDataModule):
    """Batches of crops from images of any sizes with any numbers of boxes.

    After `setup`, `tasks` holds every image that is left to do, `digests` those of their boxes, `failures` what went
    wrong before any image was read, and `share` this rank's images.

    Args:
        images: where they are, as its source understands it: a folder, a glob, a list file or one image.
        boxes: called with the images found, gives their boxes.
        input_hw, crop_settings: how the network wants its crops, px; `cut_for` may say so later.
        batch_size: crops a batch, or "auto" for what `find_batch_size` finds.
        max_memory_gib: the most that "auto" lets the process hold of the device's memory; None for nine tenths.
        num_workers: loader processes; None for one a core, at most 16, shared by the ranks.
        prefetch_factor: batches that each worker prepares ahead.
        max_megapixels: larger images are refused before decoding.
        read_timeout: seconds after which reading one image counts as stuck.
        num_shards, shard: of so many independent runs this one does its share.
        source: what brings the images, as for `pictures.sources.open_source`.
        video: which frames of videos, as for `pictures.video_choice.frame_choice`.
        columns: which columns of tables of pictures, as for `pictures.sources.open_source`.
        scratch_gib: what copies of tars and tables from behind URLs may take of the disk; None: half of what is free.
        finished: says in `setup` which images need not be done again.
        stopped: asked before each batch; True ends the run after the batch in flight.
        agree: called in `setup` with the names of the images left to do, gives those that all ranks take for left.
        place: says from `setup` on which of the processes this one is.
        find_batch_size: called with `max_memory_gib` once the network is in its place.

    Raises:
        ConfigError: a value that cannot work, or no images.
    """

    def __init__(
        self,
        images: Any,
        boxes: BoxSource | Callable[[Pictures], BoxedImages | DealtImages],
        input_hw: tuple[int, int] = (0, 0),
        batch_size: int | str = 8,
        max_memory_gib: float | None = None,
        num_workers: int | None = None,
        prefetch_factor: int = 2,
        max_megapixels: float = MAX_MEGAPIXELS,
        read_timeout: float = READ_TIMEOUT_SECONDS,
        num_shards: int = 1,
        shard: int = 0,
        source: str | None = None,
        video: Mapping[str, Any] | None = None,
        columns: Mapping[str, Any] | None = None,
        scratch_gib: float | None = None,
        finished: FinishedCheck = nothing_finished,
        crop_settings: CropSettings = SAPIENS_CROPS,
        stopped: Callable[[], bool] = lambda: False,
        agree: Callable[[Names], Names] = lambda names: names,
        place: Callable[[], Place] = Place,
        find_batch_size: Callable[[float | None], int] = no_trial,
    ) -> None:
        super().__init__()
        self.boxes, self.input_hw, self.crop_settings = boxes, input_hw, crop_settings
        self.finished, self.stopped, self.agree = finished, stopped, agree
        self.place, self.find_batch_size = place, find_batch_size
        self.batch_size, self.max_memory_gib = batch_size, max_memory_gib
        self.num_workers, self.prefetch_factor = num_workers, prefetch_factor
        self.max_megapixels, self.read_timeout = max_megapixels, read_timeout
        check(LOADING, vars(self))
        check_shard(num_shards, shard)
        self.num_shards, self.shard = num_shards, shard
        self.source = open_source(images, max_megapixels, source, video, columns, scratch_gib)
        # A rank that finds nothing left to do is in order.
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self._pictures: Pictures | None = None
        self._planned_for: tuple[int, int] | None = None
        self.tasks = NO_TASKS
        self.digests = digests(NO_TASKS.boxes)
        """(T,) uint64, what the boxes of each task were."""
        self.failures: list[Failure] = []
        self.share = np.zeros(0, np.int64)
        """The indices of this rank's images."""
        self.shares: list[Names] = []
        """The names of every rank's images."""
        self.planned_batch_size: int | None = None
        self.num_done_before = self.num_failed_before = 0
        self.num_dealt = 0
        """This process's part of all images that are listed, whatever has become of them."""
        self.num_without_boxes = 0
        """This rank's images that should have got boxes and have not: the run was stopped before."""
        self.plan_digest = ""
        """Differs where the images listed, or the boxes of a box file, are others."""
        self.all_mine = False
        """True if `tasks` are this rank's only."""
        self.boxes_not_counted: RowsNotCounted | None = None
        """What became of the rows of a box file, or of what a detector has found in this rank's images."""

    def pictures(self) -> Pictures:
        """All images there are; they are looked for once, and what was left out is said by rank 0."""
        if self._pictures is None:
            self._pictures = self.source.pictures()
            if self.place().rank == 0:
                for failure in self._pictures.failures:
                    log.warning(failure.message)
                for sentence in self._pictures.left_out.sentences():
                    log.warning(sentence)
        return self._pictures

    def cut_for(self, input_hw: tuple[int, int], crop_settings: CropSettings) -> None:
        """Says how the network wants its crops."""
        self.input_hw, self.crop_settings = input_hw, crop_settings

    def setup(self, stage: str | None = None) -> None:
        if self._planned_for != self.place()[:2]:
            self.plan()

    def plan(self) -> None:
        """Deals the images; needs nothing to be known of the network. `setup` does it where it has not been done."""
        self._planned_for = self.place()[:2]
        pictures = self.pictures()
        self._deal(self.boxes(pictures))
        failed = sum(row.instance_id is None for row in self.failures) if self.all_mine else 0
        own = len(self.share) + self.num_without_boxes + failed
        self.num_dealt = own + self.num_done_before + self.num_failed_before
        if self.place().rank == 0 and self.shard == 0:  # whatever was on record, it was looked at anew
            self.failures += pictures.failures

    def _deal(self, boxed: BoxedImages | DealtImages) -> None:
        tasks, of_boxes = boxed.tasks, digests(boxed.tasks.boxes)
        self.boxes_not_counted = boxed.not_counted
        self.plan_digest = digest_of_plan(tasks.pictures.names, None if isinstance(boxed, DealtImages) else of_boxes)
        of_boxes = of_boxes[tasks.indices]
        finished = self.finished(tasks.names, of_boxes)
        if isinstance(boxed, DealtImages):
            self.tasks, self.digests, self.failures, self.all_mine = tasks, of_boxes, boxed.failures, True
            self.num_done_before, self.num_failed_before = boxed.num_done_before, boxed.num_failed_before
            self.num_without_boxes = boxed.num_without_boxes
            self.share = np.arange(len(tasks))
            return
        mine = self._own_share(tasks)
        left = self._agreed(tasks.names, mine, finished.either)
        self.tasks, self.digests = tasks.select(left), of_boxes[left]
        self.failures = self._own_failures(boxed, mine, finished.either)
        self.num_done_before = int(finished.done[mine].sum())
        self.num_failed_before = len(mine) - len(left) - self.num_done_before
        rank, world_size = self.place()[:2]
        together = dealt_together(tasks.pictures, self.tasks.indices, world_size)
        shares = shard_images(self.tasks.num_boxes, world_size, together)
        self.shares = [self.tasks.names.select(share) for share in shares] if world_size > 1 else [self.tasks.names]
        self.share = shares[rank]
        self.failures = self._of_rank(self.failures, shares, rank)
        if rank:  # said once
            self.num_done_before = self.num_failed_before = 0

    def _own_share(self, tasks: Tasks) -> np.ndarray:
        """Positions of the shard's tasks, dealt from all there are: a restart must deal as the first start did."""
        together = dealt_together(tasks.pictures, tasks.indices, self.num_shards)
        return shard_images(tasks.num_boxes, self.num_shards, together)[self.shard]

    def _agreed(self, names: Names, mine: np.ndarray, finished: np.ndarray) -> np.ndarray:
        """Positions of the tasks that are left to do, in the order that all ranks have them in.

        Raises:
            ConfigError: one of them is not there.
        """
        left = mine[~finished[mine]]
        found = names if len(left) == len(names) else names.select(left)
        wanted = self.agree(found)
        return left if wanted == found else mine[positions_of(wanted, names.select(mine))]

    def _own_failures(self, boxed: BoxedImages, mine: np.ndarray, finished: np.ndarray) -> list[Failure]:
        """Failures of the shard's images that are not finished; those of names that no image has are shard 0's."""
        if not boxed.failures:
            return []
        of = Names.of(row.image for row in boxed.failures)
        positions = boxed.tasks.names.positions(of)
        is_mine = np.zeros(len(finished) + 1, bool)  # the last one is that of position -1
        is_mine[mine] = ~finished[mine]
        kept = is_mine[positions]
        if self.shard == 0:
            nowhere = np.flatnonzero(positions < 0)
            on_record = self.finished(of.select(nowhere), None)
            kept[nowhere] = ~(on_record.either | on_record.absent)
        return [row for row, keep in zip(boxed.failures, kept.tolist()) if keep]

    def _of_rank(self, failures: list[Failure], shares: list[np.ndarray], rank: int) -> list[Failure]:
        """Boxes that failed are of the rank that has their picture; all else is of the first one."""
        owners = np.zeros(len(self.tasks) + 1, np.int64)  # the last one is that of position -1
        for owner, share in enumerate(shares):
            owners[share] = owner
        of = owners[self.tasks.names.positions(Names.of(row.image for row in failures))]
        return [row for row, owner in zip(failures, of.tolist()) if owner == rank]

    @property
    def num_crops(self) -> int:
        """Crops that this rank has planned."""
        return int(self.tasks.num_boxes[self.share].sum())

    @property
    def num_images(self) -> int:
        """Images that this rank has planned."""
        return len(self.share)

    def predict_dataloader(self) -> PictureLoader[CropBatch]:
        batches, place = self._plan(), self.place()
        return PictureLoader(
            PictureDataset(self.source, self.tasks, batches, CropCutter(self.input_hw, self.crop_settings)),
            num_workers=min(self.workers(place.ranks_here), len(batches)),
            prefetch_factor=self.prefetch_factor,
            pin_memory=place.device.type == "cuda",
            read_timeout=self.read_timeout,
            stopped=self.stopped,
            sharers=place.ranks_here,
        )

    def _plan(self) -> Batches:
        """This rank's batches; only now, as the best batch size can only be found with the network in its place."""
        if not isinstance(self.batch_size, str):
            self.planned_batch_size = self.batch_size
        elif self.num_crops:
            self.planned_batch_size = self.find_batch_size(self.max_memory_gib)
        share, tasks = self.share, self.tasks
        stretches = places_among(tasks.pictures.stretches, tasks.indices[share])
        return pack_batches(tasks.num_boxes[share], self.planned_batch_size or 1, share, stretches)

    def workers(self, num_ranks: int) -> int:
        """Loader processes for each of so many ranks on this machine."""
        if self.num_workers is not None:
            return self.num_workers
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, min(MAX_DEFAULT_WORKERS, cores // max(num_ranks, 1)))


NO_TASKS = Tasks(Pictures("", Names.of([])), box_columns([]))


def positions_of(names: Names, among: Names) -> np.ndarray:
    """(n,) int64: where each name stands.

    Raises:
        ConfigError: one of them is not there.
    """
    positions = among.positions(names)
    if (positions < 0).any():
        gone = names[int(np.flatnonzero(positions < 0)[0])]
        raise ConfigError(f"{gone} has gone while the run was starting; run the same command again.")
    return positions
