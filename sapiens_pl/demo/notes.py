"""What the user should know about the demo's network, logged when a run begins."""

from __future__ import annotations

import logging

import lightning as L

log = logging.getLogger(__name__)


class DemoNotes(L.Callback):
    """Logs its notes once, when all checks have passed and the run begins."""

    def __init__(self, notes: list[str]) -> None:
        self.notes = notes

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            for note in self.notes:
                log.warning(note)
