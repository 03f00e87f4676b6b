"""Batches from worker processes, which may fail in any way.

A worker can be killed, run out of memory, crash inside a decoder, or wait for ever on a dead disk. Each worker notes
what it reads (`worker_watch`). When one is lost, all are restarted behind the last batch that arrived, and the
images that the lost one has read are first tried alone, each in a process of its own (`alone`): an image that kills or
blocks that one too is recorded as failed, the others go on. With an image that passes alone and is lost with a worker
again, what was read alone is taken. Where the system has too little shared memory, or
allows too few processes or open files, the loader goes on with less (`transport`).
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Generic, NamedTuple, TypeVar

from torch.utils.data import DataLoader

from sapiens_pl.core.errors import ReadersLostError, StoreRefusedError
from sapiens_pl.data.blame import Blame
from sapiens_pl.data.dataset import PictureDataset
from sapiens_pl.data.sharing import LargeArrays
from sapiens_pl.data.transport import (
    Means,
    Transport,
    fitting,
    forget,
    lacks_processes,
    lacks_shared_memory,
    last_line,
    sentence_of,
    shared_memory_bytes,
    unpacked,
)
from sapiens_pl.data.worker_watch import POLL_SECONDS, START_METHOD, LostWorker, WorkerWatch

log = logging.getLogger(__name__)

Batch = TypeVar("Batch")

READ_TIMEOUT_SECONDS = 60.0
_LOSSES_BEFORE_FEWER_WORKERS = 2
_LOSSES_BEFORE_GIVING_UP = 8
"""In a row, without a batch arriving in between and without an image to blame."""


class _WorkersLost(Exception):
    """Workers died or hang."""

    def __init__(self, reason: str, workers: list[LostWorker]) -> None:
        super().__init__(reason)
        self.workers = workers


class _TooLittle(Exception):
    """The system lacks what so many workers and batches need."""

    def __init__(self, reason: str, of_shared_memory: bool = False, at_start: bool = False) -> None:
        super().__init__(reason)
        self.of_shared_memory, self.at_start = of_shared_memory, at_start


class _Begun(NamedTuple):
    """Workers that have begun, and what comes from them."""

    watch: WorkerWatch
    batches: Iterator[Any]


class PictureLoader(Generic[Batch]):
    """Iterates over the planned batches, each exactly once and in order: the dataset's, as `arrange` makes it.

    Args:
        dataset: the plan.
        num_workers: processes that read and crop; with 0 it is done here, where no crash or stuck read
            can be survived.
        prefetch_factor: batches that each worker prepares ahead.
        pin_memory: put the crops into page-locked memory, for copies that overlap.
        read_timeout: seconds after which reading one image counts as stuck.
        stopped: asked before each batch; True ends the iteration.
        sharers: how many loaders share the machine's shared memory.
        means: what a loader before this one has found to work; None: it is found here.

    Raises:
        ReadersLostError: while iterating, when workers die again and again and no image is to blame.
    """

    def __init__(
        self,
        dataset: PictureDataset,
        num_workers: int = 0,
        prefetch_factor: int = 2,
        pin_memory: bool = False,
        read_timeout: float = READ_TIMEOUT_SECONDS,
        stopped: Callable[[], bool] = lambda: False,
        sharers: int = 1,
        means: Means | None = None,
    ) -> None:
        self.dataset = dataset
        self.num_workers, self.pin_memory = num_workers, pin_memory
        self.means = Means(num_workers, prefetch_factor)
        """What it works with by now."""
        self._is_fitted = means is not None
        if means is not None:
            self.means = means._replace(num_workers=min(num_workers, means.num_workers))
        self.read_timeout, self.stopped = read_timeout, stopped
        self._sharers = sharers
        self._said = means is not None
        self._begun: _Begun | None = None
        self._arrays = LargeArrays()
        self._blame = Blame(dataset, read_timeout, stopped)
        self._unexplained = 0

    def __len__(self) -> int:
        return len(self.dataset)

    def begin(self) -> None:
        """Starts the workers, if they have not started, so that the first batch is ready soon."""
        self._fit_into_shared_memory()
        if self._begun is None and len(self):
            with suppress(_TooLittle):  # once more, when the batches are asked for
                self._begun = self._begin_at(0)

    def is_all_begun(self, arrived: int) -> bool:
        """Whether the workers have got all batches to do, once so many have arrived."""
        return len(self) - arrived <= self.means.num_workers * self.means.prefetch_factor

    def end(self) -> None:
        """Ends workers that have started and from which no batch was taken."""
        if self._begun is not None:
            self._begun.watch.end()
            self._begun = None

    def __iter__(self) -> Iterator[Batch]:
        self._fit_into_shared_memory()
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
            except _TooLittle as lack:
                self._make_do(lack)

    def _batches_from(self, start: int) -> Iterator[Batch]:
        begun, self._begun = self._begun or self._begin_at(start), None
        if begun is None:
            for batch in self._start(start, 0, None):
                yield batch
                if self.stopped():
                    return
            return
        watch, batches = begun
        try:
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
                yield unpacked(batch)
                watch.waiting_since = time.monotonic()
        finally:
            watch.end()

    def _begin_at(self, start: int) -> _Begun | None:
        """The workers, which read on from this batch; None where there are none."""
        num_workers = self.dataset.arrange(start, self.means.num_workers)
        if num_workers == 0:
            return None
        watch = WorkerWatch(num_workers, self.read_timeout)
        try:
            return _Begun(watch, self._start_workers(start, num_workers, watch))
        except BaseException:
            watch.end()
            raise

    def _start_workers(self, start: int, num_workers: int, watch: WorkerWatch) -> Iterator[Any]:
        if START_METHOD != "fork":
            self._arrays.share()
        try:
            watch.begin()
            return self._start(start, num_workers, watch)
        except (OSError, RuntimeError) as error:
            if isinstance(error, OSError) or lacks_shared_memory(error) or lacks_processes(error):
                forget(error)
                reason = f"Loader processes could not be started ({last_line(error)})"
                raise _TooLittle(reason, at_start=True) from None
            raise
        finally:
            watch.started()

    def _start(self, start: int, num_workers: int, watch: WorkerWatch | None) -> Iterator[Any]:
        self.dataset.watch = watch
        loader: DataLoader = DataLoader(
            self.dataset,
            batch_size=None,  # an item is a whole batch already
            sampler=range(start, len(self)),
            num_workers=num_workers,
            collate_fn=Transport(self.dataset.cutter.batch, self.means.shared),
            worker_init_fn=watch.prepare if watch else None,
            pin_memory=self.pin_memory,
            timeout=POLL_SECONDS if watch else 0,
            prefetch_factor=self.means.prefetch_factor if watch else None,
            multiprocessing_context=START_METHOD if watch else None,
        )
        handler = signal.getsignal(signal.SIGCHLD)
        batches = iter(loader)
        # torch's handler would raise a worker's death at any place in the main process.
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, handler)
        return batches

    def _examine(self, error: Exception, watch: WorkerWatch) -> None:
        """Returns if there is only more waiting to do."""
        if isinstance(error, StoreRefusedError):
            raise StoreRefusedError(sentence_of(error)) from None
        text = " ".join(str(error).split())
        if "DataLoader timed out" in text:  # our own polling
            return
        lost = watch.lost()
        if watch.timed_out:
            raise _WorkersLost(f"A read took longer than {self.read_timeout:g} s", lost) from error
        if "DataLoader worker" in text and "exited unexpectedly" in text:
            if self.means.shared and any(worker.exit_code == -signal.SIGBUS for worker in lost):
                reason = "A loader process found no room in shared memory (SIGBUS)"
                raise _TooLittle(reason, of_shared_memory=True) from error
            raise _WorkersLost("A loader process died", lost) from error
        if lacks_shared_memory(error) or lacks_processes(error):
            raise _TooLittle(last_line(error), lacks_shared_memory(error)) from error
        if isinstance(error, (OSError, EOFError, MemoryError)):
            raise _WorkersLost(text or type(error).__name__, lost) from error
        raise error

    # Who is to blame

    def _explain(self, loss: _WorkersLost) -> None:
        """Finds and condemns the images that are to blame; else tries with fewer workers, and finally gives up."""
        # No generator: each worker is looked at.
        explained = [self._blame.condemn_one_of(worker, str(loss)) for worker in loss.workers]
        if not any(explained) and not self.stopped():
            self._carry_on_with_less(loss)

    # What it goes on with

    def _carry_on_with_less(self, loss: _WorkersLost) -> None:
        self._unexplained += 1
        remedy = "give the run more memory (/dev/shm too) or lower data.num_workers or data.batch_size"
        if self._unexplained >= _LOSSES_BEFORE_GIVING_UP:
            raise ReadersLostError(
                f"{loss}, {self._unexplained} times in a row and with no image to blame; {remedy}, "
                "and run the same command again."
            )
        if self._unexplained % _LOSSES_BEFORE_FEWER_WORKERS == 0 and self.means.num_workers > 1:
            self.means = self.means.with_fewer_processes()
            log.warning("%s again; going on with %s.", loss, self.means.in_words())

    def _fit_into_shared_memory(self) -> None:
        if self._is_fitted:
            return
        self._is_fitted = True
        room, batch = shared_memory_bytes(), self.dataset.batch_bytes
        if room is None or self.means.num_workers == 0:
            return
        fitted = fitting(self.means, batch, room // self._sharers)
        if fitted != self.means:
            reason = f"Shared memory (/dev/shm) has {room / 1e6:.1f} MB free, and a batch takes {batch / 1e6:.1f} MB"
            self._go_on_with(fitted, reason)

    def _make_do(self, lack: _TooLittle) -> None:
        if lack.at_start or not self.means.shared:
            means = self.means.with_fewer_processes()
        elif lack.of_shared_memory:
            means = self.means.with_less_shared_memory(self.num_workers)
        else:
            means = self.means.without_shared_memory(self.num_workers)
        self._go_on_with(means, str(lack))

    def _go_on_with(self, means: Means, reason: str) -> None:
        self.means = means
        if not self._said:
            log.warning(
                "%s: going on with %s. More shared memory (docker run --shm-size=8g), processes or open files (ulimit) "
                "would let the run read faster.",
                *(reason, means.in_words()),
            )
        self._said = True
