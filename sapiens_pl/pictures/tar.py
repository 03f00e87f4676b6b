"""Tars as WebDataset and img2dataset write them: each picture a member, read from its place in the tar."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sapiens_pl.core.columns import Names, NamesBuilder
from sapiens_pl.core.errors import (
    ConfigError,
    MissingImageError,
    RemoteError,
    SapiensError,
    StoreRefusedError,
    UnreadableImageError,
)
from sapiens_pl.core.left_out import LeftOut
from sapiens_pl.core.plan import Pictures, ShardColumns
from sapiens_pl.core.remote import hidden, is_url, reading
from sapiens_pl.core.structures import Failure, LoadedImage
from sapiens_pl.core.wording import one_line, shortened
from sapiens_pl.pictures import MAX_MEGAPIXELS, scratch
from sapiens_pl.pictures.ahead import Ahead, Request
from sapiens_pl.pictures.by_shards import ByShards
from sapiens_pl.pictures.carrying import carried_values
from sapiens_pl.pictures.downloads import not_downloaded
from sapiens_pl.pictures.kept_indexes import has_index, places_in_tar, tar_index
from sapiens_pl.pictures.reading import check_num_bytes, image_of
from sapiens_pl.pictures.shard_files import list_shards, shard_failure
from sapiens_pl.pictures.stored import OpenFiles, is_copied, is_file, stamp_at
from sapiens_pl.pictures.tar_index import NO_NOTE, SHARED_NOTE, TarIndex

_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst", ".tar.lz4")
"""Compressed ones are looked for as well, to be refused by name."""
_MOST_NOTE_BYTES = 1 << 26
_MOST_AHEAD = 1 << 26


class TarShards(ByShards):
    """Pictures in tars (`conf/sources/tar.yaml`).

    A picture is called by its tar and its path inside that: `00000.tar/a/0.jpg`. `tar_index` finds out what belongs
    together; rows of img2dataset's `00000.parquet` that were not downloaded are pictures that cannot be read.

    Args:
        images: tars, as for `list_shards`.
        max_megapixels: larger pictures are refused.
        scratch_gib: as for `scratch.begin`, where they lie behind URLs.
        carry: fields of the samples' `.json` that come with each picture.

    Raises:
        ConfigError: there are no such tars.
    """

    def __init__(
        self,
        images: str,
        max_megapixels: float = MAX_MEGAPIXELS,
        scratch_gib: float | None = None,
        carry: Sequence[str] = (),
    ) -> None:
        self._images, self._max_megapixels, self._carry = images, max_megapixels, tuple(carry)
        super().__init__(list_shards(images, _SUFFIXES, ".tar"), scratch_gib)

    def _forget(self) -> None:
        self._open, self._ahead = OpenFiles(), Ahead()
        self._pictures: Pictures | None = None
        self._indexes: list[TarIndex] = []
        self._tars: list[str] = []
        self._missing: dict[int, str] = {}

    def ahead(self, indices: Sequence[int]) -> None:
        """Starts to read pictures that will be asked for, where each takes a request; all others are dropped."""
        keys = [key for index in indices for key in ((index, _note_of(index)) if self._carry else (index,))]
        self._ahead.want({key: begin for key in keys if (begin := self._request(key)) is not None})

    def pictures(self) -> Pictures:
        """The pictures in the tars at the time of the first call."""
        if self._pictures is None:
            self._pictures = self._list()
        return self._pictures

    def read(self, index: int) -> LoadedImage:
        """The picture at this position; SapiensError with a sentence if it cannot be read."""
        pictures = self.pictures()
        path = pictures.path(index)
        if index in self._missing:
            raise MissingImageError(f"{path} {self._missing[index]}")
        tar, place = self._place(index)
        coming = self._ahead.take(index)
        if coming is not None:
            image = image_of(coming.result, path, self._max_megapixels)
        else:
            image = _read(self._open, self._tars[tar], self._indexes[tar], place, path, self._max_megapixels)
        return image._replace(carried=self._carried(index, tar, place)) if self._carry else image

    def _carried(self, index: int, tar: int, place: int) -> tuple[str | None, ...]:
        start, size = self._indexes[tar].notes[place].tolist()
        if start < 0:  # there is none, or it is that of several pictures
            return (None,) * len(self._carry)
        coming = self._ahead.take(_note_of(index))
        try:
            note = self._note(tar, start, size) if coming is None else _parsed(coming.result())
        except (OSError, SapiensError) as error:
            why = f"cannot be read ({one_line(error)}); run again."
            raise UnreadableImageError(f"The .json beside {self.pictures().path(index)} {why}") from None
        return carried_values(note, self._carry)

    def _request(self, key: int) -> Request | None:
        """Of a picture, or its note; None for what is on the disk, or cannot be read."""
        index = key if key >= 0 else _note_of(key)
        if index in self._missing:
            return None
        tar, place = self._place(index)
        url, tars = self._tars[tar], self._indexes[tar]
        start, size = (tars.starts[place], tars.sizes[place]) if key >= 0 else tars.notes[place]
        start, size = int(start), int(size)
        if not is_url(url) or tars.why_not(place) or not 0 < size < _MOST_AHEAD or is_copied(url, tars.stamp):
            return None
        if start < 0:
            return None
        return Request(size, lambda: reading(url, start, start + size))

    @staticmethod
    def read_path(path: str, max_megapixels: float) -> LoadedImage:
        """The picture at this path: that of its tar, and behind it the member's."""
        tar = _tar_of(path)
        try:
            index, places = places_in_tar(tar, stamp_at(tar))
        except (RemoteError, StoreRefusedError):
            raise
        except (OSError, SapiensError) as error:
            raise UnreadableImageError(f"{tar} {error}") from None
        place = places.get(path[len(tar) + 1 :])
        if place is None:
            raise MissingImageError(f"{path} is not in its tar; fetch that again.")
        return _read(_OPEN, tar, index, place, path, max_megapixels)

    def values(self, columns: Collection[str]) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
        """What the samples' `.json` say; as `core.plan.Samples`."""
        begins = self._begins()
        for tar, index in enumerate(self._indexes):
            noted = np.flatnonzero(index.notes[:, 0] != NO_NOTE)
            for place, (start, size) in zip(noted.tolist(), index.notes[noted].tolist()):
                if start == SHARED_NOTE:
                    yield int(begins[tar]) + place, "is that of several pictures, and does not say of which"
                else:
                    yield int(begins[tar]) + place, self._note(tar, start, size)

    def _note(self, tar: int, start: int, size: int) -> dict[str, Any] | str:
        if size > _MOST_NOTE_BYTES:
            return f"has {size} bytes, more than a note may have"
        try:
            data = self._open.get(self._tars[tar], self._indexes[tar].stamp).read_at(start, size)
        except (OSError, SapiensError) as error:
            raise ConfigError(shard_failure("", self._tars[tar], error).message) from None
        return _parsed(data)

    def _place(self, index: int) -> tuple[int, int]:
        """Which tar, and where in its index."""
        begins = self._begins()
        tar = int(begins.searchsorted(index, side="right")) - 1
        return tar, index - int(begins[tar])

    def _begins(self) -> np.ndarray:
        shards = self.pictures().shards
        assert shards is not None
        return shards.begins

    def _list(self) -> Pictures:
        files, names, paths, begins = self._files, NamesBuilder(), NamesBuilder(), [0]
        failures: list[Failure] = []
        left_out, tars = LeftOut(), list[str]()
        scratch.want_all(files.paths)
        for tar, path in zip(files.names, files.paths):
            try:
                with scratch.at_hand(path, even_so=is_url(path) and not has_index(path)):
                    index = tar_index(path)
                lost = not_downloaded(path, index.names)
            except StoreRefusedError:
                raise
            except (OSError, SapiensError) as error:
                failures.append(shard_failure(tar, path, error))
                continue
            if index.damage:
                failures.append(shard_failure(tar, path, index.damage))
            left_out.files |= {f"{tar}/{name}": kind for name, kind in index.all_left_out()}
            self._missing |= {begins[-1] + len(index.names) + place: why for place, why in enumerate(lost.values())}
            self._indexes.append(index)
            self._tars.append(path)
            tars.append(tar)
            for name in (*index.names, *lost):
                names.add(f"{tar}/{name}")
                paths.add(f"{hidden(path)}/{name}")
            begins.append(begins[-1] + len(index.names) + len(lost))
        if begins[-1] == 0 and not self._is_part:
            self._refuse(failures, left_out)
        below = all(path == os.path.join(files.root, name) for name, path in zip(files.names, files.paths))
        return Pictures(
            files.root,
            names.build(),
            files.complete,
            tuple(failures),
            left_out,
            paths=None if below else paths.build(),
            dealt_whole=np.array(begins, np.int64),
            shards=ShardColumns(Names.of(tars), np.array(begins, np.int64), has_suffixes=True),
            samples=self,
        )

    def _refuse(self, failures: list[Failure], left_out: LeftOut) -> None:
        said = [failure.message for failure in failures[:1]] + left_out.sentences()
        raise ConfigError(" ".join([f"data.images={shortened(str(self._images))} holds no pictures.", *said]))


def _note_of(index: int) -> int:
    """The key of a picture's note beside those of pictures, and the other way round."""
    return -1 - index


def _parsed(note: bytes) -> dict[str, Any] | str:
    try:
        values = json.loads(note)
    except (ValueError, RecursionError) as error:
        return f"is not JSON ({one_line(error)})"
    return values if isinstance(values, dict) else "is not a JSON object"


def _tar_of(path: str) -> str:
    """The tar that a picture's path begins with."""
    tar = path
    if is_url(path):
        beginnings = [path[: match.end() - 1] for match in re.finditer(r"\.tar/", path, re.IGNORECASE)]
        tar = next(filter(is_file, beginnings), "")
    while not is_url(tar) and not os.path.isfile(tar):
        if tar == os.path.dirname(tar):
            raise MissingImageError(f"{path} is not there; no part of it is a tar.")
        tar = os.path.dirname(tar)
    return tar


_OPEN = OpenFiles()
"""Of `read_path`."""


def _read(files: OpenFiles, tar: str, index: TarIndex, place: int, path: str, max_megapixels: float) -> LoadedImage:
    def read() -> bytes:
        why = index.why_not(place)
        if why is not None:
            raise why
        size = int(index.sizes[place])
        check_num_bytes(size, max_megapixels)
        data = files.get(tar, index.stamp).read_at(int(index.starts[place]), size)
        if len(data) < size:
            raise UnreadableImageError("cannot be found any more, as its tar has become shorter; run again.")
        return data

    return image_of(read, path, max_megapixels)
