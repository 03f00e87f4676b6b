"""The headers of a tar, one by one, without the contents.

Sources: POSIX.1-2017, pax ("ustar Interchange Format", "pax Header Block"); the GNU tar manual, "Basic Tar Format".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from sapiens_pl.core.columns import decoded
from sapiens_pl.pictures.stored import RemoteFile, StoredFile

FILE, LINK, SPARSE, FOLDER, SPECIAL = range(5)
"""What a member may be."""
_BLOCK = 512
_WINDOW = 1 << 18
"""Bytes that are read at a time: small members come with their headers."""
_LONGEST_NOTE = 1 << 23
"""Bytes; longer names and pax records are damage."""
_REST_LOOKED_AT = 1 << 20
_KINDS = {b"0": FILE, b"\0": FILE, b"7": FILE, b"1": LINK, b"2": LINK, b"5": FOLDER, b"S": SPARSE}
_KINDS |= {b"3": SPECIAL, b"4": SPECIAL, b"6": SPECIAL}
_WITHOUT_DATA = (LINK, FOLDER, SPECIAL)
_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ\0": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "zstd -d"),
    b"\x04\x22\x4d\x18": ("lz4", "lz4 -d"),
}


class Member(NamedTuple):
    """`start` and `size` are the bytes of its content; `is_whole`: the tar does not end before them."""

    name: str
    start: int
    size: int
    kind: int
    is_whole: bool = True


class TarDamage(Exception):
    """What is wrong with a tar from some place on, or with all of it; a sentence without its subject."""


def members(file: StoredFile | RemoteFile) -> Iterator[Member]:
    """The members in their order.

    Raises:
        TarDamage: after what can still be read.
        OSError: as reading does.
    """
    reader = _Window(file)
    _refuse_others(reader.at(0, _BLOCK))
    position, long_name, records = 0, "", dict[str, str]()
    while True:
        header = reader.at(position, _BLOCK)
        if len(header) < _BLOCK:
            raise TarDamage(f"ends at byte {position + len(header)} without the mark of a tar's end, {_AS_IF_CUT}")
        if header == bytes(_BLOCK):
            _look_at_rest(reader, position)
            return
        size = _checked_size(header, position)
        kind, data = header[156:157], position + _BLOCK
        if kind in b"LKxXg":
            if size > _LONGEST_NOTE:
                raise _damaged(position)
            note = reader.at(data, size)
            long_name = _text(note) if kind == b"L" else long_name
            records |= _pax_records(note) if kind in b"xX" else {}
            position = data + _blocks(size)
            continue
        size = int(records["size"]) if records.get("size", "").isdecimal() else size
        member = _member(header, kind, data, size, long_name, records)
        if kind == b"S":
            data += _extensions(reader, header, data)
        has_data = member.kind not in _WITHOUT_DATA
        if has_data and data + size > file.stamp.num_bytes:
            yield member._replace(is_whole=False)
            raise TarDamage(f"ends at byte {file.stamp.num_bytes}, in the middle of {member.name}, {_AS_IF_CUT}")
        yield member
        position = data + (_blocks(size) if has_data else 0)
        long_name, records = "", {}


_AS_IF_CUT = "as if it had been cut off; what followed is missing. Fetch it again."


class _Window:
    """A file's bytes, read in larger pieces."""

    def __init__(self, file: StoredFile | RemoteFile) -> None:
        self._file, self._start, self._data = file, 0, b""

    def at(self, start: int, count: int) -> bytes:
        place = start - self._start
        if place < 0 or place + count > len(self._data):
            self._start, place = start, 0
            self._data = self._file.read_at(start, max(count, _WINDOW))
        return self._data[place : place + count]


def _refuse_others(block: bytes) -> None:
    """Raises TarDamage for what is not a tar from its first byte on."""
    if not block:
        raise TarDamage("is an empty file; fetch it again.")
    for signature, (name, command) in _COMPRESSED.items():
        if block.startswith(signature):
            raise TarDamage(
                f"is compressed with {name}, so that single members cannot be found in it; unpack it ({command})."
            )
    if block.startswith(b"PK\x03\x04"):
        raise TarDamage("is a zip archive, not a tar; unpack it, or pack it as a tar.")
    if len(block) < _BLOCK or (block != bytes(_BLOCK) and _sum(block) is None):
        raise TarDamage("is not a tar; fetch it again or remove it from the list.")


def _checked_size(header: bytes, position: int) -> int:
    size = _number(header[124:136])
    if _sum(header) is None or size is None or size < 0:
        raise _damaged(position)
    return size


def _damaged(position: int) -> TarDamage:
    return TarDamage(f"is damaged at byte {position}; what follows is missing. Fetch it again.")


def _sum(header: bytes) -> int | None:
    """The header's checksum, if it is right; old programs summed signed bytes."""
    field = header[148:156]
    told = _number(field)
    if told == sum(header) - sum(field) + 256:
        return told
    return told if told == sum(struct.unpack("504b", header[:148] + header[156:])) + 256 else None


def _number(field: bytes) -> int | None:
    if field[0] in (0x80, 0xFF):  # GNU's base 256
        value = int.from_bytes(field[1:], "big")
        return value if field[0] == 0x80 else value - (1 << 8 * (len(field) - 1))
    text = field.split(b"\0", 1)[0].strip()
    try:
        return int(text or b"0", 8)
    except ValueError:
        return None


def _blocks(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _text(field: bytes) -> str:
    return decoded(field.split(b"\0", 1)[0])


def _member(header: bytes, kind: bytes, data: int, size: int, long_name: str, records: dict[str, str]) -> Member:
    name = _text(header[:100])
    if header[257:263] == b"ustar\0" and header[345]:
        name = f"{_text(header[345:500])}/{name}"
    name = records.get("GNU.sparse.name") or records.get("path") or long_name or name
    meant = _KINDS.get(kind, FILE)
    if meant == FILE and any(key.startswith("GNU.sparse.") for key in records):
        meant = SPARSE
    if kind == b"\0" and name.endswith("/"):  # before POSIX this marked a folder
        meant = FOLDER
    return Member(name, data, size, meant)


def _pax_records(note: bytes) -> dict[str, str]:
    """Lines "LENGTH KEY=VALUE"; from one that is damaged on, none."""
    records, position = {}, 0
    while position < len(note):
        digits = note[position : position + 20].split(b" ", 1)[0]
        length = int(digits) if digits.isdigit() else 0
        key, sign, value = note[position + len(digits) + 1 : position + length - 1].partition(b"=")
        if not length or not sign:
            break
        records[decoded(key)] = decoded(value)
        position += length
    return records


def _extensions(reader: _Window, header: bytes, start: int) -> int:
    """Bytes of the blocks that go on with an old sparse member's map."""
    more, count = header[482], 0
    while more:
        block = reader.at(start + count, _BLOCK)
        more = block[504] if len(block) == _BLOCK else 0
        count += _BLOCK
    return count


def _look_at_rest(reader: _Window, position: int) -> None:
    """Raises TarDamage where something follows the end: another tar, say, which no program would list."""
    if reader.at(position, _REST_LOOKED_AT).strip(b"\0"):
        raise TarDamage(f"ends at byte {position}, and more follows, which is not read; were two tars joined (tar -A)?")
