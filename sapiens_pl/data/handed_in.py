"""What a run hands to its data: which of the processes it is, and what need not be done again."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError


class Place(NamedTuple):
    """Which of all processes this one is, how many of them share this machine, and what its network runs on."""

    rank: int = 0
    world_size: int = 1
    ranks_here: int = 1
    device: torch.device = torch.device("cpu")


class Finished(NamedTuple):
    """(T,) bool each: pictures with a result, others that failed and wait, and those on record as not there yet."""

    done: np.ndarray
    failed: np.ndarray
    absent: np.ndarray

    @property
    def either(self) -> np.ndarray:
        return self.done | self.failed


FinishedCheck = Callable[[Names, "np.ndarray | None"], Finished]
"""Is asked with the names of pictures and the digests of their boxes (`digests.digests`); with None where nobody knows
the boxes yet, and about names that only a box file has: is it on record already that they are missing?"""


def nothing_finished(names: Names, boxes: np.ndarray | None) -> Finished:
    none = np.zeros(len(names), bool)
    return Finished(none, none, none)


def no_trial(max_memory_gib: float | None) -> int:
    raise ConfigError("data.batch_size=auto needs a network to try it with; give a number.")
