"""TIFF files of kinds that Pillow does not write."""

from __future__ import annotations

import struct

import numpy as np


def tiff_bytes(
    pixels: np.ndarray,
    changed: dict[int, int] | None = None,
    endian: str = "<",
    planar: int = 1,
    tile: int = 0,
    big: bool = False,
) -> bytes:
    """An uncompressed TIFF of (h, w) or (h, w, c) pixels; `changed` gives or replaces a tag's values."""
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    tags = {256: width, 257: height, 258: pixels.dtype.itemsize * 8, 259: 1, 262: 2 if channels > 2 else 1}
    tags |= {277: channels, 284: planar, 339: kind, **({322: tile, 323: tile} if tile else {278: height})}
    tags |= changed or {}
    pixels = pixels.astype(pixels.dtype.newbyteorder(endian))
    if tile:
        room = np.zeros((-(-height // tile) * tile, -(-width // tile) * tile, *pixels.shape[2:]), pixels.dtype)
        room[:height, :width] = pixels
        tops, lefts = range(0, room.shape[0], tile), range(0, room.shape[1], tile)
        parts = [room[top : top + tile, left : left + tile].tobytes() for top in tops for left in lefts]
    else:
        parts = [pixels[..., c].tobytes() for c in range(channels)] if planar == 2 else [pixels.tobytes()]
    word, start = ("Q", 16) if big else ("I", 8)
    offsets = [start + sum(map(len, parts[:i])) for i in range(len(parts))]
    tags |= {324: offsets, 325: list(map(len, parts))} if tile else {273: offsets, 279: list(map(len, parts))}
    directory = start + sum(map(len, parts))
    entries, values = [], b""
    behind = directory + struct.calcsize("=Q" if big else "=H") + len(tags) * (20 if big else 12) + (8 if big else 4)
    for tag, given in sorted(tags.items()):
        numbers = given if isinstance(given, list) else [given] * (channels if tag in (258, 339) else 1)
        letter, number = (word, 16 if big else 4) if tag in (273, 279, 324, 325, 256, 257, 322, 323, 278) else ("H", 3)
        content = struct.pack(f"{endian}{len(numbers)}{letter}", *numbers)
        if len(content) > struct.calcsize("=" + word):
            content, values = struct.pack(endian + word, behind + len(values)), values + content
        head = struct.pack(endian + "HH" + word, tag, number, len(numbers))
        entries.append(head + content.ljust(struct.calcsize("=" + word), b"\0"))
    head = (b"II" if endian == "<" else b"MM") + struct.pack(endian + "H", 43 if big else 42)
    head += struct.pack(endian + "HH", 8, 0) if big else b""
    count = struct.pack(endian + ("Q" if big else "H"), len(tags))
    end = bytes(struct.calcsize("=" + word))
    return b"".join([head, struct.pack(endian + word, directory), *parts, count, *entries, end, values])
