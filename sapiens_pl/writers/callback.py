"""The prediction writer: from batches to one file an image, off the device's path."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import BasePredictionWriter

from sapiens_pl.errors import ConfigError, SapiensError
from sapiens_pl.images import read_image
from sapiens_pl.keypoints import KeypointSpec
from sapiens_pl.structures import CropBatch, Failure, PosePrediction, PoseResult
from sapiens_pl.writers.assembly import ResultAssembler
from sapiens_pl.writers.json import result_json
from sapiens_pl.writers.overlay import overlay_jpeg
from sapiens_pl.writers.pool import BoundedPool
from sapiens_pl.writers.run_folder import RunFolder

log = logging.getLogger(__name__)

FORMATS = ("json",)
_NUM_THREADS = 2
_MAX_WAITING = 64


@dataclass
class RunCounts:
    """What came out of a run so far: images by outcome, people found, boxes that gave nothing."""

    images_done: int = 0
    images_failed: int = 0
    people: int = 0
    boxes_failed: int = 0


class PoseWriter(BasePredictionWriter):
    """Regroups predictions by image and hands every finished image to a pool that writes it.

    Args:
        folder: where results go.
        spec: the network's keypoints.
        formats: what to write, of `FORMATS`.
        overlay: draw the poses on the photographs too.
        overlay_score_threshold: keypoints with a lower score are not drawn.

    Raises:
        ConfigError: an unknown format, or a threshold that is no number.
    """

    def __init__(
        self,
        folder: RunFolder,
        spec: KeypointSpec,
        formats: str | Sequence[str] = FORMATS,
        overlay: bool = False,
        overlay_score_threshold: float = 0.3,
    ) -> None:
        super().__init__(write_interval="batch")
        formats = [formats] if isinstance(formats, str) else list(formats)
        unknown = sorted(set(formats) - set(FORMATS))
        if unknown or not formats:
            raise ConfigError(f"output.formats={formats} must be chosen from {', '.join(FORMATS)}.")
        if not isinstance(overlay_score_threshold, (int, float)):
            raise ConfigError(f"output.overlay_score_threshold={overlay_score_threshold} must be a number.")
        self.folder, self.spec = folder, spec
        self.overlay, self.overlay_score_threshold = overlay, overlay_score_threshold
        self.counts = RunCounts()

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        self._assembler = ResultAssembler(data.tasks, self.spec.num_keypoints)
        self._pool = BoundedPool(_NUM_THREADS, _MAX_WAITING)
        self._record(data.failures)

    def write_on_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        prediction: PosePrediction,
        batch_indices: Sequence[int] | None,
        batch: CropBatch,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        for _, result in self._assembler.add(batch, prediction):
            self._record(result.failures)
            if not result.image_failed:
                self.counts.images_done += 1
                self.counts.people += len(result.instance_ids)
                self._pool.submit(self._write, result)

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._pool.close()
        self._pool.raise_error()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        if hasattr(self, "_pool"):
            self._pool.close()

    def _record(self, failures: Sequence[Failure]) -> None:
        for failure in failures:
            self.folder.append_failure(failure)
            if failure.instance_id is None:
                self.counts.images_failed += 1
            else:
                self.counts.boxes_failed += 1

    def _write(self, result: PoseResult) -> None:
        # The JSON comes last: where it is, the image is done.
        if self.overlay:
            self._write_overlay(result)
        self.folder.write(self.folder.prediction_path(result.name), result_json(result, self.spec))

    def _write_overlay(self, result: PoseResult) -> None:
        try:
            pixels = read_image(result.path).pixels
        except SapiensError as error:  # it could be read a moment ago
            log.warning("No overlay for %s: %s", result.name, error)
            return
        picture = overlay_jpeg(pixels, result, self.spec, self.overlay_score_threshold)
        self.folder.write(self.folder.overlay_path(result.name), picture)
