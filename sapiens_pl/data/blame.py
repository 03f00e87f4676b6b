"""Which image caused the loss of a loader process: only one that also kills or blocks a process of its own."""

from __future__ import annotations

import logging
import signal
from collections import Counter
from collections.abc import Callable

from sapiens_pl.core.errors import SapiensError
from sapiens_pl.core.structures import Failure
from sapiens_pl.data.alone import try_alone
from sapiens_pl.data.dataset import PictureDataset
from sapiens_pl.data.worker_watch import LostWorker

log = logging.getLogger(__name__)

_LOSSES_PER_IMAGE = 3
"""After so many losses, an image that passes alone is not read by a worker any more: what was read alone is used."""
_READS_ALONE = 5
"""Reads in a trial, as a picture may crash its decoder only some reads later."""


class Blame:
    """Condemns images of a dataset, which are then not read again.

    Args:
        dataset: gets the condemned ones.
        read_timeout: seconds after which reading one image counts as stuck.
        stopped: True ends the trials.
    """

    def __init__(self, dataset: PictureDataset, read_timeout: float, stopped: Callable[[], bool]) -> None:
        self._dataset, self._read_timeout, self._stopped = dataset, read_timeout, stopped
        self._losses: Counter[int] = Counter()
        self._cleared: set[int] = set()
        """Images that could be read alone."""

    def condemn_one_of(self, worker: LostWorker, reason: str) -> bool:
        """True if one of the images that the worker has read is to blame."""
        spans = [self._dataset.batches[batch][position] for batch, position in worker.spans]
        # A crash may come some reads after the picture that has caused it; time or memory ran out with the last.
        crashed = worker.exit_code is not None and worker.exit_code not in (0, -signal.SIGKILL, -signal.SIGTERM)
        if not crashed:
            spans = spans[-1:] if worker.was_reading else []
        reading = spans[-1].image_index if spans and worker.was_reading else None
        if reading is not None:
            log.warning("%s while reading %s; it is tried alone.", reason, self._where(reading))
            self._losses[reading] += 1
        for span in reversed(spans):
            index = span.image_index
            if index in self._dataset.condemned or (index in self._cleared and index != reading):
                continue
            times = _READS_ALONE if crashed else 1
            trial = try_alone(self._dataset, span, times, self._read_timeout, self._stopped)
            if trial.error is not None:
                self._condemn(index, trial.error)
                return True
            self._cleared.add(index)
            if trial.read is not None and self._losses[index] >= _LOSSES_PER_IMAGE:
                self._dataset.read_alone[span] = trial.read
        return False

    def _condemn(self, image_index: int, error: SapiensError) -> None:
        name = self._dataset.task(image_index).name
        self._dataset.condemned[image_index] = Failure(name, None, type(error).__name__, str(error))

    def _where(self, image_index: int) -> str:
        task = self._dataset.task(image_index)
        return task.path or task.name
