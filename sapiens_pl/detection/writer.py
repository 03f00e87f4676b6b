"""Writes down what the detection pass finds, image by image."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np

from sapiens_pl.core.structures import Failure, ListedImage
from sapiens_pl.detection.boxes import DetectorBoxes
from sapiens_pl.detection.data import ImageBatch
from sapiens_pl.records.failures import FailureList


class DetectionWriter(L.Callback):
    """Takes every image's people to the record, and images that failed to the list of failures.

    Args:
        boxes: has the record, and gets the failures.
        failures: the run's list.
        max_failures: more failed images than that end the run; None for any number.
        stop: called with a sentence to end the run.
    """

    def __init__(
        self,
        boxes: DetectorBoxes,
        failures: FailureList,
        max_failures: int | None,
        stop: Callable[[str], None],
    ) -> None:
        self._boxes, self._failures, self._max_failures, self._stop = boxes, failures, max_failures, stop
        self.num_images = self.num_people = 0
        self.seconds = 0.0

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._data: Any = trainer.datamodule  # type: ignore[attr-defined]
        self._begin = time.perf_counter()

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: ImageBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        people: dict[int, np.ndarray] = dict(zip(batch.image_indices.tolist(), outputs))
        for part in batch.parts:
            if part.failures:
                self._fail(part.failures)
            else:
                assert part.image_wh is not None
                name, rows = self._data.tasks[part.span.image_index].name, people[part.span.image_index]
                self._boxes.record.append(ListedImage(name, *part.image_wh, None), rows)
                self.num_people += len(rows)
        self.num_images += len(batch.parts)
        self.seconds = time.perf_counter() - self._begin

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._boxes.record.close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._boxes.record.close()

    def _fail(self, failures: list[Failure]) -> None:
        for failure in failures:
            self._failures.append(failure)
            self._boxes.failures.append(failure)
        if self._max_failures is not None and len(self._boxes.failures) > self._max_failures:
            self._stop(too_many_failures(self._max_failures, self._failures.file))


def too_many_failures(most: int, file: Path) -> str:
    """Why a run ends."""
    return f"More than {most} images failed (output.max_failures); see {file}, and run the same command again to go on."
