"""From a journal to parts: one pair for each tar or table that has pictures in it, and one for all other pictures.

What earlier runs have left of the same tar or table is merged in, and removed when the pair is there: first the
pictures, which count, then the people. So whenever a process is killed, each row stands somewhere; where one stands
twice, it is the same.

Many small tars would make very many tiny files. So where more than 100 of them with fewer than 100 pictures each are
sealed at a time, these share a pair, together with pictures that are from no tar.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from sapiens_pl.core.errors import ConfigError, write_error
from sapiens_pl.records.journal import Journal
from sapiens_pl.records.merging import PartPiece, Piece, Rows, merged
from sapiens_pl.records.outlet import remove
from sapiens_pl.records.part_files import Part, bring_names_to_disk, write_parts
from sapiens_pl.records.schema import people_schema, to_text
from sapiens_pl.records.store import Store, StoreFile, check_mark, label_of, pair_of, store_files

log = logging.getLogger(__name__)

MANY_SHARDS, SMALL_SHARD = 100, 100
"""More shards than the former share a pair, if they have fewer pictures than the latter."""


class Sealed(NamedTuple):
    """Rows that get a pair of their own: of one shard, or all that is left (None)."""

    shard: str | None
    rows: Rows


def rows_of(journal: Journal, store: Store) -> Rows:
    """All that a journal holds.

    Raises:
        ConfigError: it belongs to another store.
    """
    if journal.header:
        check_mark(journal.path, journal.header, store)
    schema = people_schema(store.keypoint_set.num_keypoints, store.carry)
    frames = [journal.people(frame, schema) for frame in range(len(journal.people_counts))]
    return Rows(journal.pictures.combine_chunks(), pa.Table.from_batches(frames, schema).combine_chunks())


def shard_codes(pictures: pa.Table) -> tuple[np.ndarray, list[str]]:
    """(n,) int64, which of the shards each picture is from, -1 for none; and the shards."""
    shards = pictures.column("shard").combine_chunks().dictionary_encode()
    codes = shards.indices.fill_null(-1).to_numpy().astype(np.int64)
    return codes, [to_text(shard) for shard in shards.dictionary.to_pylist()]


def grouped(rows: Rows) -> list[Sealed]:
    """The pairs of parts that the rows become; the last has the rest."""
    if not rows.pictures.num_rows:
        return []
    codes, shards = shard_codes(rows.pictures)
    counts = np.bincount(codes[codes >= 0], minlength=len(shards))
    small = np.flatnonzero(counts < SMALL_SHARD)
    if len(small) > MANY_SHARDS:
        codes[np.isin(codes, small)] = -1
    found = np.unique(codes).tolist()
    if found == [-1]:
        return [Sealed(None, rows)]
    own = [Sealed(shards[code], rows.select(np.flatnonzero(codes == code))) for code in found if code >= 0]
    return own + [Sealed(None, rows.select(np.flatnonzero(codes < 0))) for code in found if code < 0]


class Sealer:
    """Writes parts of one store.

    Args:
        records: the store's folder.
        store: what its `store.json` says.
    """

    def __init__(self, records: Path, store: Store) -> None:
        self._records, self._store = records, store
        spec = store.keypoint_set
        self._about = {"dataset_name": spec.dataset_name, "keypoint_names": json.dumps(spec.names)}

    def seal(self, stem: str, rows: Rows, merges: Callable[[str | None, StoreFile], bool]) -> None:
        """Writes a journal's rows, except those that are in parts of that stem already.

        Args:
            stem: the journal's.
            rows: its rows.
            merges: whether rows of a shard (None: of none) are merged with a part of their label, and replace it.

        Raises:
            WriteError: no space, no permission, a vanished disk.
        """
        files = [file for file in store_files(self._records) if file.kind == "pictures"]
        there = {file.pair for file in files}
        by_label: dict[str | None, list[StoreFile]] = {}
        for file in files:
            by_label.setdefault(file.label, []).append(file)
        replaced: list[Part] = []
        for shard, some in grouped(rows):
            label = None if shard is None else label_of(shard)
            if pair_of(label, stem) not in there:
                earlier = [file for file in by_label.get(label, ()) if merges(shard, file)]
                replaced += self._write(stem, Sealed(shard, some), earlier)
        bring_names_to_disk(self._records)
        for part in replaced:
            self.remove(part.path, part.people_path)

    def remove(self, pictures: Path, people: Path) -> None:
        """Removes a pair whose rows stand in another one.

        Raises:
            WriteError: it cannot be removed.
        """
        for path in (pictures, people):
            try:
                remove(path)
            except OSError as error:
                raise write_error(path, error) from None

    def _write(self, stem: str, sealed: Sealed, earlier: Sequence[StoreFile]) -> list[Part]:
        """Writes a pair, and returns the parts whose rows are in it now."""
        label = None if sealed.shard is None else label_of(sealed.shard)
        parts = [part for file in earlier for part in self._opened(file, sealed.shard)]
        while True:
            mark = self._store.mark() | {"shard": sealed.shard, "merged": [_pair(part) for part in parts]}
            try:
                pieces: list[Piece] = [*map(PartPiece, parts), sealed.rows]
                pictures, people = merged(pieces)
                write_parts(self._records, pair_of(label, stem), pictures, people, mark, self._about)
                return parts
            except FileNotFoundError as error:  # another process has merged it
                left = [part for part in parts if part.path.exists()]
                if len(left) == len(parts):
                    raise write_error(self._records, error) from None
                parts = left
            except ConfigError as error:  # a damaged one; the next run sets it aside
                log.warning("Parts of %s stay apart: %s", sealed.shard, error)
                parts = []

    def _opened(self, file: StoreFile, shard: str | None) -> list[Part]:
        """The part, if it is whole, of this store, and of that shard only."""
        try:
            part = Part(file.path, self._store.carry)
            check_mark(file.path, part.mark, self._store)
        except (ConfigError, FileNotFoundError):
            return []
        return [part] if part.mark.get("shard") == shard else []


def _pair(part: Part) -> str:
    return part.path.stem.removeprefix("pictures-").rpartition("-")[0]
