"""Rows of several parts, and of what is in none yet, as one table sorted by the pictures' names.

The people, who are most of it, are read and passed on some at a time: as parts are sorted too, each of their groups is
read once.

Legend: P pictures of all pieces together, n of them kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sapiens_pl.records.part_files import Part

_PEOPLE_AT_ONCE = 4096


class Piece(Protocol):
    """Some pictures with their people, who stand in the same order."""

    @property
    def pictures(self) -> pa.Table: ...

    def some_people(self, start: int, stop: int) -> pa.Table:
        """The people of these rows."""
        ...


class Rows(NamedTuple):
    """A piece in memory."""

    pictures: pa.Table
    people: pa.Table

    def some_people(self, start: int, stop: int) -> pa.Table:
        return self.people.slice(start, stop - start)

    def select(self, indices: np.ndarray) -> Rows:
        """Those at the (n,) positions, in their order."""
        counts = self.pictures.column("num_people").to_numpy()
        starts = np.cumsum(counts) - counts
        rows = _ranges(starts[indices], counts[indices])
        return Rows(self.pictures.take(pa.array(indices)), self.people.take(pa.array(rows)))


class PartPiece:
    """A part; of its people only the groups that were asked for last are in memory."""

    def __init__(self, part: Part) -> None:
        self.part, self.pictures = part, part.pictures()
        self._starts = np.cumsum([0, *part.people_counts])
        self._held: dict[int, pa.Table] = {}

    def some_people(self, start: int, stop: int) -> pa.Table:
        if stop <= start:
            return self.part.no_people
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        last = int(np.searchsorted(self._starts, stop - 1, side="right")) - 1
        self._held = {
            group: self._held[group] if group in self._held else self.part.people(group)
            for group in range(first, last + 1)
        }
        joined = pa.concat_tables(self._held.values())
        return joined.slice(start - int(self._starts[first]), stop - start)


def merged(pieces: Sequence[Piece]) -> tuple[pa.Table, Iterator[pa.Table]]:
    """All pictures sorted by name, and their people, some at a time and at least one table.

    Of several rows of one name the one of the latest generation counts; of those, the last.
    """
    pictures = pa.concat_tables([piece.pictures for piece in pieces])
    order = pc.sort_indices(pictures, [("name", "ascending"), ("generation", "ascending")]).to_numpy()  # stable
    names = pictures.column("name").take(pa.array(order))
    if len(order) > 1:
        is_last = pc.not_equal(names.slice(1), names.slice(0, len(order) - 1)).to_numpy()
        order = order[np.append(is_last, True)]
    counts = [piece.pictures.column("num_people").to_numpy() for piece in pieces]
    starts = np.concatenate([np.cumsum(of_piece) - of_piece for of_piece in counts])
    piece_of = np.repeat(np.arange(len(pieces)), [len(of_piece) for of_piece in counts])
    people = _people(pieces, piece_of[order], starts[order], np.concatenate(counts)[order])
    return pictures.take(pa.array(order)), people


def _people(
    pieces: Sequence[Piece], piece_of: np.ndarray, starts: np.ndarray, counts: np.ndarray
) -> Iterator[pa.Table]:
    """The people of (n,) pictures: whose piece, and which of its rows."""
    kept = np.flatnonzero(counts)
    if not len(kept):
        yield pieces[0].some_people(0, 0)
        return
    cuts = np.flatnonzero(np.diff(np.cumsum(counts[kept]) // _PEOPLE_AT_ONCE)) + 1
    for some in np.split(kept, cuts):
        tables, begins, num_before = [], np.zeros(len(some), np.int64), 0
        for number in np.unique(piece_of[some]):
            is_of = piece_of[some] == number
            first = int(starts[some[is_of]].min())
            table = pieces[number].some_people(first, int((starts + counts)[some[is_of]].max()))
            begins[is_of] = starts[some[is_of]] - first + num_before
            num_before += table.num_rows
            tables.append(table)
        yield pa.concat_tables(tables).take(pa.array(_ranges(begins, counts[some])))


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """All numbers from each start on, as many as its count says, one range after the other."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts - (ends - counts), counts) + np.arange(total)
