"""What the footer of a part of pictures says, without reading a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from sapiens_pl.records.schema import DONE, WITHDRAWN

_FAILURES_OF_BOXES = "failures.list.element.error"


class Tally(NamedTuple):
    """Counts of some records: pictures by status, people of those that are done; frames of videos in the same way."""

    pictures: Counter[str]
    people: int
    videos: frozenset[str] = frozenset()
    frames: int = 0

    def plus(self, other: Tally) -> Tally:
        pictures, people = self.pictures + other.pictures, self.people + other.people
        return Tally(pictures, people, self.videos | other.videos, self.frames + other.frames)


NOTHING = Tally(Counter(), 0)


class Footer(NamedTuple):
    """Of one part, or of what a journal holds.

    `first` and `last` are the names between which those of its pictures lie, None where that is not known. `tally` is
    None where only the rows tell. `shard`: of which tar or table all of its pictures are, if of one.
    """

    first: bytes | None
    last: bytes | None
    tally: Tally | None = None
    shard: str | None = None
    has_failures: bool = True


def footer_of(metadata: Any, mark: dict[str, Any]) -> Footer:
    """Of a part.

    Args:
        metadata: Parquet's, of the pictures.
        mark: what the part says of itself.
    """
    names = list(_statistics(metadata, "name"))
    is_known = all(of_group is not None and of_group.has_min_max for of_group in names)
    return Footer(
        min(of_group.min for of_group in names) if is_known and names else None,
        max(of_group.max for of_group in names) if is_known and names else None,
        _tally(metadata, mark),
        mark.get("shard"),
        not (_is_empty(metadata, "error") and _is_empty(metadata, _FAILURES_OF_BOXES)),
    )


def _tally(metadata: Any, mark: dict[str, Any]) -> Tally | None:
    counts = mark.get("counts")
    if counts is None or sum(counts.values()) != metadata.num_rows or not _is_empty(metadata, "video"):
        return None
    if mark["num_people"] and {*counts} != {DONE}:  # they may include pictures that are not done
        return None
    return Tally(Counter(counts) - Counter({WITHDRAWN: counts.get(WITHDRAWN, 0)}), mark["num_people"])


def _is_empty(metadata: Any, column: str) -> bool:
    """Whether it is known that there is no value in a column."""
    found = list(_statistics(metadata, column))
    return all(of_group is not None and of_group.has_null_count and not of_group.num_values for of_group in found)


def _statistics(metadata: Any, column: str) -> Iterator[Any]:
    """Of a column in each group of rows; None where there are none."""
    places = [place for place, each in enumerate(metadata.schema) if each.path == column]
    for number in range(metadata.num_row_groups):
        yield metadata.row_group(number).column(places[0]).statistics if places else None
