"""The progress bar: crops and images done by all ranks, crops a second, time left, device memory."""

from __future__ import annotations

import sys
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from sapiens_pl.core.devices import peak_gib
from sapiens_pl.core.structures import CropBatch
from sapiens_pl.records.run_folder import RunFolder

_SECONDS_BETWEEN_LOG_LINES = 30.0
_SECONDS_BETWEEN_LOOKS = 1.0


class CropProgress(ProgressBar):
    """One bar, of rank 0; the others leave their numbers in the run's folder. In a log it is a line now and then.

    Args:
        folder: the run's.
    """

    def __init__(self, folder: RunFolder) -> None:
        super().__init__()
        self._folder = folder
        self._enabled = True
        self._bar: tqdm | None = None
        self._crops = self._images = 0
        self._looked_at = 0.0
        self._others = (0, 0)

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._data: Any = trainer.datamodule  # type: ignore[attr-defined]
        several = trainer.world_size > 1
        self._together = several and not self._data.all_mine  # else the other ranks' shares are not known here
        watched = sys.stderr.isatty()
        self._bar = tqdm(
            total=sum(task.num_boxes for task in self._data.tasks),
            unit="crop",
            desc="poses (rank 0)" if several and not self._together else "poses",
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
        spans = [part.span for part in batch.parts]
        self._crops += sum(span.stop - span.start for span in spans)
        self._images += sum(span.stop == self._data.tasks[span.image_index].num_boxes for span in spans)
        self._show(trainer, pl_module)

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # The ranks that Lightning has started for us; rank 0 goes on to tell how far they are.
        others = getattr(trainer.strategy.launcher, "procs", [])
        while any(process.poll() is None for process in others):
            self._show(trainer, pl_module)
            time.sleep(_SECONDS_BETWEEN_LOOKS / 4)
        self._show(trainer, pl_module, at_once=True)
        self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._close()

    def _show(self, trainer: L.Trainer, pl_module: L.LightningModule, at_once: bool = False) -> None:
        assert self._bar is not None
        if self._together and (at_once or time.monotonic() - self._looked_at > _SECONDS_BETWEEN_LOOKS):
            self._looked_at = time.monotonic()
            if trainer.is_global_zero:
                self._others = self._folder.progress_of_others()
            else:
                self._folder.write_progress(self._crops, self._images)
        done = f"{self._images + self._others[1]}/{len(self._data.tasks)} images"
        self._bar.set_postfix_str(f"{done}, {peak_gib(pl_module.device):.1f} GiB peak", refresh=False)
        self._bar.update(self._crops + self._others[0] - self._bar.n)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
