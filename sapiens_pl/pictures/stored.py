"""All access to files that are read in pieces: tars and tables, on a disk or behind a URL.

What lies behind a URL is read from its copy in the scratch folder while there is one, else by a request a piece.
"""

from __future__ import annotations

import io
import os
import stat
from collections import OrderedDict
from contextlib import suppress
from typing import Any, NamedTuple

from sapiens_pl.core.errors import MissingRemoteError, UnreadableImageError
from sapiens_pl.core.remote import Entry, is_url, read
from sapiens_pl.pictures.looks import entry_of
from sapiens_pl.pictures.scratch import copy_of, version_of

_MOST_OPEN = 32
"""How many files a process keeps open; an ordinary process may open 1024."""


class Stamp(NamedTuple):
    """By which a file is known to be the same as before."""

    num_bytes: int
    mtime_ns: int


class StoredFile:
    """A regular file; several threads and forked processes may read from it.

    Raises:
        OSError: it cannot be opened.
        UnreadableImageError: it is not a regular file; a sentence without its subject.
    """

    def __init__(self, path: str) -> None:
        self._handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO must not hang
        status = os.fstat(self._handle)
        self.stamp = Stamp(status.st_size, status.st_mtime_ns)
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise UnreadableImageError("is not a regular file; only files are read.")

    def read_at(self, start: int, count: int) -> bytes:
        """`count` bytes from `start` on; fewer if the file ends before."""
        data = os.pread(self._handle, count, start)
        while len(data) < count and (more := os.pread(self._handle, count - len(data), start + len(data))):
            data += more
        return data

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __del__(self) -> None:
        if getattr(self, "_handle", -1) >= 0:  # if it is not closed, the space of a removed file stays taken
            self.close()


class RemoteFile:
    """The same for what lies behind a URL; each read is a request."""

    def __init__(self, entry: Entry) -> None:
        self._url, self.stamp = entry.url, _stamp(entry)

    def read_at(self, start: int, count: int) -> bytes:
        count = min(count, self.stamp.num_bytes - start)
        return read(self._url, start, start + count) if count > 0 else b""

    def close(self) -> None:
        pass


def stamp_at(path: str) -> Stamp:
    """By which the file at a path or a URL is known.

    Raises:
        OSError, SapiensError: there is none, or it cannot be looked at.
    """
    if is_url(path):
        return _stamp(entry_of(path))
    status = os.stat(path)
    return Stamp(status.st_size, status.st_mtime_ns)


def is_file(path: str) -> bool:
    """Whether there is a file at a path or a URL; SapiensError where a store does not say."""
    if not is_url(path):
        return os.path.isfile(path)
    try:
        entry_of(path)
    except MissingRemoteError:
        return False
    return True


def is_copied(url: str, stamp: Stamp) -> bool:
    """Whether a read needs no request."""
    return copy_of(url, stamp.mtime_ns) is not None


def open_stored(path: str, stamp: Stamp | None = None) -> StoredFile | RemoteFile:
    """A file, or the copy with this stamp of what lies behind a URL; raises OSError or SapiensError."""
    if not is_url(path):
        return StoredFile(path)
    stamp = stamp or stamp_at(path)
    copied = copy_of(path, stamp.mtime_ns)
    if copied is not None:
        with suppress(FileNotFoundError):  # it has just been removed
            file = StoredFile(str(copied))
            file.stamp = stamp
            return file
    return RemoteFile(entry_of(path))


def _stamp(entry: Entry) -> Stamp:
    return Stamp(entry.num_bytes or 0, version_of(entry))


class OpenFiles:
    """The files that were read last, in this process; it can be sent to another, which opens its own."""

    def __init__(self) -> None:
        self._files: OrderedDict[str, StoredFile | RemoteFile] = OrderedDict()

    def get(self, path: str, stamp: Stamp) -> StoredFile | RemoteFile:
        """Raises UnreadableImageError if the file has changed; a sentence without its subject."""
        file = self._files.pop(path, None) or open_stored(path, stamp)
        if file.stamp != stamp:
            file.close()
            raise UnreadableImageError("cannot be found any more, as the file has changed meanwhile; run again.")
        self._files[path] = file
        if len(self._files) > _MOST_OPEN:
            self._files.popitem(last=False)[1].close()
        return file

    def __reduce__(self) -> Any:
        return OpenFiles, ()


def arrow_file(path: str) -> Any:
    """The same for pyarrow, which reads pieces by itself."""
    import pyarrow as pa

    if not is_url(path):
        return pa.OSFile(path)
    entry = entry_of(path)
    copied = copy_of(path, version_of(entry))
    return pa.PythonFile(_Reader(RemoteFile(entry)), mode="r") if copied is None else pa.OSFile(str(copied))


class _Reader(io.RawIOBase):
    """A file object over pieces."""

    def __init__(self, file: RemoteFile) -> None:
        super().__init__()
        self._file, self._position = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._file.stamp.num_bytes}[whence]
        self._position = begin + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        count = self._file.stamp.num_bytes - self._position if size is None or size < 0 else size
        data = self._file.read_at(self._position, count)
        self._position += len(data)
        return data
