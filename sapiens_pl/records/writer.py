"""The prediction writer: from batches to one file an image, off the device's path."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import BasePredictionWriter

from sapiens_pl.core.errors import ConfigError, ResultError
from sapiens_pl.core.keypoints import KeypointSpec
from sapiens_pl.core.structures import CropBatch, Failure, PosePrediction, PoseResult
from sapiens_pl.inference.transfer import PendingPrediction
from sapiens_pl.products.drawings import Drawings
from sapiens_pl.products.json_files import result_json
from sapiens_pl.products.openpose_pictures import check_openpose
from sapiens_pl.products.second_read import ReadingStopped
from sapiens_pl.records.assembly import ResultAssembler
from sapiens_pl.records.parts import PartWriter
from sapiens_pl.records.pool import BoundedPool
from sapiens_pl.records.run_folder import RunFolder

FORMATS = ("json", "coco", "parquet", "csv", "openpose")
_NUM_THREADS = 4
"""Most of their time they wait for the disk."""
_MAX_WAITING = 64
_BATCHES_UNDER_WAY = 1
"""So many batches may be launched and not yet taken over: the device works on one while the host takes the last."""


@dataclass
class RunCounts:
    """What came out of a run so far: images by outcome, people found, boxes that gave nothing.

    An image counts as done when its file is written, or as failed when that is on record. Overlays and OpenPose
    pictures that could not be made were left out; their images are done.
    """

    images_done: int = 0
    images_failed: int = 0
    people: int = 0
    boxes_failed: int = 0
    drawings_left_out: int = 0


class Pace:
    """Crops a second from the end of the first batch to the end of the last: without the start-up."""

    def __init__(self) -> None:
        self._first: float | None = None
        self._last, self._crops = 0.0, 0

    def batch_ends(self, num_crops: int) -> None:
        self._last = time.perf_counter()
        if self._first is None:
            self._first = self._last
        else:
            self._crops += num_crops

    @property
    def crops_per_second(self) -> float | None:
        """None after fewer than two batches."""
        return self._crops / (self._last - self._first) if self._first is not None and self._crops else None


class PoseWriter(BasePredictionWriter):
    """Regroups predictions by image and hands every finished image to a pool that writes it.

    Args:
        folder: where results go.
        spec: the network's keypoints.
        formats: what to write, of `FORMATS`. Each image gets its JSON file with any of them, as the record of what
            is done; Parquet parts take it over unless `json` is asked for too.
        overlay: draw the poses on the photographs too.
        overlay_score_threshold: keypoints with a lower score are not drawn.
        max_failures: more failed images than that end the run; None for any number.
        stop: called with a sentence to end the run.

    Raises:
        ConfigError: an unknown format, or a threshold or limit that is no number.
    """

    def __init__(
        self,
        folder: RunFolder,
        spec: KeypointSpec,
        formats: str | Sequence[str] = ("json",),
        overlay: bool = False,
        overlay_score_threshold: float = 0.3,
        max_failures: int | None = None,
        stop: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        super().__init__(write_interval="batch")
        formats = [formats] if isinstance(formats, str) else list(formats)
        unknown = sorted(set(formats) - set(FORMATS))
        if unknown or not formats:
            raise ConfigError(f"output.formats={formats} must be chosen from {', '.join(FORMATS)}.")
        if "openpose" in formats:
            check_openpose(spec)
        if not isinstance(overlay_score_threshold, (int, float)):
            raise ConfigError(f"output.overlay_score_threshold={overlay_score_threshold} must be a number.")
        if max_failures is not None and (type(max_failures) is not int or max_failures < 0):
            raise ConfigError(f"output.max_failures={max_failures} must be a whole number of at least 0, or null.")
        self.folder, self.spec, self.formats = folder, spec, formats
        self.parts = PartWriter(folder, spec, "json" not in formats) if "parquet" in formats else None
        self.max_failures, self.stop = max_failures, stop
        self.drawings = Drawings(folder, spec, overlay, "openpose" in formats, overlay_score_threshold)
        self.counts = RunCounts()
        self.pace = Pace()
        self._counting = Lock()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        # Not in on_predict_start: with nothing left to predict, that is never called.
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        self.folder.open()
        self._assembler = ResultAssembler(data.tasks, self.spec)
        self._pool = BoundedPool(_NUM_THREADS, _MAX_WAITING)
        self.drawings.open(data.read_timeout, data.max_megapixels, data.stopped)
        self._waiting: deque[tuple[CropBatch, PosePrediction | PendingPrediction]] = deque()
        self._record(data.failures)

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
            for _, result in finished:
                self._pool.submit(self._finish, result)

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._take_over(0)
        self._close()
        self._pool.raise_error()
        if self.parts is not None:
            self.parts.close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        if hasattr(self, "_pool"):
            with suppress(Exception):  # the device may be what broke, or the pool
                self._take_over(0)
            self._close()  # what is handed over gets written; the exception is on its way already

    def _close(self) -> None:
        self._pool.close()
        self.drawings.close()

    def _finish(self, result: PoseResult) -> None:
        """Writes what there is to write of one image; runs in the pool."""
        if result.image_failed:
            return self._record(result.failures)
        try:
            # The JSON comes last: where it is, the image is done, and its failed boxes are on record.
            left_out = self.drawings.write(result)
            self._record(result.failures)
            self._write_json(result)
        except ReadingStopped:  # the image is not done: the next run makes its overlay too
            return None
        except ResultError as error:
            return self._record([Failure(result.name, None, type(error).__name__, str(error))])
        with self._counting:
            self.counts.images_done += 1
            self.counts.people += len(result.instance_ids)
            self.counts.drawings_left_out += left_out
        if self.parts is not None:
            self.parts.add(result)

    def _write_json(self, result: PoseResult) -> None:
        try:
            content = result_json(result, self.spec)
        except Exception as error:  # one image's odd values end nobody else's work
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise ResultError(f"The result of {result.name} cannot be written as JSON ({reason}).") from None
        self.folder.write(self.folder.prediction_path(result.name), content)

    def _record(self, failures: Sequence[Failure]) -> None:
        for failure in failures:
            self.folder.failures.append(failure)
            with self._counting:
                if failure.instance_id is None:
                    self.counts.images_failed += 1
                else:
                    self.counts.boxes_failed += 1
        if self.max_failures is not None and self.counts.images_failed > self.max_failures:
            self.stop(
                f"More than {self.max_failures} images failed (output.max_failures); see {self.folder.failures.file}, "
                "and run the same command again to go on."
            )
