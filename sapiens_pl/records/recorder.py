"""The writing side of the record store: one process's journal, sealed into parts as it grows and at its end."""

from __future__ import annotations

import logging
import secrets
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock, Timer

import numpy as np
import pyarrow as pa

from sapiens_pl.core.errors import WriteError
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.records.journal import Journal, JournalWriter
from sapiens_pl.records.merging import Rows
from sapiens_pl.records.outlet import outlet_of
from sapiens_pl.records.schema import people_batch, pictures_batch
from sapiens_pl.records.sealing import SMALL_SHARD, Sealer, rows_of, shard_codes
from sapiens_pl.records.store import Store, StoreFile, store_files

log = logging.getLogger(__name__)

MAX_PICTURES, MAX_KEYPOINTS = 50_000, 4_000_000
"""What one part holds at most, but for the last batch: 48 MB of coordinates and scores, before compression. The part of
a tar or table that is sealed in pieces holds all of these in the end."""
_SHARE_FOR_JOURNAL = 0.8
"""Of `Outlet.flush_seconds`; the rest is for writing the part and showing it."""


class Recorder:
    """Records results; several threads may. What `append` has written survives a kill of the process.

    The pictures of each tar or table become one pair of parts: as soon as all have come that `expect` has named, or at
    the end. What does not fit into one journal before becomes parts that are merged then. Small tars wait for others.

    Args:
        records: the store's folder.
        store: what its `store.json` says.
        shard, rank: whose journal it is.
    """

    def __init__(self, records: Path, store: Store, shard: int = 0, rank: int | str = 0) -> None:
        self._records, self._store = records, store
        self._generation = max((file.generation for file in store_files(records)), default=0) + 1
        self._own = f"{self._generation:06}-{shard}-{rank}-{secrets.token_hex(6)}"
        self._sealer = Sealer(records, store)
        self._number = self._keypoints = 0
        self._journal: JournalWriter | None = None
        self._held: Counter[str | None] = Counter()
        """Pictures in the journal, by shard."""
        self._left: Counter[str] = Counter()
        """Pictures of each shard that are still to come."""
        self._in_pieces: set[str] = set()
        """Shards of which there is a part already, and more to come."""
        self._early: dict[str, float] = {}
        """Parts of pictures from no shard that could be larger, by stem: how full each is, from 0 to 1."""
        self._lock = Lock()
        self._flush_seconds = outlet_of(records).flush_seconds
        self._oldest = 0.0
        """Since when the journal holds something, by `time.monotonic`."""

    def expect(self, num_pictures: Mapping[str, int]) -> None:
        """Adds the numbers of pictures, by shard, that this process is going to record."""
        with self._lock:
            self._left.update(num_pictures)

    def append(self, results: Sequence[PoseResult], boxes_digests: Sequence[int] | None = None) -> None:
        """Journals some pictures, done or not, in one frame.

        Args:
            results: done pictures with their people and the boxes that failed; failed ones with the reason.
            boxes_digests: 64 bits each, of the boxes that they were planned with.

        Raises:
            WriteError: no space, no permission, a vanished disk. Nothing of these results is recorded then.
        """
        if not results:
            return
        count, digests = self._store.keypoint_set.num_keypoints, boxes_digests
        pictures = pictures_batch(results, [0] * len(results) if digests is None else digests, self._generation)
        people = people_batch(results, count, self._store.carry)
        came = Counter(None if result.member is None else result.member.shard for result in results)
        with self._lock:
            if self._journal is None:
                self._oldest = time.monotonic()
                self._journal = self._new_journal()
            self._journal.append(pictures, people)
            self._keypoints += people.num_rows * count
            self._held.update(came)
            complete = self._count_down(came)
            if self._share_of_part >= 1:
                self._seal()
            elif complete:
                self._seal(complete)

    def flush(self) -> None:
        """Brings what is only in the journal into parts, which are merged with others later."""
        with self._lock:
            self._seal()

    def close(self) -> None:
        """Brings everything to the disk and into parts; where there is no room for these, the journal stays."""
        with self._lock:
            if self._journal is not None:
                with suppress(WriteError):
                    self._journal.sync()
            self._left.clear()
            self._seal(at_end=True)

    def _seal_in_time(self, journal: JournalWriter) -> None:
        if self._flush_seconds is not None:
            left = self._oldest + self._flush_seconds * _SHARE_FOR_JOURNAL - time.monotonic()
            timer = Timer(max(left, 0), self._seal_if_there, [journal])
            timer.daemon = True
            timer.start()

    def _seal_if_there(self, journal: JournalWriter) -> None:
        with self._lock:
            if self._journal is journal:
                self._seal()

    @property
    def _share_of_part(self) -> float:
        """How full a part of the journal's rows would be, from 0 to 1."""
        return max(sum(self._held.values()) / MAX_PICTURES, self._keypoints / MAX_KEYPOINTS)

    def _count_down(self, came: Counter[str | None]) -> set[str | None]:
        """The shards of which all pictures have come now, and which are worth a file of their own already."""
        complete = set[str | None]()
        for shard, count in came.items():
            if shard is not None and shard in self._left:
                self._left[shard] -= count
                if self._left[shard] <= 0:
                    del self._left[shard]
                    if self._held[shard] >= SMALL_SHARD or shard in self._in_pieces:
                        complete.add(shard)
        return complete

    def _new_journal(self) -> JournalWriter:
        header = self._store.mark() | {"generation": self._generation}
        journal = JournalWriter(self._records / f"journal-{self._own}-{self._number:04}.arrow", header)
        self._number += 1
        self._seal_in_time(journal)
        return journal

    def _seal(self, shards: Collection[str | None] | None = None, at_end: bool = False) -> None:
        """Makes parts of the journal; where there is no room for them, it stays for the next run.

        Args:
            shards: of these only; what else there is goes into a new journal first.
            at_end: nothing will follow.
        """
        if self._journal is None:
            return
        path, share = self._journal.path, self._share_of_part
        self._journal.close()
        self._journal, self._held, self._keypoints = None, Counter(), 0
        try:
            journal = Journal(path)
            rows = rows_of(journal, self._store)
            journal.close()
            if shards is not None:
                rows = self._carry_over(rows, shards)
            self._write(path, rows, share, at_end)
            if not journal.is_damaged:  # else the next run reports the damage
                path.unlink(missing_ok=True)
        except (WriteError, OSError) as error:
            log.warning("The records stay in %s as their part could not be written: %s", path, error)

    def _carry_over(self, rows: Rows, shards: Collection[str | None]) -> Rows:
        """Begins a new journal with the rows of other shards, and returns those of these."""
        codes, names = shard_codes(rows.pictures)
        is_of = np.isin(codes, [code for code, name in enumerate(names) if name in shards])
        if not is_of.all():
            kept = rows.select(np.flatnonzero(~is_of))
            journal = self._new_journal()
            journal.append(*map(_in_one_piece, kept))
            journal.sync()
            self._journal = journal
            self._held = Counter(None if code < 0 else names[code] for code in codes[~is_of].tolist())
            self._keypoints = kept.people.num_rows * self._store.keypoint_set.num_keypoints
        return rows.select(np.flatnonzero(is_of))

    def _write(self, path: Path, rows: Rows, share: float, at_end: bool) -> None:
        stem = path.name.removeprefix("journal-").removesuffix(".arrow")
        merges_early = bool(self._early) and (at_end or share + sum(self._early.values()) >= 1)

        def merges(shard: str | None, part: StoreFile) -> bool:
            if shard is None:
                return merges_early and part.stem in self._early
            is_ours = part.generation < self._generation or part.stem.startswith(self._own)
            return is_ours and shard not in self._left

        self._sealer.seal(stem, rows, merges)
        sealed = {*shard_codes(rows.pictures)[1]}
        self._in_pieces = self._in_pieces - sealed | (sealed & self._left.keys())
        if merges_early:
            self._early.clear()
        elif share < 1 and not at_end:
            self._early[stem] = share


def _in_one_piece(table: pa.Table) -> pa.RecordBatch:
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], table.schema)
