"""The prediction writer: from batches to records, and to the products of single pictures, off the device's path."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol

import lightning as L
import torch
from lightning.pytorch.callbacks import BasePredictionWriter

from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.settings import check, either, whole_number
from sapiens_pl.core.structures import CropBatch, Failure, PosePrediction, PoseResult
from sapiens_pl.data.portions import Portion
from sapiens_pl.inference.transfer import PendingPrediction
from sapiens_pl.records.assembly import ResultAssembler
from sapiens_pl.records.pace import Pace
from sapiens_pl.records.planned import (
    PlannedFailures,
    PortionsAtWork,
    failed_result,
    members_of,
    pictures_by_shard,
)
from sapiens_pl.records.pool import BoundedPool
from sapiens_pl.records.recorder import Recorder
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.records.schema import ABSENT, DONE, FAILED, status_of
from sapiens_pl.records.store import read_store
from sapiens_pl.records.whole_shards import WholeShards, records_of

_NUM_THREADS = 4
"""Most of their time they wait for the disk."""
_MAX_WAITING, _MAX_BATCHES_WAITING = 64, 16
_BATCHES_UNDER_WAY = 1
"""How many batches may be launched and not yet taken over: the device works on one while the host takes the last."""


class PictureProducts(Protocol):
    """The products of single pictures that are made while the run goes on."""

    @property
    def are_any(self) -> bool: ...

    def make(self, result: PoseResult) -> list[Failure]:
        """Makes those of one recorded picture; returns why some could not be made. Several threads may call."""
        ...


@dataclass
class RunCounts:
    """What came out of a run so far: pictures by outcome, people found, boxes that gave nothing.

    A picture counts when its record is written. Absent ones were named, and are not there yet. Drawings left out are
    products that could not be made; their pictures are done.
    """

    images_done: int = 0
    images_failed: int = 0
    images_absent: int = 0
    people: int = 0
    boxes_failed: int = 0
    drawings_left_out: int = 0


class PoseWriter(BasePredictionWriter):
    """Regroups predictions by picture; records those of each batch, and then has their products made.

    Args:
        folder: of the run; with a store.
        keypoint_set: the network's.
        products: those of single pictures; None where no picture will be done.
        max_failures: more failed pictures than that end the run; None for any number.
        stop: called with a sentence to end the run.
        begins_anew: called with the names of this process's pictures that had a result before: products of it are
            out of date.
        ledger: notes tars and tables of which all pictures have their outcome.

    Raises:
        ConfigError: a limit that is not a number.
    """

    def __init__(
        self,
        folder: RunFolder,
        keypoint_set: KeypointSet,
        products: PictureProducts | None,
        max_failures: int | None = None,
        stop: Callable[[str], None] = lambda sentence: None,
        begins_anew: Callable[[Collection[str]], None] = lambda names: None,
        ledger: WholeShards | None = None,
    ) -> None:
        super().__init__(write_interval="batch")
        check({"max_failures": either(whole_number(0), None)}, {"max_failures": max_failures})
        self.folder, self.keypoint_set, self._products = folder, keypoint_set, products
        self.max_failures, self.stop, self._begins_anew = max_failures, stop, begins_anew
        self._ledger = ledger
        self.counts = RunCounts()
        self.frames: Counter[str] = Counter()
        """How many frames of each video have their outcome."""
        self.pace = Pace()
        self._of_shards: dict[str, Counter[str]] = {}
        """Outcomes of the pictures of tars and tables that are in progress."""
        self._counting = Lock()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        # Not in on_predict_start: with nothing left to predict, that is never called.
        self.begin(trainer.datamodule)  # type: ignore[attr-defined]

    def begin(self, data: Any) -> None:
        """Learns of what is planned, and records what the plan has found wrong already.

        Args:
            data: the planned pictures; more may be planned while the run goes on.
        """
        self.folder.open()
        store = read_store(self.folder.records)
        assert store is not None, "the first process makes it"
        self._portions = PortionsAtWork()
        self._assembler = ResultAssembler(self._portions, self.keypoint_set, store.carry)
        self._recorder = Recorder(self.folder.records, store, self.folder.shard, self.folder.rank)
        self._recording = BoundedPool(1, _MAX_BATCHES_WAITING)
        self._making = BoundedPool(_NUM_THREADS, _MAX_WAITING)
        self._waiting: deque[tuple[CropBatch, PosePrediction | PendingPrediction]] = deque()
        self._of_no_picture: list[Failure] = []
        if self.folder.is_first_of_all:
            self.folder.failures.keep_others([])
        self._begin_portion(data.portion, self._portions.add(data.portion))
        self._close_portions(self._portions.dropped())
        data.listeners.append(self._take)

    def _take(self, portion: Portion) -> None:
        """Learns of pictures that will come."""
        planned = self._portions.add(portion)
        self._recording.submit(self._begin_portion, portion, planned)
        self._close_portions(self._portions.dropped())

    def _begin_portion(self, portion: Portion, planned: PlannedFailures) -> None:
        if portion.again:
            self._start_anew(portion.again)
        if planned.of_no_picture:
            self._keep_of_no_picture(planned.of_no_picture)
        pictures = portion.tasks.pictures
        members = members_of(pictures, [failure.image for failure in planned.of_pictures])
        failed = [failed_result(failure, self.keypoint_set) for failure in planned.of_pictures]
        results = [result._replace(member=member) for result, member in zip(failed, members)]
        self._record_planned(results, None if pictures.shards is None else list(pictures.shards.names))
        self._recorder.expect(pictures_by_shard(portion.tasks.select(portion.share)))

    def _keep_of_no_picture(self, failures: Sequence[Failure]) -> None:
        self._of_no_picture += failures
        self.folder.failures.keep_others(self._of_no_picture)
        self._tell(failures)
        folders = sum(failure.instance_id is None for failure in failures)
        with self._counting:
            self.counts.images_failed += folders
            self.counts.boxes_failed += len(failures) - folders

    def _close_portions(self, portions: Sequence[Portion]) -> None:
        """Once their pictures are recorded."""
        for portion in portions:
            if self._ledger is not None and portion.shards:
                self._recording.submit(self._note_whole, portion, self._ledger)

    def _note_whole(self, portion: Portion, ledger: WholeShards) -> None:
        ledger.add([state.with_outcomes(self._of_shards.pop(state.name, Counter())) for state in portion.shards])

    def _record_planned(self, results: Sequence[PoseResult], shards: Sequence[str] | None) -> None:
        """Records pictures that are known to give nothing; existing records stay as they are."""
        absent = {*records_of(self.folder, shards).names(ABSENT)} if results else set()
        new = []
        for result in results:
            if status_of(result) == ABSENT and result.name in absent:
                self._tell(result.failures)
                self._count(result)
            else:
                new.append(result)
        self._record(new)

    def _start_anew(self, names: Collection[str]) -> None:
        """Removes the products of pictures that are done again."""
        self._begins_anew(names)
        forgotten = {*names}
        self.folder.failures.settle(lambda failure: failure.image in forgotten)

    def write_on_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        prediction: PosePrediction | PendingPrediction,
        batch_indices: Sequence[int] | None,
        batch: CropBatch,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        # Without the crops, whose memory on the device is needed again.
        self._waiting.append((batch._replace(crops=torch.empty(0)), prediction))
        self._take_over(_BATCHES_UNDER_WAY)

    def _take_over(self, under_way: int) -> None:
        """Takes what the device has finished; waits for it only while more batches than that are under way."""
        while self._waiting and (len(self._waiting) > under_way or self._waiting[0][1].is_ready):
            batch, prediction = self._waiting.popleft()
            finished = self._assembler.add(batch, prediction.result())
            self.pace.batch_ends(len(batch.image_indices))
            if finished:
                self._recording.submit(self._record, *self._portions.completed(finished))
                self._close_portions(self._portions.dropped())

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._take_over(0)
        self.end()

    def end(self) -> None:
        """Returns when everything is on the disk, or at the URL.

        Raises:
            WriteError: it is not: no space, no permission, a vanished disk.
        """
        self._close()
        self._recording.raise_error()
        self._making.raise_error()
        self.folder.outlet.wait()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        if hasattr(self, "_waiting"):
            with suppress(Exception):  # the device may be what broke, or the pool
                self._take_over(0)
            self._close()  # finished batches are recorded; the exception is already being raised

    def _close(self) -> None:
        self._recording.close()
        self._making.close()
        self._recorder.close()

    def _record(self, results: Sequence[PoseResult], boxes_digests: Sequence[int] | None = None) -> None:
        """Journals pictures that have their outcome, whatever it is; one thread at a time."""
        self._recorder.append(results, boxes_digests)
        for result in results:
            self._tell(result.failures)
            self._count(result)
            if not result.image_failed and self._products is not None and self._products.are_any:
                self._making.submit(self._make, result)
        if self.max_failures is not None and self.counts.images_failed > self.max_failures:
            self.stop(
                f"More than {self.max_failures} images failed (output.max_failures); see {self.folder.failures.file}, "
                "and run the same command again to go on."
            )

    def _make(self, result: PoseResult) -> None:
        assert self._products is not None
        failures = self._products.make(result)
        self._tell(failures)
        with self._counting:
            self.counts.drawings_left_out += len(failures)

    def _tell(self, failures: Collection[Failure]) -> None:
        for failure in failures:
            self.folder.failures.append(failure)

    def _count(self, result: PoseResult) -> None:
        with self._counting:
            counts, status = self.counts, status_of(result)
            counts.images_done += status == DONE
            counts.images_failed += status == FAILED
            counts.images_absent += status == ABSENT
            if result.member is not None:
                self._of_shards.setdefault(result.member.shard, Counter())[status] += 1
            if result.frame is not None:
                self.frames[result.frame.video] += 1
            counts.people += len(result.instance_ids)
            counts.boxes_failed += sum(failure.instance_id is not None for failure in result.failures)
