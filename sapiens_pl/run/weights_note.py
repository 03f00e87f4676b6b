"""The cost of bringing the weights to the device, logged once and noted in `run.json`."""

from __future__ import annotations

import logging
from typing import Any

import lightning as L

from sapiens_pl.core.devices import GIB, host_peak_gib
from sapiens_pl.models.checkpoints import expanded
from sapiens_pl.models.tensors import weights_files
from sapiens_pl.run.account import Loading

log = logging.getLogger(__name__)


class LoadingNote(L.Callback):
    """Notes time and memory when the weights are where they will run.

    Weights that need neither another device nor another dtype stay a memory map of their file: they cost next to
    nothing here, and are read in the first forward pass.

    Args:
        checkpoint: the file or folder of the weights; None for a network that has none.
        building_seconds: what it took to build the network around them.
    """

    def __init__(self, checkpoint: str | None, building_seconds: float) -> None:
        self._building_seconds = building_seconds
        self.loading: Loading | None = None
        self._held_before = host_peak_gib()
        files = [] if checkpoint is None else weights_files(expanded(checkpoint, "model.checkpoint"))
        self._file_gib = sum(file.stat().st_size for file in files) / GIB

    def on_predict_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        weight = next(pl_module.network.parameters())
        seconds = self._building_seconds + pl_module.placing_seconds
        grown = max(host_peak_gib() - self._held_before, 0.0)
        self.loading = Loading(round(seconds, 3), round(self._file_gib, 3), round(grown, 3))
        if trainer.is_global_zero:
            dtype = str(weight.dtype).removeprefix("torch.")
            log.info(
                "Weights: a checkpoint of %.3f GiB, as %s on %s in %.1f s; the host's peak grew by %.3f GiB.",
                *(self._file_gib, dtype, weight.device, seconds, grown),
            )
