"""A part or a journal as the reading side sees it: rows of pictures, and their people in groups."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.records.footers import Footer
from sapiens_pl.records.journal import Journal
from sapiens_pl.records.part_files import Part, is_whole
from sapiens_pl.records.schema import People, people_schema
from sapiens_pl.records.store import FOLDER, Store, StoreFile, check_mark, label_of, live, read_store, store_files

T = TypeVar("T")

_GROUPS_KEPT = 16
"""Groups of people in memory, of up to 4 MB each."""
_TRIES = 20


class KeptGroups:
    """The groups of people that were read last."""

    def __init__(self) -> None:
        self._groups: OrderedDict[tuple[int, int], People] = OrderedDict()

    def get(self, key: tuple[int, int], read: Callable[[], People]) -> People:
        group = self._groups.pop(key, None)
        self._groups[key] = group = read() if group is None else group
        if len(self._groups) > _GROUPS_KEPT:
            self._groups.popitem(last=False)
        return group


class Source:
    """One file of the store whose rows count.

    Raises:
        ConfigError: it is damaged, or belongs to another run.
        FileNotFoundError: its rows are in another part now; the methods raise it too, for a part.
    """

    def __init__(self, file: StoreFile, store: Store) -> None:
        self._num_keypoints, self._carry = store.keypoint_set.num_keypoints, store.carry
        self._schema = people_schema(self._num_keypoints, self._carry)
        self._held: Part | Journal
        if file.kind == "journal":
            self._held = _open_journal(file)
            if self._held.header:
                check_mark(file.path, self._held.header, store)
        else:
            self._held = Part(file.path, store.carry)
            try:
                check_mark(file.path, self._held.mark, store)
            except ConfigError as error:
                if file.digest is None or is_whole(file.path, file.digest):
                    raise
                raise self._held.damaged(error) from None
        self._starts: np.ndarray | None = None

    @property
    def is_journal(self) -> bool:
        return isinstance(self._held, Journal)

    @property
    def footer(self) -> Footer | None:
        """None where there is no picture in it."""
        if isinstance(self._held, Part):
            return self._held.footer if sum(self._held.picture_counts) else None
        if not self._held.pictures.num_rows:
            return None
        ends = pc.min_max(self._held.pictures.column("name"))
        return Footer(ends["min"].as_py(), ends["max"].as_py())

    @cached_property
    def _group_starts(self) -> np.ndarray:
        return np.cumsum([0, *self._held.people_counts])

    def pictures(self, columns: list[str]) -> pa.Table:
        """All rows; some columns of them."""
        if isinstance(self._held, Journal):
            return self._held.pictures.select(columns)
        return self._held.pictures(columns)

    def rows(self, indices: np.ndarray, columns: list[str] | None) -> pa.Table:
        """Some rows of pictures, in that order."""
        if isinstance(self._held, Journal):
            table = self._held.pictures
        else:
            starts = np.cumsum([0, *self._held.picture_counts])
            groups = np.searchsorted(starts, indices, side="right") - 1
            touched = np.unique(groups)
            table = pa.concat_tables([self._held.picture_group(int(group)) for group in touched])
            before = np.cumsum([0, *(starts[touched + 1] - starts[touched])])
            indices = before[np.searchsorted(touched, groups)] + indices - starts[groups]
        return (table if columns is None else table.select(columns)).take(pa.array(indices))

    def result(self, picture: dict[str, Any], row: int, groups: KeptGroups) -> PoseResult:
        """One picture with its people, which may lie in more than one group.

        Args:
            picture: its row, as a dict.
            row: which row it is.
        """
        if not picture["num_people"]:
            return People.none(self._num_keypoints, self._carry).result(picture, slice(0, 0))
        if self._starts is None:
            counts = self.pictures(["num_people"]).column(0).to_numpy()
            self._starts = np.cumsum(counts) - counts
        start = int(self._starts[row])
        stop = start + picture["num_people"]
        first = int(np.searchsorted(self._group_starts, start, side="right")) - 1
        last = int(np.searchsorted(self._group_starts, stop, side="left")) - 1
        pieces = []
        for group in range(first, last + 1):
            begin, end = (int(number) for number in self._group_starts[group : group + 2])
            people = groups.get((id(self), group), lambda group=group: self._people(group))  # type: ignore[misc]
            pieces.append(people.result(picture, slice(max(start, begin) - begin, min(stop, end) - begin)))
        return pieces[0] if len(pieces) == 1 else _joined(pieces)

    def _people(self, group: int) -> People:
        if isinstance(self._held, Journal):
            return People(self._held.people(group, self._schema), self._num_keypoints, self._carry)
        try:
            return People(self._held.people(group), self._num_keypoints, self._carry)
        except ValueError as error:  # damage that no checksum covers
            raise self._held.damaged(error) from None


def read_live(
    folder: Path, shards: Collection[str] | None, read: Callable[[Store, list[StoreFile]], T], nothing: T
) -> T:
    """Reads the files whose rows count; again if one of them is removed meanwhile.

    Args:
        folder: the run's.
        shards: only those in which pictures of these tars or tables may stand. None: all.
        read: raises FileNotFoundError where a file has gone.
        nothing: returned if there is no store.

    Raises:
        ConfigError: a file is damaged, or belongs to another run.
    """
    records = folder / FOLDER
    store = read_store(records)
    if store is None:
        if any(live(store_files(records))):
            raise ConfigError(
                f"{records} holds records, but no store.json that says with which settings they were made; put it "
                "back, choose another output.dir, or set output.overwrite=true to start over."
            )
        return nothing
    labels = None if shards is None else {None, *map(label_of, shards)}
    for _ in range(_TRIES):
        # A journal may become a part meanwhile: the listing that shows it gone shows the part.
        files = [file for file in live(store_files(records)) if labels is None or file.label in labels]
        try:
            return read(store, files)
        except FileNotFoundError:
            continue
    raise ConfigError(f"{records} changes faster than it can be read; read it when the run has ended.")


def _open_journal(file: StoreFile) -> Journal:
    try:
        return Journal(file.path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"{file.path} cannot be read ({error.strerror}); fix that and run again.") from None


def _joined(pieces: list[PoseResult]) -> PoseResult:
    return pieces[0]._replace(
        keypoints=np.concatenate([piece.keypoints for piece in pieces]),
        keypoint_scores=np.concatenate([piece.keypoint_scores for piece in pieces]),
        bboxes=np.concatenate([piece.bboxes for piece in pieces]),
        bbox_scores=np.concatenate([piece.bbox_scores for piece in pieces]),
        instance_ids=np.concatenate([piece.instance_ids for piece in pieces]),
        track_ids=None if pieces[0].frame is None else np.concatenate([piece.track_ids for piece in pieces]),
    )
