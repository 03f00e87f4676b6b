"""The one door to files of which pieces are read: tars and tables."""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from typing import Any, NamedTuple

from sapiens_pl.core.errors import UnreadableImageError

_MOST_OPEN = 32
"""Files that a process keeps open; an ordinary process may open 1024."""


class Stamp(NamedTuple):
    """By which a file is known to be the same as before."""

    num_bytes: int
    mtime_ns: int


class StoredFile:
    """A regular file; several threads and forked processes may read from it.

    Raises:
        OSError: it cannot be opened.
        UnreadableImageError: it is no regular file; a sentence without its subject.
    """

    def __init__(self, path: str) -> None:
        self._handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO must not hang
        status = os.fstat(self._handle)
        self.stamp = Stamp(status.st_size, status.st_mtime_ns)
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise UnreadableImageError("is not a regular file; only files are read.")

    def read_at(self, start: int, count: int) -> bytes:
        """So many bytes from there on; fewer where the file ends before."""
        data = os.pread(self._handle, count, start)
        while len(data) < count and (more := os.pread(self._handle, count - len(data), start + len(data))):
            data += more
        return data

    def close(self) -> None:
        os.close(self._handle)


class OpenFiles:
    """The files that were read last, in this process; it can be sent to another, which opens its own."""

    def __init__(self) -> None:
        self._files: OrderedDict[str, StoredFile] = OrderedDict()

    def get(self, path: str, stamp: Stamp) -> StoredFile:
        """Raises UnreadableImageError where the file is another than before; a sentence without its subject."""
        file = self._files.pop(path, None) or StoredFile(path)
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

    return pa.OSFile(path)
