"""Batches from worker processes, whatever becomes of those.

A worker can be killed, run out of memory, crash inside a decoder, or wait for ever on a dead disk.
Each worker notes in shared memory what it is reading. When one is lost, all are started anew behind
the last batch that arrived, and the images that the lost one held are first tried alone in a process
of their own: an image that kills or blocks that one too is recorded as failed, the others go on.
"""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader

from sapiens_pl.data.dataset import CropDataset, prepare_worker, ragged_collate
from sapiens_pl.errors import ReaderDiedError, ReadersLostError, ReadTimeoutError, SapiensError
from sapiens_pl.structures import CropBatch, CropSpan, Failure

log = logging.getLogger(__name__)

READ_TIMEOUT_SECONDS = 60.0
_POLL_SECONDS = 1
_LOSSES_PER_IMAGE = 3
"""An image that was being read so often when a worker died is to blame, even if it passes when alone."""
_LOSSES_BEFORE_FEWER_WORKERS = 2
_LOSSES_BEFORE_GIVING_UP = 8
"""In a row, without a batch arriving in between and without an image to blame."""


class WorkerWatch:
    """What each worker process is reading, and since when; in shared memory, so that it outlives them.

    Args:
        num_workers: rows, one for each worker.
        read_timeout: seconds after which a worker that is still reading the same image is killed.
    """

    def __init__(self, num_workers: int, read_timeout: float) -> None:
        # process id, batch, position in the batch (-1: nothing), monotonic seconds since when
        self._rows = torch.zeros(num_workers, 4, dtype=torch.float64).share_memory_()
        self._rows[:, 2] = -1
        self._read_timeout = read_timeout
        self.waiting_since: float | None = None
        """When the main process began to wait for the next batch."""
        self.timed_out = False

    def prepare(self, worker_id: int) -> None:
        """Runs first in every worker."""
        prepare_worker(worker_id)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's affair
        self._rows[worker_id, 0] = os.getpid()

    def reading(self, worker_id: int, batch: int, position: int) -> None:
        row = self._rows[worker_id]
        row[1], row[3] = batch, time.monotonic()
        row[2] = position

    def resting(self, worker_id: int) -> None:
        self._rows[worker_id, 2] = -1

    def lost(self) -> list[tuple[int, int]]:
        """(batch, position) of everything that workers no longer alive were reading."""
        alive = {child.pid for child in multiprocessing.active_children()}
        return [(int(row[1]), int(row[2])) for row in self._busy() if int(row[0]) not in alive]

    def kill(self) -> None:
        """Ends all workers at once."""
        self._kill(list(self._rows))

    def kill_overdue(self) -> None:
        """Ends workers that read one image for too long, or all if none reads and yet no batch comes."""
        now, busy = time.monotonic(), self._busy()
        overdue = [row for row in busy if now - float(row[3]) > self._read_timeout]
        if not busy and self.waiting_since is not None and now - self.waiting_since > self._read_timeout:
            overdue = list(self._rows)
        if overdue:
            self.timed_out = True
            self._kill(overdue)

    def _busy(self) -> list[torch.Tensor]:
        return [row for row in self._rows if row[0] > 0 and row[2] >= 0]

    def _kill(self, rows: list[torch.Tensor]) -> None:
        pids = {int(row[0]) for row in rows}
        for child in multiprocessing.active_children():
            if child.pid in pids:
                child.kill()

    @contextmanager
    def on_guard(self) -> Iterator[None]:
        """Kills what is overdue, from a thread: a worker that hangs can block the main process too."""
        end = threading.Event()

        def guard() -> None:
            while not end.wait(_POLL_SECONDS):
                self.kill_overdue()

        thread = threading.Thread(target=guard, name="worker watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()
            self.kill()


class _WorkersLost(Exception):
    """Workers died or hang; `spans` is what they were reading."""

    def __init__(self, spans: list[tuple[int, int]], reason: str) -> None:
        super().__init__(reason)
        self.spans = spans


class CropLoader:
    """Iterates over the planned batches, each exactly once and in order.

    Args:
        dataset: the plan.
        num_workers: processes that read and crop; with 0 it is done here, where no crash or stuck read
            can be survived.
        prefetch_factor: batches that each worker prepares ahead.
        pin_memory: put the crops into page-locked memory, for copies that overlap.
        read_timeout: seconds after which reading one image counts as stuck.
        stopped: asked before each batch; True ends the iteration.
        collate: makes a batch of what the dataset gives; None for `ragged_collate`.

    Raises:
        ReadersLostError: while iterating, when workers die again and again and no image is to blame.
    """

    def __init__(
        self,
        dataset: CropDataset,
        num_workers: int = 0,
        prefetch_factor: int = 2,
        pin_memory: bool = False,
        read_timeout: float = READ_TIMEOUT_SECONDS,
        stopped: Callable[[], bool] = lambda: False,
        collate: Callable[[list[Any]], Any] | None = None,
    ) -> None:
        self.collate = collate or partial(ragged_collate, input_hw=dataset.input_hw)
        self.dataset = dataset
        self.num_workers, self.prefetch_factor, self.pin_memory = num_workers, prefetch_factor, pin_memory
        self.read_timeout, self.stopped = read_timeout, stopped
        self._losses: Counter[int] = Counter()
        self._unexplained = 0

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[CropBatch]:
        arrived = 0
        while arrived < len(self) and not self.stopped():
            try:
                for batch in self._batches_from(arrived):
                    arrived += 1
                    self._unexplained = 0
                    yield batch
                return
            except _WorkersLost as loss:
                self._explain(loss)

    def _batches_from(self, start: int) -> Iterator[CropBatch]:
        if self.num_workers == 0:
            for batch in self._start(start, None):
                yield batch
                if self.stopped():
                    return
            return
        watch = WorkerWatch(self.num_workers, self.read_timeout)
        batches = self._start(start, watch)
        with watch.on_guard():
            watch.waiting_since = time.monotonic()
            while not self.stopped():
                try:
                    batch = next(batches)
                except StopIteration:
                    return
                except Exception as error:
                    self._examine(error, watch)
                    continue
                watch.waiting_since = None
                yield batch
                watch.waiting_since = time.monotonic()

    def _start(self, start: int, watch: WorkerWatch | None) -> Iterator[CropBatch]:
        self.dataset.watch = watch
        loader: DataLoader = DataLoader(
            self.dataset,
            batch_size=None,  # an item is a whole batch already
            sampler=range(start, len(self)),
            num_workers=self.num_workers,
            collate_fn=self.collate,
            worker_init_fn=watch.prepare if watch else None,
            pin_memory=self.pin_memory,
            timeout=_POLL_SECONDS if watch else 0,
            prefetch_factor=self.prefetch_factor if watch else None,
        )
        handler = signal.getsignal(signal.SIGCHLD)
        batches = iter(loader)
        # torch's handler would raise a worker's death wherever the main process happens to be.
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, handler)
        return batches

    def _examine(self, error: Exception, watch: WorkerWatch) -> None:
        """Returns if there is only more waiting to do."""
        text = " ".join(str(error).split())
        if "DataLoader timed out" in text:  # our own polling
            return
        reason = text or type(error).__name__
        if watch.timed_out:
            reason = f"A read took longer than {self.read_timeout:g} s"
        elif "DataLoader worker" in text and "exited unexpectedly" in text:
            reason = "A loader process died"
        elif not isinstance(error, (OSError, EOFError, MemoryError)) and "shared memory" not in text:
            raise error
        raise _WorkersLost(watch.lost(), reason) from error

    def _explain(self, loss: _WorkersLost) -> None:
        """Finds the images to blame and condemns them; else tries with fewer workers, and at last gives up."""
        explained = False
        for batch, position in loss.spans:
            span = self.dataset.batches[batch][position]
            task = self.dataset.tasks[span.image_index]
            log.warning("%s while reading %s; it is tried alone.", loss, task.path or task.name)
            self._losses[span.image_index] += 1
            error = self._try_alone(span)
            if error is None and self._losses[span.image_index] >= _LOSSES_PER_IMAGE:
                error = ReaderDiedError(
                    f"{task.path or task.name} was being read each of the {_LOSSES_PER_IMAGE} times that a loader "
                    f"process was lost ({loss}); look at it."
                )
            if error is not None:
                failure = Failure(task.name, None, type(error).__name__, str(error))
                self.dataset.condemned[span.image_index] = failure
                explained = True
        if not explained:
            self._carry_on_with_less(loss)

    def _carry_on_with_less(self, loss: _WorkersLost) -> None:
        self._unexplained += 1
        remedy = "give the run more memory (/dev/shm too) or lower data.num_workers or data.batch_size"
        if self._unexplained >= _LOSSES_BEFORE_GIVING_UP:
            raise ReadersLostError(
                f"{loss}, {self._unexplained} times in a row and with no image to blame; {remedy}, "
                "and run the same command again."
            )
        if self._unexplained % _LOSSES_BEFORE_FEWER_WORKERS == 0 and self.num_workers > 1:
            self.num_workers //= 2
            log.warning("%s again; going on with data.num_workers=%d.", loss, self.num_workers)

    def _try_alone(self, span: CropSpan) -> SapiensError | None:
        """Reads and cuts one span in a process of its own; tells how that ended, None for well."""
        task = self.dataset.tasks[span.image_index]
        where = task.path or task.name
        process = torch.multiprocessing.get_context().Process(
            target=_read_alone, args=(self.dataset, span, self.read_timeout), daemon=True
        )
        process.start()
        end = time.monotonic() + self.read_timeout
        while process.is_alive() and time.monotonic() < end and not self.stopped():
            process.join(0.1)
        if process.is_alive():
            process.kill()
            process.join(_POLL_SECONDS)
            if self.stopped():  # nothing is known of the image; the next run will see
                return None
            return ReadTimeoutError(
                f"{where} could not be read within {self.read_timeout:g} s (data.read_timeout), even alone; check "
                "the disk or the network mount that it lies on."
            )
        if process.exitcode == 0:
            return None
        how = f"exit code {process.exitcode}"
        if process.exitcode is not None and process.exitcode < 0:
            how = signal.Signals(-process.exitcode).name
        return ReaderDiedError(f"{where} killed the process that read it, even alone ({how}); replace it.")


def _read_alone(dataset: CropDataset, span: CropSpan, read_timeout: float) -> None:
    prepare_worker(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.alarm(math.ceil(2 * read_timeout))  # should the main process be killed meanwhile
    dataset.cut(span)
