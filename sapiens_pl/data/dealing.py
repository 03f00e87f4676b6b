"""Who gets which of some pictures: those that are left, dealt to the runs that share a folder, and to their ranks.

Legend: P pictures, T tasks, n some of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sapiens_pl.boxes.matching import DealtImages
from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.left_out import LeftOut
from sapiens_pl.core.plan import Tasks
from sapiens_pl.core.protocols import BoxedImages, PictureSource
from sapiens_pl.core.structures import Failure
from sapiens_pl.data.handed_in import FinishedCheck
from sapiens_pl.data.packing import shard_images
from sapiens_pl.data.portions import PlanCounts, Portion
from sapiens_pl.data.stretches import dealt_together


class Taker(NamedTuple):
    """Who takes a share of the pictures: a rank of one of several runs with one output folder."""

    shard: int = 0
    num_shards: int = 1
    rank: int = 0
    world_size: int = 1

    @property
    def is_first(self) -> bool:
        return self.shard == 0 and self.rank == 0

    @property
    def is_alone(self) -> bool:
        return self.num_shards * self.world_size == 1

    def shards_of(self, count: int) -> np.ndarray:
        """The numbers of its tars or tables, of so many."""
        return np.arange(self.shard, count, self.num_shards)[self.rank :: self.world_size]


def dealt_already(source: PictureSource, boxed: DealtImages, of_boxes: np.ndarray, finished: FinishedCheck) -> Portion:
    """The images as the box source has divided them."""
    tasks, of_boxes = boxed.tasks, of_boxes[boxed.tasks.indices]
    found = finished(tasks.names, of_boxes)
    failed = sum(row.instance_id is None for row in boxed.failures)
    counts = PlanCounts(
        dealt=len(tasks) + boxed.num_without_boxes + failed + boxed.num_done_before + boxed.num_failed_before,
        images=len(tasks),
        crops=int(tasks.num_boxes.sum()),
        done_before=boxed.num_done_before,
        failed_before=boxed.num_failed_before,
        without_boxes=boxed.num_without_boxes,
    )
    again = list(tasks.names.select(np.flatnonzero(found.again)))
    share = np.arange(len(tasks))
    return Portion(source, tasks, of_boxes, share, [], boxed.failures, counts, again, LeftOut())


def dealt(
    source: PictureSource,
    boxed: BoxedImages,
    of_boxes: np.ndarray,
    finished: FinishedCheck,
    agree: Callable[[Names], Names],
    taker: Taker,
) -> Portion:
    """What is left, divided among the ranks.

    Args:
        of_boxes: (P,) uint64, digests of all pictures' boxes.
        agree: given what this rank finds left, gives what all ranks take for that.

    Raises:
        ConfigError: a picture that another rank has found is not there.
    """
    tasks = boxed.tasks
    of_boxes = of_boxes[tasks.indices]
    found = finished(tasks.names, of_boxes)
    mine = _own_share(tasks, taker)
    left = _agreed(tasks.names, mine, found.either, agree)
    planned = tasks.select(left)
    together = dealt_together(tasks.pictures, planned.indices, taker.world_size)
    shares = shard_images(planned.num_boxes, taker.world_size, together)
    share = shares[taker.rank]
    failures = _own_failures(boxed, mine, found.either, finished, taker)
    done_before = int(found.done[mine].sum()) if taker.rank == 0 else 0  # said once
    failed_before = len(mine) - len(left) - done_before if taker.rank == 0 else 0
    counts = PlanCounts(
        dealt=len(share) + done_before + failed_before,
        images=len(share),
        crops=int(planned.num_boxes[share].sum()),
        done_before=done_before,
        failed_before=failed_before,
    )
    return Portion(
        source,
        planned,
        of_boxes[left],
        share,
        [planned.names.select(each) for each in shares] if taker.world_size > 1 else [planned.names],
        _of_rank(failures, planned, shares, taker.rank),
        counts,
        list(planned.names.select(share[found.again[left][share]])),
        LeftOut(),
    )


def _own_share(tasks: Tasks, taker: Taker) -> np.ndarray:
    """Positions of the shard's tasks, dealt from all there are: a restart must deal as the first start did."""
    together = dealt_together(tasks.pictures, tasks.indices, taker.num_shards)
    return shard_images(tasks.num_boxes, taker.num_shards, together)[taker.shard]


def _agreed(names: Names, mine: np.ndarray, finished: np.ndarray, agree: Callable[[Names], Names]) -> np.ndarray:
    """Positions of the tasks that are left to do, in the order that all ranks have them in.

    Raises:
        ConfigError: one of them is not there.
    """
    left = mine[~finished[mine]]
    found = names if len(left) == len(names) else names.select(left)
    wanted = agree(found)
    return left if wanted == found else mine[positions_of(wanted, names.select(mine))]


def _own_failures(
    boxed: BoxedImages, mine: np.ndarray, is_finished: np.ndarray, finished: FinishedCheck, taker: Taker
) -> list[Failure]:
    """Failures of the shard's images that are not finished; those of names that no image has are shard 0's."""
    if not boxed.failures:
        return []
    of = Names.of(row.image for row in boxed.failures)
    positions = boxed.tasks.names.positions(of)
    is_mine = np.zeros(len(is_finished) + 1, bool)  # the last one is that of position -1
    is_mine[mine] = ~is_finished[mine]
    kept = is_mine[positions]
    if taker.shard == 0:
        nowhere = np.flatnonzero(positions < 0)
        on_record = finished(of.select(nowhere), None)
        kept[nowhere] = ~(on_record.either | on_record.absent)
    return [row for row, keep in zip(boxed.failures, kept.tolist()) if keep]


def _of_rank(failures: list[Failure], tasks: Tasks, shares: list[np.ndarray], rank: int) -> list[Failure]:
    """Boxes that failed are of the rank that has their picture; all else is of the first one."""
    owners = np.zeros(len(tasks) + 1, np.int64)  # the last one is that of position -1
    for owner, share in enumerate(shares):
        owners[share] = owner
    of = owners[tasks.names.positions(Names.of(row.image for row in failures))]
    return [row for row, owner in zip(failures, of.tolist()) if owner == rank]


def positions_of(names: Names, among: Names) -> np.ndarray:
    """(n,) int64: where each name stands.

    Raises:
        ConfigError: one of them is not there.
    """
    positions = among.positions(names)
    if (positions < 0).any():
        gone = names[int(np.flatnonzero(positions < 0)[0])]
        raise ConfigError(f"{gone} was removed while the run was starting; run the same command again.")
    return positions
