"""The tags of a TIFF's first picture; an EXIF block is built in the same way."""

from __future__ import annotations

import struct
from typing import NamedTuple

ORIENTATION = 274
_LETTERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
"""Unsigned integers, by the number of their type (TIFF 6.0, and BigTIFF's long8)."""
_MOST_TAGS = 4096


class Tag(NamedTuple):
    """A tag's first value, and where it stands: offset in bytes and format of `struct`."""

    value: int
    offset: int
    format: str


def first_tags(data: bytes) -> dict[int, Tag]:
    """The integer tags of the first directory, by number.

    Raises:
        ValueError, struct.error: `data` is not a TIFF, or its directory lies outside.
    """
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    if order is None:
        raise ValueError("no byte order")
    is_big = struct.unpack_from(order + "H", data, 2)[0] == 43
    word = order + ("Q" if is_big else "I")
    (start,) = struct.unpack_from(word, data, 8 if is_big else 4)
    count_format = order + ("Q" if is_big else "H")
    if start > len(data):
        raise ValueError("no directory")
    (count,) = struct.unpack_from(count_format, data, start)
    start += struct.calcsize(count_format)
    head = struct.Struct(order + ("HHQ" if is_big else "HHI"))
    step = head.size + struct.calcsize(word)
    tags: dict[int, Tag] = {}
    for entry in range(start, start + min(count, _MOST_TAGS) * step, step):
        try:
            number, kind, length = head.unpack_from(data, entry)
            offset = entry + head.size
            if kind not in _LETTERS or length == 0:
                continue
            form = order + _LETTERS[kind]
            if length * struct.calcsize(form) > struct.calcsize(word):
                (offset,) = struct.unpack_from(word, data, offset)
            if offset > len(data):
                continue
            tags.setdefault(number, Tag(struct.unpack_from(form, data, offset)[0], offset, form))
        except struct.error:  # a directory that is cut off, or a value outside
            continue
    return tags


def exif_orientation(block: bytes) -> int:
    """The orientation that an EXIF block gives, 1 to 8; 1 where it gives none, or is invalid."""
    try:
        tag = first_tags(bytes(block).removeprefix(b"Exif\0\0")).get(ORIENTATION)
    except (ValueError, struct.error):  # no reason to lose the picture
        return 1
    return valid_orientation(tag.value if tag else 1)


def valid_orientation(value: int) -> int:
    """`value` where it is one of Exif's eight, else 1."""
    return value if value in range(1, 9) else 1
