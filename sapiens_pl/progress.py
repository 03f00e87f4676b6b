"""The progress bar: crops and images done, crops a second, time left, device memory."""

from __future__ import annotations

import sys
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from sapiens_pl.memory import device_peak_gib, host_peak_gib
from sapiens_pl.structures import CropBatch

_SECONDS_BETWEEN_LOG_LINES = 30.0


class CropProgress(ProgressBar):
    """Counts this process's crops and images; in a log file it prints a line now and then."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._bar: tqdm | None = None

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._data: Any = trainer.datamodule  # type: ignore[attr-defined]
        self._images_done, self._num_images = 0, self._data.num_images
        watched = sys.stderr.isatty()
        self._bar = tqdm(
            total=self._data.num_crops,
            unit="crop",
            desc="poses",
            dynamic_ncols=watched,
            mininterval=0.2 if watched else _SECONDS_BETWEEN_LOG_LINES,
            maxinterval=1.0 if watched else _SECONDS_BETWEEN_LOG_LINES,
            smoothing=0.05,
            disable=not self._enabled or not trainer.is_global_zero,
        )

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: CropBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        assert self._bar is not None
        spans = [part.span for part in batch.parts]
        self._images_done += sum(span.stop == self._data.tasks[span.image_index].num_boxes for span in spans)
        status = f"{self._images_done}/{self._num_images} images"
        on_device = device_peak_gib(pl_module.device)
        status += f", {host_peak_gib() if on_device is None else on_device:.1f} GiB peak"
        self._bar.set_postfix_str(status, refresh=False)
        self._bar.update(sum(span.stop - span.start for span in spans))

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
