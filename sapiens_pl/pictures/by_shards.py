"""What sources of tars and of tables share: the shards, some of them at a time, and their copies from behind URLs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy
from typing import TypeVar

from sapiens_pl.core.remote import is_url
from sapiens_pl.pictures import scratch
from sapiens_pl.pictures.shard_files import ShardFiles

Source = TypeVar("Source", bound="ByShards")


class ByShards(ABC):
    """A source that has shards, as `core.protocols.ShardedSource`.

    Args:
        files: the shards.
        scratch_gib: the most disk space that their copies may take, GiB; None: half of what is free.
    """

    def __init__(self, files: ShardFiles, scratch_gib: float | None) -> None:
        self._files, self._is_part = files, False
        self._forget()
        if any(map(is_url, files.paths[:1])):
            scratch.begin(scratch_gib)

    @abstractmethod
    def _forget(self) -> None:
        """Starts again with `_files`, about which nothing is known yet."""

    def shard_names(self) -> Sequence[str]:
        """The shards in their order; none of them is opened."""
        return self._files.names

    def shard_stamp(self, number: int) -> str | None:
        """Equal as long as the file is unchanged; None: unknown."""
        return self._files.stamp(number)

    def some_shards(self: Source, numbers: Sequence[int]) -> Source:
        """A source of these shards, which may hold no pictures at all."""
        part = copy(self)
        part._files, part._is_part = self._files.some(numbers), True
        part._forget()
        return part

    def bytes_at_urls(self) -> int | None:
        """The size of the files that are copied in order to be read (`scratch`); None for files on a disk."""
        return self._files.bytes_at_urls()

    def release(self) -> None:
        """Removes the copies of shards from behind URLs, whose pictures are all read."""
        scratch.drop(filter(is_url, self._files.paths))
