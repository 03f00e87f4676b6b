"""The size in the coded data of an AVIF: decoders allocate memory for that, whatever the boxes say.

Sources: ISO/IEC 14496-12 (boxes `iloc`, `stco`), AV1 specification 5.3 and 5.5 (OBU and sequence headers).
"""

from __future__ import annotations

_SEQUENCE_HEADER, _TEMPORAL_DELIMITER = 1, 2
_MOST_ITEMS = 1024


class _Bits:
    """Reads numbers of bits from the left; zeros behind the end."""

    def __init__(self, data: bytes) -> None:
        self._number, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        self._left -= count
        number = self._number >> self._left if self._left >= 0 else 0
        return number & ((1 << min(count, 64)) - 1)


def coded_sizes(data: bytes) -> list[tuple[int, int]]:
    """Width and height, px, of each coded picture or sequence of pictures that the boxes point at."""
    sizes = [_sequence_size(data, offset) for offset in {*_item_offsets(data), *_chunk_offsets(data)}]
    return [size for size in sizes if size is not None]


def _item_offsets(data: bytes) -> list[int]:
    """Where the items of the first `iloc` box begin."""
    start = data.find(b"iloc")
    if start < 0:
        return []
    bits = _Bits(data[start + 4 : start + 4 + 32 * _MOST_ITEMS])
    version, _ = bits.take(8), bits.take(24)
    sizes = [8 * bits.take(4) for _ in range(4)]  # of an offset, a length, a base and an index
    item_id_bits = 32 if version == 2 else 16
    offsets = []
    for _ in range(min(bits.take(item_id_bits), _MOST_ITEMS)):
        bits.take(item_id_bits + (16 if version else 0) + 16)
        base, extents = bits.take(sizes[2]), bits.take(16)
        extent_bits = (sizes[3] if version else 0) + sizes[0] + sizes[1]
        if extents:
            bits.take(sizes[3] if version else 0)
            offsets.append(base + bits.take(sizes[0]))
            bits.take(sizes[1] + (extents - 1) * extent_bits)
    return offsets


def _chunk_offsets(data: bytes) -> list[int]:
    """Where the first samples of an animation's tracks begin."""
    offsets: list[int] = []
    start = data.find(b"stco")
    while start >= 0 and len(offsets) < _MOST_ITEMS:
        offsets.append(int.from_bytes(data[start + 12 : start + 16], "big"))
        start = data.find(b"stco", start + 4)
    return offsets


def _sequence_size(data: bytes, offset: int) -> tuple[int, int] | None:
    """What the first sequence header at `offset` says; None where something else stands there."""
    while offset < len(data):
        kind, has_extension, has_size = data[offset] >> 3, data[offset] & 4, data[offset] & 2
        offset += 2 if has_extension else 1
        size = 0
        for place in range(8 if has_size else 0):  # LEB128
            byte = data[offset] if offset < len(data) else 0
            size, offset = size | (byte & 127) << 7 * place, offset + 1
            if byte < 128:
                break
        if kind == _SEQUENCE_HEADER:
            return _size(_Bits(data[offset : offset + 128]))
        if kind != _TEMPORAL_DELIMITER:
            return None
        offset += size
    return None


def _size(bits: _Bits) -> tuple[int, int] | None:
    bits.take(4)  # profile, still picture
    if bits.take(1):  # the short form
        bits.take(5)
    elif bits.take(1):  # times, which no still picture has
        return None
    else:
        has_delays = bits.take(1)
        for _ in range(bits.take(5) + 1):
            bits.take(12)
            if bits.take(5) > 7:
                bits.take(1)
            if has_delays and bits.take(1):
                bits.take(4)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(width_bits) + 1, bits.take(height_bits) + 1
