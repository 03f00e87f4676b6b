"""The LightningDataModule: lists images, brings boxes, plans batches, loads crops."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import lightning as L
import numpy as np

from sapiens_pl.boxes.matching import DealtImages
from sapiens_pl.core.columns import Names
from sapiens_pl.core.geometry import SAPIENS_CROPS, CropSettings
from sapiens_pl.core.left_out import sum_of_accounts
from sapiens_pl.core.not_counted import FilesNotCounted, NotCounted, RowsNotCounted, plus
from sapiens_pl.core.plan import Pictures, Tasks
from sapiens_pl.core.protocols import BoxedImages, BoxSource, ShardedSource
from sapiens_pl.core.settings import check
from sapiens_pl.core.structures import CropBatch
from sapiens_pl.data.chain import Packer, PortionLoader
from sapiens_pl.data.crops import CropCutter
from sapiens_pl.data.dataset import PictureDataset
from sapiens_pl.data.dealing import Taker
from sapiens_pl.data.handed_in import NO_LEDGER, FinishedCheck, Place, ShardLedger, no_trial, nothing_finished
from sapiens_pl.data.loader import READ_TIMEOUT_SECONDS, PictureLoader
from sapiens_pl.data.packing import check_shard
from sapiens_pl.data.planning import NOTHING, digest_of_shards, goes_by_shards, plan_by_shards, plan_of_all
from sapiens_pl.data.portions import PlanCounts, Portion
from sapiens_pl.data.settings import LOADING
from sapiens_pl.data.transport import Means
from sapiens_pl.pictures import MAX_MEGAPIXELS
from sapiens_pl.pictures.sources import open_source

log = logging.getLogger(__name__)

MAX_DEFAULT_WORKERS = 16


class ImageDataModule(L.LightningDataModule):
    """Batches of crops from images of any sizes with any numbers of boxes.

    After `setup`, `portion` is what is planned: all images that are left to do, or those of the first tar, of which
    `listeners` learn; the loader plans the others as it goes, and they learn of these too.

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
        num_shards, shard: how many independent runs share the images, and which of them this one is.
        source: what brings the images, as for `pictures.sources.open_source`.
        video: which frames of videos, as for `pictures.video_choice.frame_choice`.
        columns, carry: which columns of tables of pictures, as for `pictures.sources.open_source`.
        scratch_gib: the most disk space for copies of tars and tables from URLs; None: half of what is free.
        finished: says in `setup` which images need not be done again.
        stopped: asked before each batch; True ends the run after the batch in flight.
        agree: called in `setup` with the names of the images left to do; returns those that all ranks agree on.
        place: tells, from `setup` on, which of the processes this one is.
        find_batch_size: called with `max_memory_gib` once the network is in its place.
        ledger: tells which tars and tables need not be opened.

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
        source: str | Mapping[str, Any] | None = None,
        video: Mapping[str, Any] | None = None,
        columns: Mapping[str, Any] | None = None,
        carry: Any = None,
        scratch_gib: float | None = None,
        finished: FinishedCheck = nothing_finished,
        crop_settings: CropSettings = SAPIENS_CROPS,
        stopped: Callable[[], bool] = lambda: False,
        agree: Callable[[Names], Names] = lambda names: names,
        place: Callable[[], Place] = Place,
        find_batch_size: Callable[[float | None], int] = no_trial,
        ledger: ShardLedger = NO_LEDGER,
    ) -> None:
        super().__init__()
        self.boxes, self.input_hw, self.crop_settings = boxes, input_hw, crop_settings
        self.finished, self.stopped, self.agree, self.ledger = finished, stopped, agree, ledger
        self.place, self.find_batch_size = place, find_batch_size
        self.batch_size, self.max_memory_gib = batch_size, max_memory_gib
        self.num_workers, self.prefetch_factor = num_workers, prefetch_factor
        self.max_megapixels, self.read_timeout = max_megapixels, read_timeout
        check(LOADING, vars(self))
        check_shard(num_shards, shard)
        self.num_shards, self.shard = num_shards, shard
        self.source = open_source(images, max_megapixels, source, video, columns, scratch_gib, carry)
        # A rank may find nothing left to do.
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.listeners: list[Callable[[Portion], None]] = []
        """Called with each portion, before any of its pictures comes."""
        self._pictures: Pictures | None = None
        self._planned_for: Taker | None = None
        self._to_come: Iterator[Portion] = iter(())
        self._forget()

    def _forget(self) -> None:
        self.portion = NOTHING
        """What was planned last."""
        self.counts = PlanCounts()
        """Of all that is planned by now."""
        self.shares: list[Names] = []
        """The names of every rank's images; of none where each rank plans its own."""
        self.left_out: dict[str, Any] = {}
        """What was looked at so far and is not among the run's pictures, as `LeftOut.account` gives it."""
        self._files_not_counted: FilesNotCounted | None = None
        self._rows_not_counted: RowsNotCounted | None = None
        self.planned_batch_size: int | None = None
        self.plan_digest = ""
        """Changes when the listed images, or the boxes of a box file, change."""

    def pictures(self) -> Pictures:
        """All images; they are searched once, and rank 0 logs what was left out."""
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
        if self._planned_for != self.taker:
            self.plan()

    @property
    def taker(self) -> Taker:
        """Which of the runs with one folder this is, and which rank of it."""
        return Taker(self.shard, self.num_shards, *self.place()[:2])

    @property
    def goes_by_shards(self) -> bool:
        """Whether it is planned tar by tar, each rank for itself; then `pictures` is not asked."""
        return goes_by_shards(self.source, self.boxes, self.taker)

    @property
    def num_own_shards(self) -> int | None:
        """The tars or tables that this process has to do; None where pictures are dealt, not tars."""
        listed = self.num_shards_listed
        return None if listed is None else len(self.taker.shards_of(listed))

    @property
    def num_shards_listed(self) -> int | None:
        """All tars or tables that there are; None where pictures are dealt."""
        if isinstance(self.source, ShardedSource) and self.goes_by_shards:
            return len(self.source.shard_names())
        return None

    def plan(self) -> None:
        """Deals the images, of tars those of the first; the network need not be known yet. `setup` does it
        where it has not been done.
        """
        self._forget()
        self._planned_for = taker = self.taker
        if isinstance(self.source, ShardedSource) and self.goes_by_shards:
            self.agree(Names.of([]))  # each rank plans for itself
            self.plan_digest = digest_of_shards(self.source.shard_names())
            self._to_come = self._portions(self.source, taker)
            self._take(next(self._to_come).with_people())
            return
        pictures = self.pictures()
        planned = plan_of_all(pictures, self.source, self.boxes(pictures), self.finished, self.agree, taker)
        portion, self.plan_digest = planned
        if portion.shares:
            self.shares = portion.shares
        self._to_come = iter(())
        self._take(portion)

    def plan_all(self, begin: Callable[[ImageDataModule], None] = lambda data: None) -> None:
        """Plans all portions, for callers that want to know what there is, and keeps the last.

        Args:
            begin: called when the first one is planned.
        """
        self.setup()
        begin(self)
        for portion in self._to_come:
            self._take(portion.with_people())

    def are_known(self, names: Names) -> np.ndarray:
        """(n,) bool: which names are those of pictures; of tars, only whether there is such a tar."""
        if isinstance(self.source, ShardedSource) and self.goes_by_shards:
            shards = {*self.source.shard_names()}
            above = (name.split("/") for name in names)
            found = [any("/".join(of[:count]) in shards for count in range(1, len(of))) for of in above]
            return np.array(found, bool)
        return self.pictures().names.positions(names) >= 0

    def is_anything_left(self) -> bool:
        """Whether any rank of this run has images to do; of tars, only as many are opened as it takes to know."""
        if not isinstance(self.source, ShardedSource) or not self.goes_by_shards:
            self.plan()
            return any(map(len, self.shares))
        of_all_ranks = self.taker._replace(rank=0, world_size=1)
        return any(len(portion.tasks) for portion in self._portions(self.source, of_all_ranks))

    def _take(self, portion: Portion) -> None:
        self.portion, self.counts = portion, self.counts.plus(portion.counts)
        if self.goes_by_shards:
            for failure in portion.tasks.pictures.failures:
                log.warning(failure.message)
        self.left_out = sum_of_accounts(self.left_out, portion.left_out.account())
        self._files_not_counted = plus(self._files_not_counted, portion.left_out.not_counted())
        self._rows_not_counted = plus(self._rows_not_counted, portion.not_counted)
        for listener in self.listeners:
            listener(portion)

    def _portions(self, source: ShardedSource, taker: Taker) -> Iterator[Portion]:
        if hasattr(self.boxes, "is_tried") and self.ledger.knows_any():
            self.boxes.is_tried = True
        return plan_by_shards(source, self.boxes, self.finished, self.ledger, taker)

    @property
    def not_counted(self) -> NotCounted:
        """What this process was given and does not count, as far as it is known."""
        whole = not self.goes_by_shards
        return NotCounted(self._files_not_counted, self._rows_not_counted, whole and bool(self.portion.shares), whole)

    @property
    def tasks(self) -> Tasks:
        """The images that are left to do, of all ranks, of what was planned last."""
        return self.portion.tasks

    @property
    def num_crops(self) -> int:
        """Crops that this rank has planned."""
        return self.counts.crops

    @property
    def num_images(self) -> int:
        """Images that this rank has planned."""
        return self.counts.images

    @property
    def largest_batch(self) -> int:
        """Crops of a full batch, or of the only one; 0 if there are none."""
        size = self.planned_batch_size or 0
        return min(size, self.num_crops) if self.portion.is_last else size

    def predict_dataloader(self) -> PortionLoader[CropBatch]:
        place, cutter = self.place(), CropCutter(self.input_hw, self.crop_settings)
        batch_size = self._best_batch_size()
        datasets = Packer(self.portion, self._to_come, batch_size, cutter)
        at_a_time = 1 if self.portion.is_last else 2

        def loader_of(dataset: PictureDataset, means: Means | None) -> PictureLoader[CropBatch]:
            return PictureLoader(
                dataset,
                num_workers=min(self.workers(place.ranks_here), len(dataset)),
                prefetch_factor=self.prefetch_factor,
                pin_memory=place.device.type == "cuda",
                read_timeout=self.read_timeout,
                stopped=self.stopped,
                sharers=place.ranks_here * at_a_time,
                means=means,
            )

        return PortionLoader(datasets, loader_of, self._take, self.stopped)

    def _best_batch_size(self) -> int:
        """Called late: it can only be found when the network is on its device."""
        if not isinstance(self.batch_size, str):
            self.planned_batch_size = self.batch_size
        elif self.num_crops or not self.portion.is_last:
            self.planned_batch_size = self.find_batch_size(self.max_memory_gib)
        return self.planned_batch_size or 1

    def workers(self, num_ranks: int) -> int:
        """Loader processes of each of `num_ranks` ranks on this machine."""
        if self.num_workers is not None:
            return self.num_workers
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, min(MAX_DEFAULT_WORKERS, cores // max(num_ranks, 1)))
