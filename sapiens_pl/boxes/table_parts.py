"""A table that is read part by part: what each part says, and all of them together.

Legend: n rows of a part, N of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sapiens_pl.boxes.classes import ClassColumn, class_id
from sapiens_pl.boxes.table import BoxRow, BoxTable, table_of
from sapiens_pl.core.columns import decoded, encoded, names_of_arrow


class TablePart(NamedTuple):
    """Rows one behind the other.

    `images` are pyarrow's dictionary of binaries, (n,) the names, or longer: behind the rows' come names that have no
    row. `classes` are such dictionaries of the columns that may be the class. The others are as in `BoxTable`.
    """

    images: Any
    boxes: np.ndarray
    scores: np.ndarray
    ids: np.ndarray
    has_id: np.ndarray
    numbers: np.ndarray
    classes: dict[str, Any]
    odd: dict[int, BoxRow]


def part_of_rows(rows: Sequence[BoxRow], nobody: Sequence[str], classes: Mapping[str, Sequence[str]]) -> TablePart:
    """From single rows.

    Args:
        nobody: names of images that have no row.
        classes: by column, a value a row.
    """
    table = table_of(rows)
    images = _dictionary([*(row.image for row in rows), *nobody])
    by_name = {name: _dictionary(values) for name, values in classes.items()}
    columns = table.boxes, table.scores, table.ids, table.has_id, table.numbers
    return TablePart(images, *columns, by_name, table.odd)


def joined(parts: Sequence[TablePart]) -> tuple[BoxTable, dict[str, ClassColumn]]:
    """One table of all parts, and its columns that may be the class."""
    counts = [len(part.numbers) for part in parts]
    codes, names = _unified([part.images for part in parts])
    ends = np.cumsum([0, *(len(part.images) for part in parts)])
    is_row = [np.arange(ends[place], ends[place] + count) for place, count in enumerate(counts)]
    whose = codes[np.concatenate([np.zeros(0, np.int64), *is_row])] if len(codes) > sum(counts) else codes
    starts = np.cumsum([0, *counts])
    odd = {int(start) + place: row for start, part in zip(starts, parts) for place, row in part.odd.items()}
    table = BoxTable(
        names_of_arrow(names),
        whose,
        boxes=np.concatenate([np.zeros((0, 4)), *(part.boxes for part in parts)]),
        scores=np.concatenate([np.zeros(0), *(part.scores for part in parts)]),
        ids=np.concatenate([np.zeros(0, np.int64), *(part.ids for part in parts)]),
        has_id=np.concatenate([np.zeros(0, bool), *(part.has_id for part in parts)]),
        numbers=np.concatenate([np.zeros(0, np.int64), *(part.numbers for part in parts)]),
        odd=odd,
    )
    return table, {name: _class_column([part.classes[name] for part in parts]) for name in _class_names(parts)}


def _class_names(parts: Sequence[TablePart]) -> list[str]:
    return list(parts[0].classes) if parts else []


def _class_column(dictionaries: list[Any]) -> ClassColumn:
    codes, values = _unified(dictionaries)
    return ClassColumn(codes, [class_id(decoded(value).strip()) for value in values.to_pylist()])


def _dictionary(texts: Sequence[str]) -> Any:
    import pyarrow as pa

    return pa.array([encoded(text) for text in texts], pa.large_binary()).dictionary_encode()


def _unified(dictionaries: list[Any]) -> tuple[np.ndarray, Any]:
    """(N,) int64 codes into one dictionary, in the order of first appearance, and that dictionary."""
    import pyarrow as pa

    kind = pa.dictionary(pa.int32(), pa.large_binary())
    whole = pa.chunked_array(dictionaries, kind).unify_dictionaries()
    codes = [chunk.indices.to_numpy() for chunk in whole.chunks]
    values = whole.chunk(whole.num_chunks - 1).dictionary if codes else pa.array([], pa.large_binary())
    return np.concatenate([np.zeros(0, np.int32), *codes]).astype(np.int64), values
