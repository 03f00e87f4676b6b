"""A table that is read part by part: what each part says, and all of them together.

Legend: n rows of a part, N of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sapiens_pl.boxes.classes import ClassColumn, class_id
from sapiens_pl.boxes.table import BoxRow, BoxTable, UnreadIds, table_of
from sapiens_pl.core.columns import Names, encoded, names_of_arrow


class TablePart(NamedTuple):
    """Rows one after the other.

    `images` are pyarrow's dictionary of binaries, (n,) the names, or longer: behind the rows' come names that have no
    row. `classes` are such dictionaries of the columns that may be the class. `moments` (n,) float64 are frames'
    numbers or times, NaN for none, if the table has such a column. The others are as in `BoxTable`.
    """

    images: Any
    boxes: np.ndarray
    scores: np.ndarray
    ids: np.ndarray
    has_id: np.ndarray
    numbers: np.ndarray
    classes: dict[str, Any]
    odd: dict[int, BoxRow]
    moments: np.ndarray | None = None
    unread_ids: UnreadIds = UnreadIds()


def part_of_rows(
    rows: Sequence[BoxRow],
    nobody: Sequence[str],
    classes: Mapping[str, Sequence[str]],
    moments: Sequence[float] | None = None,
) -> TablePart:
    """From single rows.

    Args:
        nobody: names of images that have no row.
        classes: by column, a value a row.
        moments: a value a row.
    """
    table = table_of(rows)
    images = _dictionary([*(row.image for row in rows), *nobody])
    by_name = {name: _dictionary(values) for name, values in classes.items()}
    columns = table.boxes, table.scores, table.ids, table.has_id, table.numbers
    of_frames = None if moments is None else np.array(moments, np.float64)
    return TablePart(images, *columns, by_name, table.odd, of_frames, table.unread_ids)


class TableBuilder:
    """One table of many parts; for its arrays there is room from the start, as there are millions of rows.

    Args:
        num_rows: how many are expected.
    """

    def __init__(self, num_rows: int) -> None:
        self._boxes, self._scores = np.empty((num_rows, 4)), np.empty(num_rows)
        self._ids, self._has_id = np.empty(num_rows, np.int64), np.empty(num_rows, bool)
        self._numbers = np.empty(num_rows, np.int64)
        self._images: list[Any] = []
        self._classes: list[dict[str, Any]] = []
        self._odd: dict[int, BoxRow] = {}
        self._counts: list[int] = []
        self._moments: list[np.ndarray] = []
        self._unread_ids = UnreadIds()

    def add(self, part: TablePart) -> None:
        """The next rows."""
        start = sum(self._counts)
        self._odd |= {start + place: row for place, row in part.odd.items()}
        self._images.append(part.images)
        self._classes.append(part.classes)
        self._counts.append(len(part.numbers))
        self._unread_ids = self._unread_ids.plus(part.unread_ids)
        if part.moments is not None:
            self._moments.append(part.moments)
        for name in ("boxes", "scores", "ids", "has_id", "numbers"):
            self._put(f"_{name}", start, getattr(part, name))

    @property
    def moments(self) -> np.ndarray | None:
        """(N,) float64, None if the table has no such column."""
        return np.concatenate(self._moments) if self._moments else None

    def build(self) -> tuple[BoxTable, dict[str, ClassColumn]]:
        """The table, and its columns that may be the class."""
        count = sum(self._counts)
        ends = np.cumsum([0, *map(len, self._images)]).tolist()
        whose, names = _unified(self._images)
        if len(whose) > count:
            rows = [np.arange(end, end + num_rows) for end, num_rows in zip(ends, self._counts)]
            whose = whose[np.concatenate(rows)]
        columns = (self._boxes, self._scores, self._ids, self._has_id, self._numbers)
        boxes, scores, ids, has_id, numbers = (column[:count] for column in columns)
        table = BoxTable(names, whose, boxes, scores, ids, has_id, numbers, self._odd, self._unread_ids)
        by_name = {name: [classes[name] for classes in self._classes] for name in self._classes[0]}
        return table, {name: _class_column(parts) for name, parts in by_name.items()}

    def _put(self, name: str, start: int, values: np.ndarray) -> None:
        column = getattr(self, name)
        stop = start + len(values)
        if stop > len(column):
            column = np.concatenate([column, np.empty((stop, *column.shape[1:]), column.dtype)])
            setattr(self, name, column)
        column[start:stop] = values


def _class_column(dictionaries: list[Any]) -> ClassColumn:
    codes, values = _unified(dictionaries)
    return ClassColumn(codes, [class_id(value.strip()) for value in values])


def _dictionary(texts: Sequence[str]) -> Any:
    import pyarrow as pa

    return pa.array([encoded(text) for text in texts], pa.large_binary()).dictionary_encode()


def _unified(dictionaries: list[Any]) -> tuple[np.ndarray, Names]:
    """(N,) int64 codes into one dictionary, in the order of first appearance, and that dictionary; the others go."""
    import pyarrow as pa

    kind = pa.dictionary(pa.int32(), pa.large_binary())
    chunks = pa.chunked_array(dictionaries, kind).unify_dictionaries().chunks
    dictionaries.clear()
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in chunks], dtype=np.int64)
    names = names_of_arrow(chunks[-1].dictionary)
    del chunks
    pa.default_memory_pool().release_unused()
    return codes, names
