"""The lock of a run's folder, which ends with the process that holds it."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

from sapiens_pl.core.errors import ConfigError

_SLOT_BYTES = 128
_PREPARATION_SECONDS = 30.0
_BETWEEN_TRIES_SECONDS = 0.1
_TAKEN = (errno.EACCES, errno.EAGAIN)


class RunLock:
    """One lock file for all shards of a run: each locks and signs bytes of its own.

    They are record locks: forked workers do not inherit them, so they end with this very process.

    Args:
        path: the lock file; it is removed when its last holder ends.
        shard, num_shards: a run without shards has the whole file to itself.
    """

    def __init__(self, path: Path, shard: int = 0, num_shards: int = 1) -> None:
        self._path, self._shard, self._alone = path, shard, num_shards == 1
        self._handle: int | None = None
        self.only_one = True
        """True while no other shard is running."""

    def acquire(self) -> None:
        """Keeps others out. Several shards get in one after the other: see `share`.

        Raises:
            ConfigError: another run is writing here, or the folder cannot be written.
        """
        # Another shard may be preparing the folder for a moment.
        end = time.monotonic() + (0 if self._alone else _PREPARATION_SECONDS)
        while self._handle is None:
            handle = self._open()
            try:
                self.only_one = _lock_what_is_free(handle, self._alone, self._shard)
            except OSError as error:
                signature = os.pread(handle, _SLOT_BYTES, self._shard * _SLOT_BYTES)
                owner = signature.decode("utf-8", "replace").strip("\0 \n")
                os.close(handle)
                if error.errno not in _TAKEN:
                    return  # a file system without locks
                if time.monotonic() > end:
                    raise ConfigError(
                        f"{self._path.parent} is being written by another run ({owner or 'unknown'}); "
                        "wait for its end or choose another output.dir."
                    ) from None
                time.sleep(_BETWEEN_TRIES_SECONDS)
                continue
            if _same_file(handle, self._path):
                self._handle = handle
            else:  # its last owner has just taken it away
                os.close(handle)
        signature = f"process {os.getpid()} on {socket.gethostname()}\n".encode()[:_SLOT_BYTES]
        os.pwrite(self._handle, signature.ljust(_SLOT_BYTES), self._shard * _SLOT_BYTES)

    def share(self) -> None:
        """Lets the other shards in."""
        if self._handle is None or self._alone:
            return
        start = self._shard * _SLOT_BYTES
        if start:
            fcntl.lockf(self._handle, fcntl.LOCK_UN, start, 0)
        fcntl.lockf(self._handle, fcntl.LOCK_UN, 0, start + _SLOT_BYTES)

    def release(self) -> None:
        if self._handle is None:
            return
        with suppress(OSError):
            fcntl.lockf(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._path.unlink()  # no other process is running
        os.close(self._handle)
        self._handle = None

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ConfigError(
                f"output.dir={self._path.parent} cannot be written ({error.strerror}); choose another."
            ) from None


def _lock_what_is_free(handle: int, alone: bool, shard: int) -> bool:
    """True for the whole file, False for the shard's own bytes."""
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if alone or error.errno not in _TAKEN:
            raise
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, _SLOT_BYTES, shard * _SLOT_BYTES)
        return False
    return True


class Turn:
    """Lets one thread of one process in at a time. On a network mount each sees what the last has written.

    Args:
        path: a lock file, which stays.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._thread = path, Lock()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._thread:
            self._path.parent.mkdir(exist_ok=True)
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                with suppress(OSError):  # a file system without locks
                    fcntl.lockf(handle, fcntl.LOCK_EX)
                yield
            finally:
                os.close(handle)


def _same_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False
