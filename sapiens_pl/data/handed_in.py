"""What a run hands to its data: which of the processes it is, and what need not be done again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch

from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.not_counted import RowsNotCounted
from sapiens_pl.core.plan import Pictures, Tasks
from sapiens_pl.core.protocols import PictureSource
from sapiens_pl.core.structures import Failure
from sapiens_pl.data.portions import ShardState


class Place(NamedTuple):
    """Which of all processes this one is, how many of them share this machine, and what its network runs on."""

    rank: int = 0
    world_size: int = 1
    ranks_here: int = 1
    device: torch.device = torch.device("cpu")


class Finished(NamedTuple):
    """(T,) bool each: pictures with a result, others that failed and wait, those on record as not there yet, and those
    that have a result and are done again."""

    done: np.ndarray
    failed: np.ndarray
    absent: np.ndarray
    again: np.ndarray

    @property
    def either(self) -> np.ndarray:
        return self.done | self.failed


FinishedCheck = Callable[..., Finished]
"""Called with the names of pictures and the digests of their boxes (`digests.digests`), None where the boxes are not
known yet, and about names that only a box file has: is it on record already that they are missing? A third argument
are the names of the only tars and tables that the pictures are from."""


def nothing_finished(names: Names, boxes: np.ndarray | None, shards: Sequence[str] | None = None) -> Finished:
    none = np.zeros(len(names), bool)
    return Finished(none, none, none, none)


class Looking(Protocol):
    """The boxes of the pictures of some tars, where somebody has to look at these first.

    Attributes:
        not_counted: what has become of the boxes that this process has found.
    """

    not_counted: RowsNotCounted | None

    def known(self, pictures: Pictures, indices: np.ndarray) -> np.ndarray:
        """(n,) bool: which of some pictures have been looked at."""
        ...

    def tasks(self, pictures: Pictures, indices: np.ndarray) -> tuple[Tasks, list[Failure]]:
        """Those that have, with their boxes, and the boxes that cannot be used."""
        ...

    def look_at(self, source: PictureSource, pictures: Pictures, indices: np.ndarray) -> list[Failure]:
        """Looks at some, and gives those that cannot be read; what it comes not to, when the run is stopped, stays
        unknown. Only the main thread may call it.
        """
        ...


@runtime_checkable
class LooksAtShards(Protocol):
    """A box source that looks at pictures, of tars at some of them at a time."""

    def of_shards(self, shards: Sequence[str]) -> Looking:
        """The boxes of the pictures of these."""
        ...


class ShardLedger(Protocol):
    """Knows of which tars and tables all pictures have their outcome, so that these need not be opened."""

    def whole(self, stamps: Mapping[str, str]) -> dict[str, ShardState]:
        """Those of the shards that are whole, if their stamps are as they were then."""
        ...

    def knows_any(self) -> bool:
        """Whether an earlier run has gone through a shard, with boxes that were found in the same way."""
        ...


class _OpensAll:
    def whole(self, stamps: Mapping[str, str]) -> dict[str, ShardState]:
        return {}

    def knows_any(self) -> bool:
        return False


NO_LEDGER = _OpensAll()


def no_trial(max_memory_gib: float | None) -> int:
    raise ConfigError("data.batch_size=auto needs a network to try it with; give a number.")
