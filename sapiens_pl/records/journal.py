"""The journal of one process: what it has recorded and what is in no part yet. It is only ever appended to.

A header, then frames. Each is a magic number, the lengths of its two halves, a CRC-32 of lengths and halves, and the
halves themselves: for the header a JSON object and nothing, for a frame an Arrow batch of pictures and one of their
people. A process that is killed leaves complete frames and at most one incomplete one after them. What has been damaged
otherwise is skipped: the frames behind it are found by their magic number.
"""

from __future__ import annotations

import errno
import json
import os
import struct
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from sapiens_pl.core.errors import write_error
from sapiens_pl.records.schema import PICTURES

_HEAD = struct.Struct("<4sIII")
_HEADER_MAGIC, _FRAME_MAGIC = b"SPJ1", b"SPF1"
_LENGTHS = struct.Struct("<II")
_SECONDS_BETWEEN_SYNCS = 3.0
"""Seconds: a power cut costs at most what was recorded in this time."""
_NO_SYNC = frozenset([errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])


class JournalWriter:
    """Appends frames to a new file; for one thread at a time.

    Args:
        path: must not be there yet.
        header: what readers need to know about the journal.

    Raises:
        WriteError: no space, no permission, a vanished disk; also from the methods.
    """

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self.path = path
        self._size, self._synced = 0, time.monotonic()
        try:
            self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        except OSError as error:
            raise write_error(path, error) from None
        self._write(_frame(_HEADER_MAGIC, json.dumps(header).encode(), b""))

    def append(self, pictures: pa.RecordBatch, people: pa.RecordBatch) -> None:
        """One frame, whole or not at all; every few seconds, what was appended is brought to the disk."""
        self._write(_frame(_FRAME_MAGIC, pictures.serialize(), people.serialize()))
        if time.monotonic() - self._synced > _SECONDS_BETWEEN_SYNCS:
            self.sync()

    def sync(self) -> None:
        try:
            getattr(os, "fdatasync", os.fsync)(self._handle)
        except OSError as error:
            if error.errno not in _NO_SYNC:
                raise write_error(self.path, error) from None
        self._synced = time.monotonic()

    def close(self) -> None:
        os.close(self._handle)

    def _write(self, frame: bytes) -> None:
        left = memoryview(frame)
        try:
            while left:
                left = left[os.write(self._handle, left) :]
        except OSError as error:
            with suppress(OSError):  # a full disk may have taken a part
                os.ftruncate(self._handle, self._size)
            raise write_error(self.path, error) from None
        self._size += len(frame)


def _frame(magic: bytes, first: Any, second: Any) -> bytes:
    first, second = memoryview(first), memoryview(second)
    crc = zlib.crc32(second, zlib.crc32(first, zlib.crc32(_LENGTHS.pack(len(first), len(second)))))
    return b"".join((_HEAD.pack(magic, len(first), len(second), crc), first, second))


class Frame(NamedTuple):
    """Where the two batches of a frame lie in the file, in bytes."""

    start: int
    pictures_size: int
    people_size: int


class Journal:
    """What a journal holds at this moment. The file stays open: it may be removed once its rows are in a part.

    Attributes:
        header: an empty object if it is not whole.
        pictures: all rows of `PICTURES`.
        people_counts: rows of people of each frame.
        is_damaged: something else than the end of the last frame is missing.

    Raises:
        OSError: it cannot be read; FileNotFoundError: its rows are in a part now.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115
        content = self._file.readall() or b""
        self.header, self._frames, self.is_damaged = _scan(content)
        batches = []
        for start, size, _ in self._frames:
            batches.append(pa.ipc.read_record_batch(pa.py_buffer(content[start : start + size]), PICTURES))
        self.people_counts = [sum(batch.column("num_people").to_pylist()) for batch in batches]
        self.pictures = pa.Table.from_batches(batches, PICTURES)

    def people(self, frame: int, schema: pa.Schema) -> pa.RecordBatch:
        """The people of one frame.

        Args:
            schema: `people_schema` of the store.
        """
        start, pictures_size, people_size = self._frames[frame]
        content = os.pread(self._file.fileno(), people_size, start + pictures_size)
        return pa.ipc.read_record_batch(pa.py_buffer(content), schema)

    def close(self) -> None:
        self._file.close()


def _scan(content: bytes) -> tuple[dict[str, Any], list[Frame], bool]:
    """The header, the whole frames, and whether there is damage other than a torn end."""
    header, frames, damaged, position = {}, [], False, 0
    first = _whole(content, 0, _HEADER_MAGIC)
    if first is not None:
        header, position = json.loads(content[first.start : sum(first)]), sum(first)
    elif content and _is_torn(content, 0, _HEADER_MAGIC):
        return {}, [], False
    while position < len(content):
        frame = _whole(content, position, _FRAME_MAGIC)
        if frame is None:
            following = _next_whole(content, position + 1)
            damaged = damaged or following is not None or not _is_torn(content, position, _FRAME_MAGIC)
            if following is None:
                break
            position = following
        else:
            frames.append(frame)
            position = sum(frame)
    return header, frames, damaged


def _next_whole(content: bytes, position: int) -> int | None:
    """Where the next whole frame begins, from a position on."""
    position = content.find(_FRAME_MAGIC, position)
    while position >= 0:
        if _whole(content, position, _FRAME_MAGIC) is not None:
            return position
        position = content.find(_FRAME_MAGIC, position + 1)
    return None


def _whole(content: bytes, position: int, magic: bytes) -> Frame | None:
    start = position + _HEAD.size
    if start > len(content):
        return None
    found, first, second, crc = _HEAD.unpack_from(content, position)
    if found != magic or start + first + second > len(content):
        return None
    with memoryview(content) as view:
        right = zlib.crc32(view[start : start + first + second], zlib.crc32(_LENGTHS.pack(first, second)))
    return Frame(start, first, second) if right == crc else None


def _is_torn(content: bytes, position: int, magic: bytes) -> bool:
    """True for the beginning of a frame whose end has not been written."""
    start = position + _HEAD.size
    if start > len(content):
        return magic.startswith(content[position : position + len(magic)])
    found, first, second, _ = _HEAD.unpack_from(content, position)
    return found == magic and start + first + second > len(content)
