"""Whether frames are missing inside a video because its file is damaged there.

Legend: F frames that can be shown, N packets of the video.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

_AVI_HEAD = 8
"""Bytes of a chunk before its data."""
_TS_SYNC = 0x47
"""The first byte of a packet of a transport stream."""
_READ_AT_A_TIME = 10_000
"""Packets."""
_GAP = 1.5
"""Frames from one to the next, above which some are missing between them."""
_MOST_GAPS = 5
"""With more, it is how the video was recorded."""


def listed_positions(container: Any, stream: Any) -> np.ndarray:
    """(E,) int64: where the index of an AVI says that packets are; to be asked before any is read; (0,) for others."""
    if container.format.name != "avi":
        return np.zeros(0, np.int64)
    return np.array([entry.pos + _AVI_HEAD for entry in stream.index_entries if entry.size > 0], np.int64)


def has_lost_packets(path: str, container: Any, listed: np.ndarray, positions: np.ndarray) -> bool:
    """Whether an AVI or an MP4 in fragments holds more than was read, or a transport stream is out of step.

    Args:
        listed: (E,) of `listed_positions`.
        positions: (N,) int64, of the packets that were read, in the file.
    """
    if container.format.name == "avi":
        found = np.isin(listed, positions)
        # Where none is found, they are packed in another way (DV).
        return bool(found.any() and not found.all()) or not _chunks_are_whole(path)
    if "mp4" in container.format.name.split(","):
        return _has_lost_fragments(path, container)
    return container.format.name == "mpegts" and not _is_in_step(path)


def where(seconds: np.ndarray) -> str:
    """Such as " near second 12.3", where frames are missing; "" if their times, (F,) float64, do not show it."""
    steps = np.diff(np.sort(seconds))
    gaps = np.flatnonzero(steps > _GAP * np.median(steps)) if len(steps) else steps
    return f" near second {np.sort(seconds)[gaps[0]]:.1f}" if 1 <= len(gaps) <= _MOST_GAPS else ""


def _is_in_step(path: str) -> bool:
    """Whether the packets of a transport stream, of 188 bytes, or 192 or 204 with others between, follow each other.

    FFmpeg finds back into step, and forgets the frames in hand and their numbers.
    """
    with open(path, "rb") as file:
        head = file.read(3 * 204)
        for first, step in ((0, 188), (4, 192), (0, 204)):
            if set(head[first : first + 3 * step : step]) == {_TS_SYNC}:
                file.seek(first)
                while part := file.read(_READ_AT_A_TIME * step):
                    if set(part[::step]) != {_TS_SYNC}:
                        return False
                return True
    return True


def is_kind(kind: bytes) -> bool:
    """Whether four bytes can be what a chunk of an AVI or a box of an MP4 is called."""
    return len(kind) == 4 and all(32 <= letter < 127 or letter == 0xA9 for letter in kind)


def _chunks_are_whole(path: str) -> bool:
    """Whether the chunks of an AVI's uppermost level follow each other; True where their lengths are not known."""
    with open(path, "rb") as file:
        end = 8 + struct.unpack("<I", file.read(8)[4:])[0]
        position = 12
        while position + 8 <= min(end, os.fstat(file.fileno()).st_size):
            file.seek(position)
            kind, length = struct.unpack("<4sI", file.read(8))
            if not is_kind(kind):
                return False
            if not length:
                break
            position += 8 + length + length % 2
    return True


def _has_lost_fragments(path: str, container: Any) -> bool:
    """Whether there is data of fragments of which no stream's index knows anything."""
    data = np.array(list(_data_of_fragments(path)), np.int64).reshape(-1, 2)
    if not len(data):
        return False
    known = np.sort(
        np.concatenate([np.array([e.pos for e in stream.index_entries], np.int64) for stream in container.streams])
    )
    return bool((np.searchsorted(known, data[:, 0]) == np.searchsorted(known, data[:, 1])).any())


def _data_of_fragments(path: str) -> Iterator[tuple[int, int]]:
    """Where each fragment's data (mdat) begins and ends, or where it should, what is no box included."""
    position, in_fragment = 0, False
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        while position + 8 <= size:
            file.seek(position)
            head = file.read(16)
            kind, head_bytes = head[4:8], 8
            (length,) = struct.unpack(">I", head[:4])
            if length == 1 and len(head) == 16:
                (length,), head_bytes = struct.unpack(">Q", head[8:]), 16
            in_fragment |= kind == b"moof"
            if length < 8 or not is_kind(kind):  # to the end, or no box
                if in_fragment:
                    yield position, size
                return
            if in_fragment and kind == b"mdat" and length > head_bytes:
                yield position, min(position + length, size)
            position += length
