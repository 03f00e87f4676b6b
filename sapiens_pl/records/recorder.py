"""The writing side of the record store: one process's journal, sealed into parts as it grows and at its end."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock, Timer

from sapiens_pl.core.errors import WriteError
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.records.journal import JournalWriter
from sapiens_pl.records.outlet import outlet_of
from sapiens_pl.records.schema import people_batch, pictures_batch
from sapiens_pl.records.settling import seal
from sapiens_pl.records.store import Store, store_files

log = logging.getLogger(__name__)

MAX_PICTURES, MAX_KEYPOINTS = 50_000, 4_000_000
"""What one part holds at most, but for the last batch: 48 MB of coordinates and scores, before compression."""
_SHARE_FOR_JOURNAL = 0.8
"""Of `Outlet.flush_seconds`; the rest is for writing the part and showing it."""


class Recorder:
    """Records results; several threads may. What `append` has returned from survives a kill of the process.

    Args:
        records: the store's folder.
        store: what its `store.json` says.
        shard, rank: whose journal it is.
    """

    def __init__(self, records: Path, store: Store, shard: int = 0, rank: int | str = 0) -> None:
        self._records, self._store = records, store
        self._generation = max((file.generation for file in store_files(records)), default=0) + 1
        self._own = f"{self._generation:06}-{shard}-{rank}-{secrets.token_hex(6)}"
        self._number = self._pictures = self._keypoints = 0
        self._journal: JournalWriter | None = None
        self._lock = Lock()
        self._flush_seconds = outlet_of(records).flush_seconds

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
        count = self._store.keypoint_set.num_keypoints
        pictures = pictures_batch(results, [0] * len(results) if boxes_digests is None else boxes_digests)
        people = people_batch(results, count)
        with self._lock:
            if self._journal is None:
                header = self._store.mark() | {"generation": self._generation}
                self._journal = JournalWriter(self._records / f"journal-{self._own}-{self._number:04}.arrow", header)
                self._number += 1
                self._seal_in_time()
            self._journal.append(pictures, people)
            self._pictures += len(results)
            self._keypoints += people.num_rows * count
            if self._pictures >= MAX_PICTURES or self._keypoints >= MAX_KEYPOINTS:
                self._seal()

    def close(self) -> None:
        """Brings everything to the disk and into parts; where there is no room for these, the journal stays."""
        with self._lock:
            if self._journal is not None:
                with suppress(WriteError):
                    self._journal.sync()
                self._seal()

    def _seal_in_time(self) -> None:
        if self._flush_seconds is not None:
            timer = Timer(self._flush_seconds * _SHARE_FOR_JOURNAL, self._seal_if_there, [self._journal])
            timer.daemon = True
            timer.start()

    def _seal_if_there(self, journal: JournalWriter) -> None:
        with self._lock:
            if self._journal is journal:
                self._seal()

    def _seal(self) -> None:
        assert self._journal is not None
        path = self._journal.path
        self._journal.close()
        self._journal = None
        self._pictures = self._keypoints = 0
        try:
            seal(path, self._store)
        except WriteError as error:
            log.warning("The records stay in %s until there is room for their part: %s", path, error)
