"""Whether a video's file holds all that it says it holds."""

from __future__ import annotations

import os
import struct
from typing import Any

_REMEDY = "the frames before are read; fetch the file again, or take it as it is."
_MATROSKA = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"
_UNKNOWN_SIZE = -1
_TS_PACKET, _TS_SYNC = 188, 0x47
"""Bytes of a packet of an MPEG transport stream, and its first."""
_HEAD_BYTES = 256


def how_it_ends(path: str, container: Any, stream: Any, num_packets: int, broken: str) -> str:
    """A sentence without its subject that says what is missing at the end; "" for nothing that can be known.

    Args:
        num_packets: of the stream, as read.
        broken: what the demuxer said if it stopped with an error.
    """
    expected = _expected_packets(container, stream)
    if num_packets < expected:
        return f"ends after {num_packets} of {expected} frames: it was cut; {_REMEDY}"
    have, want = os.stat(path).st_size, _bytes_said(path)
    if want > have:
        return f"ends after {have} of {want} bytes: it was cut; {_REMEDY}"
    if broken:
        return f"cannot be read to its end ({broken}); {_REMEDY}"
    return ""


def why_not_opened(path: str, said: str) -> str:
    """A sentence without its subject.

    Args:
        said: what FFmpeg says.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
            size = os.fstat(file.fileno()).st_size
            if not size:
                return "is an empty file; fetch it again."
            if head[4:8] == b"ftyp" and b"moov" not in _mp4_boxes(file, size)[0]:
                return (
                    "has no index (moov), without which no frame can be found: it was cut, or its recording was not "
                    "ended; fetch it again, or restore it by a program for that (untrunc)."
                )
    except OSError:
        pass
    return f"cannot be read as a video ({said}); check it, or fetch it again."


def _expected_packets(container: Any, stream: Any) -> int:
    """What the index of an MP4 lists, after its edits; 0 where nothing is known before."""
    if "mp4" not in container.format.name.split(","):
        return 0
    return len(stream.index_entries)


def _bytes_said(path: str) -> int:
    """How long the file should be, as it says itself, bytes; 0 for unknown."""
    with open(path, "rb") as file:
        head, size = file.read(_HEAD_BYTES), os.fstat(file.fileno()).st_size
        if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
            return 8 + struct.unpack("<I", head[4:8])[0]
        if head[:4] == _MATROSKA:
            return _matroska_size(head)
        if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            return _mp4_boxes(file, size)[1]
        if len(head) > _TS_PACKET and head[0] == head[_TS_PACKET] == _TS_SYNC:
            return -(-size // _TS_PACKET) * _TS_PACKET
    return 0


def _mp4_boxes(file: Any, size: int) -> tuple[list[bytes], int]:
    """The kinds of the boxes that a file is made of (ISO 14496-12), and where the last of them ends."""
    kinds: list[bytes] = []
    position = 0
    while position + 8 <= size:
        file.seek(position)
        head = file.read(16)
        (length,) = struct.unpack(">I", head[:4])
        if length == 1 and len(head) == 16:
            (length,) = struct.unpack(">Q", head[8:])
        if length < 8:  # to the end of the file; what is not a box is not judged
            return [*kinds, head[4:8]], size
        kinds.append(head[4:8])
        position += length
    return kinds, position


def _matroska_size(head: bytes) -> int:
    """Where the segment ends that follows the header of a Matroska or WebM file."""
    header, first = _vint(head, 4)
    start = first + header
    if header == _UNKNOWN_SIZE or head[start : start + 4] != _SEGMENT:
        return 0
    length, first = _vint(head, start + 4)
    return 0 if length == _UNKNOWN_SIZE else first + length


def _vint(data: bytes, position: int) -> tuple[int, int]:
    """A number of variable length, as EBML (RFC 8794) writes it, and where it ends."""
    if position >= len(data) or not data[position]:
        return _UNKNOWN_SIZE, position
    width = 9 - data[position].bit_length()
    value = int.from_bytes(data[position : position + width], "big") & ((1 << 7 * width) - 1)
    return (_UNKNOWN_SIZE if value == (1 << 7 * width) - 1 else value), position + width
