"""The plain rows of a CSV file, many at a time; of what is not plain, the lines.

A part of the file is plain if each line is one row with as many fields as the header, quotes stand only around fields
and never within, and all that should be a number is one. In a part that is not, the odd lines are found by halving.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from sapiens_pl.boxes.table_parts import TablePart
from sapiens_pl.core.columns import decoded
from sapiens_pl.core.text_files import open_text

_PART_BYTES = 2 << 20
_ODD_LINES = 24
"""Parts of so few lines are not halved any more."""
_BLANK = b" \t\v\f\x1c\x1d\x1e\x1f"


class OddLines(NamedTuple):
    """Text lines to be read one by one; `first` lines of the file come before."""

    lines: Any
    first: int


class PlainRows:
    """Reads a file's rows.

    Args:
        delimiter: between the fields.
        image, box, score, identity, classes: where each stands in a row, as in `CsvBoxes.columns`.
        video, moment: where rows may name a video, and a frame's number or a time instead of an image.
        whole_moments: they are frames' numbers.
    """

    def __init__(
        self,
        delimiter: str,
        image: int | None,
        box: tuple[int, ...],
        score: int | None,
        identity: int | None,
        classes: Mapping[str, int],
        video: int | None = None,
        moment: int | None = None,
        whole_moments: bool = True,
    ) -> None:
        self._video, self._moment, self._whole_moments = video, moment, whole_moments
        self._delimiter, self._image, self._box = delimiter, image, box
        self._score, self._identity, self._classes = score, identity, classes
        separator = re.escape(delimiter.encode())
        self._quoted = re.compile(rb'(?:(?<=[\n%b])|^)"[^"\n\r]*"(?=[\r\n%b]|$)' % (separator, separator))
        self._decimal_point, self._whole_ids = ".", True
        self._num_fields = 0

    def parts(self, path: str) -> Iterator[TablePart | OddLines]:
        """In the order of the file; lines that are not plain as they are, with the header where it stands."""
        with open_text(path, newline="") as text:
            encoding, file = text.encoding, text.buffer
            if not self._all_plain(encoding, file):
                yield OddLines(_lines(path), 0)
                return
            file.seek(0)
            header = file.readline().decode(encoding, "surrogateescape")
            yield OddLines([header], 0)
            self._num_fields = len(next(csv.reader([header], delimiter=self._delimiter)))
            first = 1
            for block in _blocks(file):
                yield from self._split(block, first)
                first += block.count(b"\n")

    def _all_plain(self, encoding: str, file: Any) -> bool:
        """Whether lines are rows: no quote stands within a field, and no odd character ends a line."""
        return encoding in ("utf-8", "utf-8-sig") and all(
            b"\0" not in block
            and block.count(b"\r") == block.count(b"\r\n")
            and (b'"' not in block or 2 * len(self._quoted.findall(block)) == block.count(b'"'))
            for block in _blocks(file)
        )

    def _split(self, block: bytes, first: int) -> Iterator[TablePart | OddLines]:
        part = self._part(block, first)
        if part is not None:
            yield part
            return
        num_lines = block.count(b"\n") + (not block.endswith(b"\n"))
        if num_lines <= _ODD_LINES:
            yield OddLines(io.StringIO(decoded(block), newline=""), first)
            return
        middle = block.find(b"\n", len(block) // 2) + 1
        if not 0 < middle < len(block):
            middle = block.rfind(b"\n", 0, len(block) // 2) + 1
        if middle == 0:
            yield OddLines(io.StringIO(decoded(block), newline=""), first)
            return
        yield from self._split(block[:middle], first)
        yield from self._split(block[middle:], first + block[:middle].count(b"\n"))

    def _part(self, block: bytes, first: int) -> TablePart | None:
        """None where a line is not plain."""
        forms = [(self._decimal_point, self._whole_ids)]
        forms += [(point, whole) for point in ".," for whole in (True, False) if (point, whole) != forms[0]]
        for point, whole in forms if self._delimiter != "," else [form for form in forms if form[0] == "."]:
            rows = self._rows(block, point, whole)
            if rows is not None:
                self._decimal_point, self._whole_ids = point, whole
                return self._as_part(rows, first, whole)
        return None

    def _rows(self, block: bytes, decimal_point: str, whole_ids: bool) -> Any:
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        named = [place for place in (self._image, self._video) if place is not None]
        numbers = [*self._box, *([] if self._moment is None else [self._moment])]
        places = {**dict.fromkeys(named, pa.large_binary()), **dict.fromkeys(numbers, pa.float64())}
        if self._score is not None:
            places[self._score] = pa.float64()
        if self._identity is not None:
            if whole_ids and re.search(rb"0[xX]", block):  # pyarrow takes 0x10 for 16
                return None
            places[self._identity] = pa.int64() if whole_ids else pa.float64()
        places |= dict.fromkeys(self._classes.values(), pa.large_binary())
        try:
            rows = arrow_csv.read_csv(
                pa.BufferReader(block),
                arrow_csv.ReadOptions(
                    use_threads=False,
                    block_size=len(block) + 1,
                    column_names=[str(place) for place in range(self._num_fields)],
                ),
                arrow_csv.ParseOptions(delimiter=self._delimiter),
                arrow_csv.ConvertOptions(
                    column_types={str(place): kind for place, kind in places.items()},
                    include_columns=[str(place) for place in places],
                    null_values=[""],
                    decimal_point=decimal_point,
                    check_utf8=False,
                ),
            )
        except pa.ArrowInvalid:
            return None
        num_lines = block.count(b"\n") + (not block.endswith(b"\n"))
        return rows.combine_chunks() if rows.num_rows == num_lines else None

    def _as_part(self, rows: Any, first: int, whole_ids: bool) -> TablePart | None:
        """None where a value is not plain."""
        columns = {int(name): column.combine_chunks() for name, column in zip(rows.column_names, rows.columns)}
        count = rows.num_rows
        named = self._names_and_moments(columns, count)
        if named is None:
            return None
        images, moments = named
        boxes = np.stack([_numbers(columns[place]) for place in self._box], axis=1)
        scores = _numbers(columns[self._score]) if self._score is not None else np.full(count, np.nan)
        has_score = _given(columns[self._score]) if self._score is not None else np.zeros(count, bool)
        if not np.isfinite(boxes).all() or not np.isfinite(scores[has_score]).all():
            return None
        ids, has_id = np.zeros(count, np.int64), np.zeros(count, bool)
        if self._identity is not None:
            given = columns[self._identity]
            has_id = _given(given)
            numbers = given.fill_null(0).to_numpy()
            if not whole_ids and not ((numbers == np.floor(numbers)) & (np.abs(numbers) < 2**53)).all():
                return None
            ids = numbers.astype(np.int64)
        classes = {name: columns[place].dictionary_encode() for name, place in self._classes.items()}
        numbers = np.arange(first + 1, first + 1 + count)
        return TablePart(images.dictionary_encode(), boxes, scores, ids, has_id, numbers, classes, {}, moments)

    def _names_and_moments(self, columns: Mapping[int, Any], count: int) -> tuple[Any, np.ndarray | None] | None:
        """Each row's name, of a video or else of an image, and its moment; None where a value is not plain."""
        import pyarrow as pa
        import pyarrow.compute as pc

        images = columns[self._image] if self._image is not None else pa.array([b""] * count, pa.large_binary())
        if self._moment is None:
            return (images, None) if _are_bare(images) else None
        videos = columns[self._video] if self._video is not None else pa.array([b""] * count, pa.large_binary())
        of_video = pc.greater(pc.binary_length(videos), 0)
        has_moment = _flags(of_video) if self._image is not None else np.ones(count, bool)
        moments = np.where(has_moment, _numbers(columns[self._moment]), np.nan)
        known = moments[has_moment]
        if not np.isfinite(known).all() or (self._whole_moments and (known % 1 != 0).any()):
            return None
        names = pc.if_else(of_video, videos, images)
        unnamed = self._image is None and self._video is None
        return (names, moments) if unnamed or _are_bare(names) else None


def num_lines(path: str) -> int:
    """An upper limit for the number of rows."""
    with open_text(path, newline="") as text:
        return sum(block.count(b"\n") for block in _blocks(text.buffer)) + 1


def _lines(path: str) -> Iterator[str]:
    with open_text(path, newline="") as text:
        yield from text


def _blocks(file: Any) -> Iterator[bytes]:
    """Blocks of a file that end at the end of a line."""
    while block := file.read(_PART_BYTES):
        yield block + (b"" if block.endswith(b"\n") else file.readline())


def _numbers(column: Any) -> np.ndarray:
    """float64, NaN for an empty field."""
    return column.to_numpy(zero_copy_only=False).astype(np.float64)


def _flags(column: Any) -> np.ndarray:
    flags: np.ndarray = column.to_numpy(zero_copy_only=False).astype(bool)
    return flags


def _given(column: Any) -> np.ndarray:
    return column.is_valid().to_numpy(zero_copy_only=False)


def _are_bare(images: Any) -> bool:
    """Whether no name is empty, or begins or ends with a blank."""
    _, offsets, data = images.buffers()
    if data is None:
        return False
    places = np.frombuffer(offsets, np.int64)[images.offset : images.offset + len(images) + 1]
    letters = np.frombuffer(data, np.uint8)
    if images.null_count or not (np.diff(places) > 0).all():
        return False
    ends = np.concatenate([letters[places[:-1]], letters[places[1:] - 1]])
    if np.isin(ends, np.frombuffer(_BLANK, np.uint8)).any():
        return False
    odd = np.flatnonzero((letters[places[:-1]] >= 128) | (letters[places[1:] - 1] >= 128))
    return all(name == name.strip() for name in (decoded(images[place].as_py()) for place in odd.tolist()))
