"""Which run a folder belongs to, for the run's other processes, which may outlive the first one.

The process that starts a run holds its folder's lock (`run_lock`), which ends with that process. Its other ranks go on
then, and a new run must neither be disturbed by them nor lose what they are writing. So the first process of each run
writes the run's id into a file, which the other ranks read, and waits until those of an earlier run have ended: each
of them holds a lock on that file, which ends with its process.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from sapiens_pl.core.errors import ConfigError, write_error

_ID_BYTES = 64
_LEAVING_SECONDS = 60.0
_BETWEEN_TRIES_SECONDS = 0.1
_TAKEN = (errno.EACCES, errno.EAGAIN)


class Members:
    """The file of one run, or of one shard of it.

    Args:
        path: stays, and is never replaced: the locks are on it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None
        self._id = b""

    def take_over(self, run_id: str, alone: bool = False) -> None:
        """Begins a new run; returns when the ranks of an earlier one have ended.

        Args:
            alone: no other shard is running, so ranks of other shards must end too.

        Raises:
            ConfigError: they do not end.
            WriteError: no space, no permission.
        """
        for path in self._path.parent.glob("members-*") if alone else ():
            Members(path).take_over(run_id)
        handle = self._open()
        try:
            os.pwrite(handle, _padded(run_id), 0)
            end = time.monotonic() + _LEAVING_SECONDS
            while not _is_free(handle):
                if time.monotonic() > end:
                    raise ConfigError(
                        f"Processes of an earlier run are still running in {self._path.parent.parent}; end them (their "
                        "first process is gone) and run the same command again."
                    )
                time.sleep(_BETWEEN_TRIES_SECONDS)
        except OSError as error:
            raise write_error(self._path, error) from None
        finally:
            os.close(handle)

    def join(self, run_id: str | None) -> None:
        """Makes this process a member of a run: of the present one, if it knows no id."""
        self._handle = self._open()  # never closed: that would give up the lock
        with suppress(OSError):  # a file system without locks
            fcntl.lockf(self._handle, fcntl.LOCK_SH)
        self._id = os.pread(self._handle, _ID_BYTES, 0) if run_id is None else _padded(run_id)

    def forget(self) -> None:
        """Removes the file, and its folder if nothing else is in it; for a run that is alone and has been refused."""
        with suppress(OSError):
            self._path.unlink()
            self._path.parent.rmdir()

    def is_over(self) -> bool:
        """True for a member when another run has begun."""
        return self._handle is not None and os.pread(self._handle, _ID_BYTES, 0) != self._id

    def _open(self) -> int:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise write_error(self._path, error) from None


def any_at_work(folder: Path) -> bool:
    """True while any process is a member of a run whose file lies there; for processes that are none."""
    for path in folder.glob("members-*"):
        handle = os.open(path, os.O_RDWR)
        try:
            if not _is_free(handle):
                return True
        finally:
            os.close(handle)
    return False


def _padded(run_id: str) -> bytes:
    return run_id.encode().ljust(_ID_BYTES)


def _is_free(handle: int) -> bool:
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _TAKEN  # else a file system without locks
    return True
