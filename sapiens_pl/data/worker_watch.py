"""What each loader process is reading and has read, and since when, in memory that outlives them."""

from __future__ import annotations

import ctypes
import mmap
import multiprocessing
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import NamedTuple

import torch

from sapiens_pl.core.remote import give_up_within
from sapiens_pl.data.dataset import prepare_worker

START_METHOD = "fork" if sys.platform == "linux" else None
"""None: the system's default."""
POLL_SECONDS = 1
SHARE_FOR_STORES = 0.8
"""The fraction of the read timeout that a store gets, so that a read ends with an error and not by a kill."""
_HISTORY = 16
"""How many spans ago a picture may have damaged a process that is lost now."""
_PID, _SINCE, _BUSY, _COUNT, _SPANS = range(5)
_PR_SET_PDEATHSIG = 1


class LostWorker(NamedTuple):
    """A loader process that ended too early.

    `spans` are the last (batch, position) that it read, in order; `was_reading` says that it had not done with the
    last of them.
    """

    spans: list[tuple[int, int]]
    was_reading: bool
    exit_code: int | None


class WorkerWatch:
    """Watches over the loader processes, from the main process and in them.

    Args:
        num_workers: rows, one for each worker.
        read_timeout: seconds after which a worker that is still reading the same image is killed.
    """

    def __init__(self, num_workers: int, read_timeout: float) -> None:
        # A row: process id, monotonic seconds since when, reading or not, how many spans, the last ones in a ring.
        self._rows = _shared_zeros(num_workers, _SPANS + 2 * _HISTORY)
        self._read_timeout = read_timeout
        self._main_process = os.getpid()
        self._others = {child.pid for child in multiprocessing.active_children()}
        self._processes: dict[int | None, multiprocessing.process.BaseProcess] = {}
        self.waiting_since: float | None = None
        """When the main process began to wait for the next batch."""
        self.timed_out = False
        self._over = threading.Event()
        self._guard = threading.Thread(target=self._watch, name="worker watch", daemon=True)

    def prepare(self, worker_id: int) -> None:
        """Runs first in every worker."""
        die_with(self._main_process)
        prepare_worker(worker_id)
        give_up_within(SHARE_FOR_STORES * self._read_timeout)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # only the main process handles Ctrl-C
        self._rows[worker_id, _PID] = os.getpid()

    def reading(self, worker_id: int, batch: int, position: int) -> None:
        row = self._rows[worker_id]
        count = int(row[_COUNT])
        place = _SPANS + 2 * (count % _HISTORY)
        row[_SINCE] = time.monotonic()
        row[place], row[place + 1] = batch, position
        row[_COUNT] = count + 1
        row[_BUSY] = 1

    def resting(self, worker_id: int) -> None:
        self._rows[worker_id, _BUSY] = 0

    def started(self) -> None:
        """Registers the processes that are new: those of the last portion may still run."""
        children = multiprocessing.active_children()
        self._processes = {child.pid: child for child in children if child.pid not in self._others}

    def lost(self) -> list[LostWorker]:
        """The workers that are no longer alive."""
        workers = [(row, self._processes.get(int(row[_PID]))) for row in self._rows if row[_PID] > 0]
        return [
            LostWorker(_spans(row), bool(row[_BUSY]), process.exitcode if process else None)
            for row, process in workers
            if process is None or not process.is_alive()
        ]

    def kill(self) -> None:
        """Ends all workers at once."""
        for child in self._processes.values():
            child.kill()

    def kill_overdue(self) -> None:
        """Ends workers that read one image for too long, or all if none reads and yet no batch comes."""
        now, busy = time.monotonic(), [row for row in self._rows if row[_PID] > 0 and row[_BUSY]]
        overdue = {int(row[_PID]) for row in busy if now - float(row[_SINCE]) > self._read_timeout}
        if not busy and self.waiting_since is not None and now - self.waiting_since > self._read_timeout:
            overdue = {int(row[_PID]) for row in self._rows}
        self.timed_out = self.timed_out or bool(overdue)
        for pid in overdue & self._processes.keys():
            self._processes[pid].kill()

    def begin(self) -> None:
        """Starts a thread that kills overdue workers: a worker that hangs can block the main process too."""
        self._guard.start()

    def end(self) -> None:
        self._over.set()
        if self._guard.ident is not None:
            self._guard.join()
        self.kill()

    def _watch(self) -> None:
        while not self._over.wait(POLL_SECONDS):
            self.kill_overdue()


def die_with(main_process: int) -> None:
    """Has the system end this process with its parent, even while it is stuck in a read (Linux)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != main_process:  # it has ended already
        os._exit(1)


def _spans(row: torch.Tensor) -> list[tuple[int, int]]:
    count = int(row[_COUNT])
    places = [_SPANS + 2 * (number % _HISTORY) for number in range(max(0, count - _HISTORY), count)]
    return [(int(row[place]), int(row[place + 1])) for place in places]


def _shared_zeros(rows: int, columns: int) -> torch.Tensor:
    """float64 that forked processes see too; on Linux they take no space in /dev/shm, which may be full."""
    if START_METHOD != "fork":
        return torch.zeros(rows, columns, dtype=torch.float64).share_memory_()
    return torch.frombuffer(mmap.mmap(-1, rows * columns * 8), dtype=torch.float64).view(rows, columns)
