"""What a person should know of the demo's network, said when a run begins."""

from __future__ import annotations

import logging

import lightning as L

log = logging.getLogger(__name__)


class DemoNotes(L.Callback):
    """Says its notes once, when everything is in order and the run begins."""

    def __init__(self, notes: list[str]) -> None:
        self.notes = notes

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            for note in self.notes:
                log.warning(note)
