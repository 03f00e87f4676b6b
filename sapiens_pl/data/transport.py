"""How batches come from the loader's processes: through shared memory, as far as there is room, or through pipes.

A container has 64 MB of /dev/shm by default: one batch of 16 crops of 1024x768 takes 38.
"""

from __future__ import annotations

import errno
import os
import pickle
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils.data import get_worker_info

from sapiens_pl.core.errors import StoreRefusedError

_SHARED_MEMORY = Path("/dev/shm")
_SPARE_FILES = 8
_ANY_FILE = 2
_IN_MAIN_PROCESS = 3
"""The most batches that the main process holds: the current one, the next, one on its way into page-locked memory."""
_NO_SHARED_MEMORY = re.compile(r"shared memory|\(shm\)|Bus error|No space left on device", re.IGNORECASE)
_NO_PROCESSES = re.compile(r"can't start new thread|Too many open files|items of ancdata|Cannot allocate memory")
_NO_PROCESSES_ERRNOS = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


class Means(NamedTuple):
    """What a loader works with.

    `num_workers` processes prepare `prefetch_factor` batches each; `shared` says that these come through shared memory.
    """

    num_workers: int
    prefetch_factor: int
    shared: bool = True

    def with_less_shared_memory(self, num_workers: int) -> Means:
        """Fewer batches ahead, then fewer workers, then `num_workers` workers without shared memory."""
        if self.prefetch_factor > 1:
            return self._replace(prefetch_factor=1)
        if self.num_workers > 1:
            return self._replace(num_workers=self.num_workers // 2)
        return self.without_shared_memory(num_workers)

    def without_shared_memory(self, num_workers: int) -> Means:
        """Batches come through pipes, which need no open file for each."""
        return Means(num_workers, 1, shared=False)

    def with_fewer_processes(self) -> Means:
        """In the end none: the main process reads."""
        return self._replace(num_workers=self.num_workers // 2)

    def needed_bytes(self, batch_bytes: int) -> int:
        """Shared memory for all batches that can be there at a time."""
        return (self.num_workers * self.prefetch_factor + _IN_MAIN_PROCESS) * batch_bytes if self.shared else 0

    def in_words(self) -> str:
        if self.num_workers == 0:
            return "the main process reads (data.num_workers=0)"
        how = "" if self.shared else ", without shared memory"
        return f"data.num_workers={self.num_workers}, data.prefetch_factor={self.prefetch_factor}{how}"


def fitting(means: Means, batch_bytes: int, room_bytes: int | None) -> Means:
    """The means for which there is room with such batches; `room_bytes` None: unknown."""
    wanted = means.num_workers
    while room_bytes is not None and batch_bytes and means.needed_bytes(batch_bytes) > room_bytes:
        means = means.with_less_shared_memory(wanted)
    return means


def shared_memory_bytes() -> int | None:
    """Free bytes of /dev/shm; None if unknown."""
    if sys.platform != "linux":
        return None
    try:
        status = os.statvfs(_SHARED_MEMORY)
    except OSError:
        return 0
    return status.f_bavail * status.f_frsize


class Transport:
    """A collate function that makes its batches ready for the way to the main process.

    Args:
        collate: makes a batch.
        shared: put its tensors into shared memory, where a lack of it raises; in the queue's own thread it would lose
            the batch. Else the batch becomes bytes, for `unpacked`.
    """

    def __init__(self, collate: Callable[[Any], Any], shared: bool) -> None:
        self._collate, self._shared = collate, shared

    def __call__(self, images: Any) -> Any:
        batch = self._collate(images)
        if get_worker_info() is None:
            return batch
        if not self._shared:
            return pickle.dumps(batch, protocol=5)
        values = [value for field in batch for value in (field if isinstance(field, list) else [field])]
        tensors = [value for value in values if isinstance(value, Tensor)]
        for tensor in tensors:
            tensor.share_memory_()
        _check_open_files(len(tensors))
        return batch


def _check_open_files(num_tensors: int) -> None:
    """Raises where the queue's thread would: each tensor goes to the main process as an open file."""
    handles: list[int] = []
    try:
        for _ in range(num_tensors + _SPARE_FILES):
            handles.append(os.dup(_ANY_FILE))
    finally:
        for handle in handles:
            os.close(handle)


def unpacked(batch: Any) -> Any:
    return pickle.loads(batch) if isinstance(batch, bytes) else batch  # our own workers' bytes


def lacks_shared_memory(error: BaseException) -> bool:
    """True for the errors of Python and torch that mean a lack of shared memory."""
    missing = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.ENOSYS)
    return missing or (isinstance(error, (RuntimeError, OSError)) and _NO_SHARED_MEMORY.search(str(error)) is not None)


def lacks_processes(error: BaseException) -> bool:
    """True where the system gives no further process, thread, open file, or memory for them."""
    if isinstance(error, OSError) and error.errno in _NO_PROCESSES_ERRNOS:
        return True
    return isinstance(error, (RuntimeError, OSError)) and _NO_PROCESSES.search(str(error)) is not None


def forget(error: BaseException) -> None:
    """Frees torch's half-made iterator silently: it would warn that it cannot end what it has not started."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda unraisable: None
    try:
        traceback.clear_frames(error.__traceback__)
    finally:
        sys.unraisablehook = hook


def sentence_of(error: StoreRefusedError) -> str:
    """Without the traceback that torch puts before it."""
    return str(error).strip().splitlines()[-1].partition(f"{StoreRefusedError.__name__}: ")[2] or str(error)


def last_line(error: BaseException) -> str:
    """Without the traceback that torch puts into an error of a worker's."""
    text = str(error).strip()
    last = text.splitlines()[-1] if "Traceback" in text else text
    return " ".join(last.split())[:300] or type(error).__name__
