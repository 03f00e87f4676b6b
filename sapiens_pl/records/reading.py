"""The reading side of the record store; also while processes write to it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.keypoints import KeypointSet, numbered_set
from sapiens_pl.core.structures import Failure, PoseResult
from sapiens_pl.records.schema import DONE, PICTURES, WITHDRAWN, failures_of, to_bytes, to_text
from sapiens_pl.records.sources import KeptGroups, Source, read_live
from sapiens_pl.records.store import Store, StoreFile

_PICTURES_AT_ONCE = 1024


class Records:
    """A run's records at the time of reading: of each picture, the row of the latest generation.

    Attributes:
        keypoint_set: the network's; of no keypoints where there is no store.
        boxes_digests, num_people: (P,) uint64 and int64, columns of all pictures in no order; see `positions`.
    """

    def __init__(
        self,
        store: Store | None,
        sources: list[Source],
        shards: Collection[str] | None = None,
        again: Callable[[], Records] | None = None,
    ) -> None:
        self.keypoint_set: KeypointSet = numbered_set(0) if store is None else store.keypoint_set
        self.settings: dict[str, Any] = {} if store is None else store.settings
        self._sources, self._again = sources, again
        columns = ["name", "status", "boxes_digest", "num_people", "video", "generation"]
        columns += [] if shards is None else ["shard"]
        tables = [source.pictures(columns) for source in sources]
        table = pa.concat_tables([PICTURES.empty_table().select(columns), *tables])
        counts = [table.num_rows for table in tables]
        source_of = np.repeat(np.arange(len(tables)), counts)
        row_of = np.concatenate([np.empty(0, np.int64), *(np.arange(count) for count in counts)])
        kept = _latest(table.column("name"), table.column("generation"))
        if shards is not None:
            wanted = pa.array(sorted(map(to_bytes, shards)), pa.binary())
            kept = kept[pc.is_in(table.column("shard"), wanted).to_numpy().astype(bool)[kept]]
        kept = kept[pc.not_equal(table.column("status"), WITHDRAWN).to_numpy().astype(bool)[kept]]
        if len(kept) < table.num_rows:
            table, source_of, row_of = table.take(pa.array(kept)), source_of[kept], row_of[kept]
        self._source_of, self._row_of = source_of, row_of
        # Each in one chunk: with several, taking a few rows copies all, once for each video.
        self._names, self._statuses, self._videos = (
            pa.concat_arrays(table.column(name).chunks) for name in ("name", "status", "video")
        )
        self.boxes_digests: np.ndarray = table.column("boxes_digest").to_numpy().astype(np.uint64)
        self.num_people: np.ndarray = table.column("num_people").to_numpy().astype(np.int64)

    @classmethod
    def read(cls, folder: str | Path, shards: Collection[str] | None = None) -> Records:
        """The records in a run's folder; none where there is no store.

        Args:
            shards: only of pictures from these tars or tables, by their names in the outputs; parts of others are not
                opened. None: all.

        Raises:
            ConfigError: a part is damaged, or belongs to another run.
        """
        known: dict[Path, Source] = {}

        def opened(store: Store, files: list[StoreFile]) -> Records:
            for file in files:
                if file.path not in known:
                    known[file.path] = Source(file, store)
            return cls(store, [known[file.path] for file in files], shards, partial(cls.read, folder, shards))

        return read_live(Path(folder), shards, opened, cls(None, []))

    def __len__(self) -> int:
        return len(self._row_of)

    def is_status(self, status: str) -> np.ndarray:
        """Bools, one a picture."""
        return pc.equal(self._statuses, status).to_numpy(zero_copy_only=False)

    def count(self, status: str) -> int:
        return int(self.is_status(status).sum())

    def positions(self, names: Names) -> np.ndarray:
        """(n,) int64: where each of the names stands in the columns, -1 for nowhere."""
        found = pc.index_in(names.arrow(), value_set=self._encoded())
        return found.fill_null(-1).to_numpy().astype(np.int64)

    def done_among(self, names: Names) -> list[str]:
        """Those of the names whose pictures are done."""
        positions = self.positions(names)
        is_done = np.append(self.is_status(DONE), False)[positions]  # the last one is that of position -1
        return list(names.select(np.flatnonzero(is_done)))

    def _encoded(self) -> pa.Array:
        """All names as `core.columns` has them, which differs for names that are not Unicode."""
        try:
            return self._names.cast(pa.string()).cast(pa.large_binary())
        except pa.ArrowInvalid:
            return Names.of(map(to_text, self._names.to_pylist())).arrow()

    def names(self, status: str | None = DONE) -> list[str]:
        """Those of the pictures with that status, or of all for None; sorted."""
        return self._names_at(self._order(status))

    def photographs(self) -> list[str]:
        """The names of the pictures that are done and no frames of videos, sorted."""
        order = self._order(DONE)
        return self._names_at(order[~self._is_frame[order]])

    def results(self, names: Collection[str] | None = None) -> Iterator[PoseResult]:
        """The done pictures, or those of them that are named; sorted by name, a few in memory at a time.

        Raises:
            ConfigError: a part is damaged.
        """
        yield from self._in_order(self._named(self._order(DONE), names))

    def videos(self) -> list[str]:
        """The names of the videos of which a frame is done, sorted."""
        return sorted(video for video, rows in self._films.items() if self._is_done[rows].any())

    @property
    def num_frames(self) -> int:
        """Of all videos together, that are done."""
        return int((self._is_done & self._is_frame).sum())

    def frame_names(self, video: str) -> list[str]:
        """The names of the frames of a video that are done, in their order."""
        return self._names_at(self._done_frames(video))

    def video_state(self, video: str) -> str:
        """A string that changes when the records of a video change, independent of their place in the store."""
        rows = self._films[video]
        names = self._names.take(pa.array(rows)).to_pylist()
        statuses = self._statuses.take(pa.array(rows)).to_pylist()
        columns = zip(names, statuses, self.boxes_digests[rows].tolist(), self.num_people[rows].tolist())
        state = hashlib.blake2b(digest_size=16)
        for row in columns:
            state.update(repr(row).encode())
        return state.hexdigest()

    def frames_of(self, video: str) -> Iterator[PoseResult]:
        """The frames of a video that are done, in their order, a few in memory at a time.

        Raises:
            ConfigError: a part is damaged.
        """
        yield from self._in_order(self._done_frames(video))

    def failures(self, names: Collection[str] | None = None) -> Iterator[Failure]:
        """Why pictures failed or are absent, and why boxes of done pictures failed; sorted by the pictures' names.

        Args:
            names: only of these.
        """
        order = self._named(self._order(None), names)
        for start in range(0, len(order), _PICTURES_AT_ONCE):
            some = order[start : start + _PICTURES_AT_ONCE]
            try:
                rows = self._rows(some, ["name", "error", "message", "failures"])
            except FileNotFoundError:
                yield from self._read_again(some).failures(self._names_at(some))
            else:
                for row in rows:
                    yield from failures_of(row)

    def table(self, names: Collection[str] | None = None, status: str | None = None) -> pa.Table:
        """The rows of pictures themselves (`schema.PICTURES`), sorted by name.

        Args:
            names: only of these.
            status: only pictures with that status; None: all.
        """
        order = self._named(self._order(status), names)
        tables, positions = [PICTURES.empty_table()], [np.empty(0, np.int64)]
        for number in np.unique(self._source_of[order]):
            positions.append(np.flatnonzero(self._source_of[order] == number))
            tables.append(self._sources[number].rows(self._row_of[order[positions[-1]]], PICTURES.names))
        return pa.concat_tables(tables).take(pa.array(np.argsort(np.concatenate(positions))))

    def _in_order(self, order: np.ndarray) -> Iterator[PoseResult]:
        groups = KeptGroups()
        for start in range(0, len(order), _PICTURES_AT_ONCE):
            some = order[start : start + _PICTURES_AT_ONCE]
            try:
                results = self._chunk(some, groups)
            except FileNotFoundError:
                names = self._names_at(some)
                found = {result.name: result for result in self._read_again(some).results(names)}
                results = [found[name] for name in names if name in found]
            yield from results

    def _read_again(self, order: np.ndarray) -> Records:
        """The records now: a part was removed since these were read, as its rows were merged with others.

        Raises:
            ConfigError: they are not found.
        """
        if self._again is None:
            raise ConfigError(
                f"The records of {self._names_at(order[:1])} were removed while they were read; run again."
            )
        return self._again()

    @cached_property
    def _films(self) -> dict[str, np.ndarray]:
        """Where the rows of each video stand, whatever their status, sorted by name."""
        videos = self._videos.dictionary_encode()
        codes = videos.indices.fill_null(-1).to_numpy()
        is_frame = np.flatnonzero(codes >= 0)
        order = is_frame[pc.sort_indices(self._names.take(pa.array(is_frame))).to_numpy()]
        order = order[np.argsort(codes[order], kind="stable")]
        starts = np.searchsorted(codes[order], np.arange(1, len(videos.dictionary)))
        return dict(zip(map(to_text, videos.dictionary.to_pylist()), np.split(order, starts)))

    def _done_frames(self, video: str) -> np.ndarray:
        rows = self._films.get(video, np.empty(0, np.int64))
        return rows[self._is_done[rows]]

    @cached_property
    def _is_done(self) -> np.ndarray:
        return self.is_status(DONE)

    @cached_property
    def _is_frame(self) -> np.ndarray:
        return self._videos.is_valid().to_numpy(zero_copy_only=False)

    def _names_at(self, rows: np.ndarray) -> list[str]:
        return [to_text(name) for name in self._names.take(pa.array(rows)).to_pylist()]

    def _named(self, order: np.ndarray, names: Collection[str] | None) -> np.ndarray:
        if names is None:
            return order
        wanted = pa.array(sorted(map(to_bytes, names)), pa.binary())
        return order[pc.is_in(self._names.take(pa.array(order)), wanted).to_numpy(zero_copy_only=False)]

    def _order(self, status: str | None) -> np.ndarray:
        chosen = np.arange(len(self)) if status is None else np.flatnonzero(self.is_status(status))
        return chosen[pc.sort_indices(self._names.take(pa.array(chosen))).to_numpy()]

    def _chunk(self, order: np.ndarray, groups: KeptGroups) -> list[PoseResult]:
        found: list[PoseResult | None] = [None] * len(order)
        rows = self._rows(order, None)
        for number in np.unique(self._source_of[order]):  # file by file, so that few groups are in memory
            source = self._sources[number]
            for position in np.flatnonzero(self._source_of[order] == number):
                found[position] = source.result(rows[position], int(self._row_of[order[position]]), groups)
        return [result._replace(keypoint_set=self.keypoint_set) for result in found if result is not None]

    def _rows(self, order: np.ndarray, columns: list[str] | None) -> list[dict[str, Any]]:
        """Rows of pictures as dicts, in that order."""
        rows: list[dict[str, Any]] = [{}] * len(order)
        for number in np.unique(self._source_of[order]):
            positions = np.flatnonzero(self._source_of[order] == number)
            table = self._sources[number].rows(self._row_of[order[positions]], columns)
            for position, row in zip(positions, table.to_pylist()):
                rows[position] = row
        return rows


def _latest(names: pa.ChunkedArray, generations: pa.ChunkedArray) -> np.ndarray:
    """Of each name the row of the latest generation, of those the last; in the order of the rows."""
    codes = pa.concat_arrays(names.chunks).dictionary_encode()
    indices = codes.indices.to_numpy()
    if len(codes.dictionary) == len(indices):
        return np.arange(len(indices))
    last = np.zeros(len(codes.dictionary), np.int64)
    order = np.argsort(generations.to_numpy(), kind="stable")
    last[indices[order]] = order  # of several values for one place, the last stays
    return np.sort(last)
