"""The records of a run some files at a time, so that of many tars only the rows of a few are in memory.

Files whose names of pictures lie in ranges that overlap may hold the same picture, of which one row counts: they are
read together. Parts are sorted by name, and each tar has its own, so mostly a group is one part, and its counts are
in its footer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from sapiens_pl.core.structures import Failure
from sapiens_pl.records.footers import NOTHING, Footer, Tally
from sapiens_pl.records.reading import Records
from sapiens_pl.records.schema import DONE, STATUSES
from sapiens_pl.records.sources import Source, read_live
from sapiens_pl.records.store import Store, StoreFile

T = TypeVar("T")


class _Ranged(NamedTuple):
    """A file with what its footer says; of a journal, which grows, what was read of it."""

    file: StoreFile
    footer: Footer
    source: Source | None


class Group:
    """Files of which no picture stands in a file of another group.

    Args:
        folder: the run's.
        store: whose files they are.
        files: at least one.
        shards: the only tars or tables whose pictures count; None for all.
    """

    def __init__(
        self, folder: Path, store: Store, files: Collection[_Ranged], shards: Collection[str] | None = None
    ) -> None:
        self._folder, self._store, self._files, self._shards = folder, store, files, shards
        self._records: Records | None = None
        self._only = next(iter(files)).footer if len(files) == 1 else None

    @property
    def shard(self) -> str | None:
        """The tar or table that all pictures are of, if they are known to be of one that counts."""
        shard = None if self._only is None else self._only.shard
        return shard if shard is not None and (self._shards is None or shard in self._shards) else None

    def tally(self) -> Tally:
        """Raises FileNotFoundError if a file is gone, as the other methods do."""
        if self._only is not None and self._only.tally is not None and (self._shards is None or self.shard is not None):
            return self._only.tally
        return tally_of(self.records())

    def failures(self) -> list[Failure]:
        """As `Records.failures`."""
        if not any(each.footer.has_failures for each in self._files):
            return []
        return list(self.records().failures())

    def records(self) -> Records:
        if self._records is None:
            sources = [each.source or Source(each.file, self._store) for each in self._files]
            again = partial(Records.read, self._folder, self._shards)
            self._records = Records(self._store, sources, self._shards, again)
        return self._records


def tally_of(records: Records) -> Tally:
    done = records.is_status(DONE)
    counts = NOTHING.pictures.copy()
    counts.update({status: records.count(status) for status in STATUSES})
    return Tally(counts, int(records.num_people[done].sum()), frozenset(records.videos()), records.num_frames)


def read_in_turn(folder: Path, look: Callable[[Group], T], shards: Collection[str] | None = None) -> list[T]:
    """Results of `look` for each group, in the order of the pictures' names.

    Args:
        folder: the run's.
        look: makes it; called again with all groups if files are removed meanwhile.
        shards: only of pictures from these tars or tables, as for `Records.read`.

    Raises:
        ConfigError: a file is damaged, or belongs to another run.
    """

    def look_at_all(store: Store, files: list[StoreFile]) -> list[T]:
        groups = _groups([ranged for file in files if (ranged := _ranged(file, store)) is not None])
        return [look(Group(folder, store, group, shards)) for group in groups]

    return read_live(folder, shards, look_at_all, [])


def _ranged(file: StoreFile, store: Store) -> _Ranged | None:
    """None where it holds no picture."""
    source = Source(file, store)
    footer = source.footer
    return footer and _Ranged(file, footer, source if source.is_journal else None)


def _groups(files: list[_Ranged]) -> list[list[_Ranged]]:
    """Those whose ranges overlap, each in the order in which the files were given."""
    if any(each.footer.first is None or each.footer.last is None for each in files):
        return [files]
    order = sorted(range(len(files)), key=lambda place: files[place].footer.first or b"")
    groups: list[list[int]] = []
    last = b""
    for place in order:
        footer = files[place].footer
        assert footer.first is not None and footer.last is not None
        if groups and footer.first <= last:
            groups[-1].append(place)
        else:
            groups.append([place])
        last = max(last, footer.last)
    return [[files[place] for place in sorted(group)] for group in groups]
