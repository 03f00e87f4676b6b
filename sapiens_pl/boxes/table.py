"""The rows of a box file as columns.

Legend: N rows, U names.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from sapiens_pl.core.columns import Names, names_of_arrow

LARGEST_ID = 2**63 - 1
"""Larger numbers do not fit into a table's column."""


class BoxRow(NamedTuple):
    """One box as its file gives it, everything unchecked.

    `image` is the file's own name for the picture, `number` that of the row or line; `score` and `instance_id` are
    None where the file has none.
    """

    image: str
    bbox: Any
    score: Any
    instance_id: Any
    number: int = 0


class UnreadIds(NamedTuple):
    """How many ids are no whole numbers, and the first of them as a text."""

    num: int = 0
    first: str = ""

    def plus(self, other: UnreadIds) -> UnreadIds:
        return UnreadIds(self.num + other.num, self.first or other.first)


class BoxTable(NamedTuple):
    """Rows as their file gives them, in its order.

    `names` are the file's names for its pictures, those without a row too; `whose` (N,) int64 says which of them a
    row's is. `boxes` (N, 4) float64 are numbers in the file's own format, `scores` (N,) float64, NaN for none; `ids`
    (N,) int64, where `has_id` (N,) bool; `numbers` (N,) int64 are the rows' or lines' own. `odd` has, by position,
    the rows that cannot be told by such numbers: they are not boxes, and are named as they stand. `unread_ids` are of
    the whole file.
    """

    names: Names
    whose: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    ids: np.ndarray
    has_id: np.ndarray
    numbers: np.ndarray
    odd: dict[int, BoxRow]
    unread_ids: UnreadIds = UnreadIds()

    @property
    def num_rows(self) -> int:
        return len(self.whose)

    def select(self, positions: np.ndarray) -> BoxTable:
        """The rows at the (n,) positions, in their order."""
        odd = self.odd
        if odd:
            new = {int(old): place for place, old in enumerate(positions.tolist()) if old in odd}
            odd = {new[old]: row for old, row in odd.items() if old in new}
        columns = (self.whose, self.boxes, self.scores, self.ids, self.has_id, self.numbers)
        whose, boxes, scores, ids, has_id, numbers = (column[positions] for column in columns)
        return BoxTable(self.names, whose, boxes, scores, ids, has_id, numbers, odd, self.unread_ids)

    def row(self, position: int) -> BoxRow:
        """One row, for a sentence."""
        if position in self.odd:
            return self.odd[position]
        score = self.scores[position]
        identity = int(self.ids[position]) if self.has_id[position] else None
        return BoxRow(
            self.names[int(self.whose[position])],
            self.boxes[position].tolist(),
            None if math.isnan(score) else float(score),
            identity,
            int(self.numbers[position]),
        )


def table_of(rows: Sequence[BoxRow], names: Iterable[str] = ()) -> BoxTable:
    """Rows as a table.

    Args:
        names: what else the file calls pictures.
    """
    places: dict[str, int] = {}
    whose = np.fromiter((places.setdefault(row.image, len(places)) for row in rows), np.int64, len(rows))
    for name in names:
        places.setdefault(name, len(places))
    boxes, scores = np.full((len(rows), 4), np.nan), np.full(len(rows), np.nan)
    ids, has_id = np.zeros(len(rows), np.int64), np.zeros(len(rows), bool)
    odd: dict[int, BoxRow] = {}
    unread = UnreadIds()
    for position, row in enumerate(rows):
        box, score, identity = four_numbers(row.bbox), number(row.score), whole_number(row.instance_id)
        if box is not None:
            boxes[position] = box
        if score is not None:
            scores[position] = score
        if identity is not None:
            ids[position], has_id[position] = identity, True
        elif row.instance_id not in (None, ""):
            unread = unread.plus(UnreadIds(1, str(row.instance_id)))
        if box is None or not all(map(math.isfinite, box)) or not (score is None or math.isfinite(score)):
            odd[position] = row
    numbers = np.fromiter((row.number for row in rows), np.int64, len(rows))
    return BoxTable(Names.of(places), whose, boxes, scores, ids, has_id, numbers, odd, unread)


def joined(tables: Sequence[BoxTable]) -> BoxTable:
    """The rows of tables one after the other; no two tables share a name."""
    import pyarrow as pa

    starts = np.cumsum([0, *(table.num_rows for table in tables)]).tolist()
    names_before = np.cumsum([0, *(len(table.names) for table in tables)]).tolist()
    odd = {start + place: row for start, table in zip(starts, tables) for place, row in table.odd.items()}
    return BoxTable(
        names_of_arrow(pa.concat_arrays([table.names.arrow() for table in tables])),
        np.concatenate([table.whose + before for before, table in zip(names_before, tables)]),
        np.concatenate([table.boxes for table in tables]),
        np.concatenate([table.scores for table in tables]),
        np.concatenate([table.ids for table in tables]),
        np.concatenate([table.has_id for table in tables]),
        np.concatenate([table.numbers for table in tables]),
        odd,
        reduce(UnreadIds.plus, (table.unread_ids for table in tables)),
    )


def table_of_arrays(rows: np.ndarray) -> BoxTable:
    """A table of (N, 4) boxes without scores, or of (N, 5) with them; it names nothing."""
    count, odd = len(rows), {}
    scores = rows[:, 4] if rows.shape[1] == 5 else np.full(count, np.nan)
    for place in np.flatnonzero(~np.isfinite(rows).all(axis=1)).tolist():
        of_row = rows[place].tolist()
        odd[place] = BoxRow("", of_row[:4], of_row[4] if len(of_row) == 5 else None, None)
    none = np.zeros(count, np.int64)
    return BoxTable(Names.of([""]), none, rows[:, :4], scores, none, np.zeros(count, bool), none, odd)


def four_numbers(bbox: Any) -> list[float] | None:
    """None where there are no four numbers."""
    if isinstance(bbox, (str, dict)):  # "1234" is not a list of four
        return None
    try:
        box = [float(value) for value in bbox]
    except (TypeError, ValueError, OverflowError):
        return None
    return box if len(box) == 4 else None


def number(value: Any) -> float | None:
    """None where there is none; NaN for what is not a number."""
    if value is None:
        return None
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return math.nan
    except OverflowError:
        return math.inf


def whole_number(value: Any) -> int | None:
    """One that fits into 64 bits, or nothing; text counts as the number that it spells."""
    if isinstance(value, str):
        try:
            value = int(value)
        except ValueError:
            value = number(value)  # "3.0"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and abs(value) <= LARGEST_ID else None
