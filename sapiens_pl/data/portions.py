"""Portions of a run: pictures that are planned together, all there are or those of some whole tars.

Each rank numbers the tasks of its portions through, so that a picture is known by one number as long as the run lasts.

Legend: T tasks of a portion, n of them this rank's.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from sapiens_pl.core.columns import Names
from sapiens_pl.core.left_out import LeftOut
from sapiens_pl.core.not_counted import RowsNotCounted
from sapiens_pl.core.plan import Tasks
from sapiens_pl.core.protocols import PictureSource
from sapiens_pl.core.structures import Failure, ImageTask, LoadedImage


class PlanCounts(NamedTuple):
    """What is planned for one process: images, and whole tars or tables where the plan is made of these.

    `listed` are all images that were looked at, `dealt` this process's part of them, whatever has become of them,
    `images` and `crops` what it has to do. Of what it need not do, `done_before` and `failed_before` are of earlier
    runs; `failed` ones give nothing, as is known already. `without_boxes` should have got boxes and have not: the run
    was stopped before.
    """

    listed: int = 0
    dealt: int = 0
    images: int = 0
    crops: int = 0
    done_before: int = 0
    failed_before: int = 0
    failed: int = 0
    without_boxes: int = 0
    shards: int = 0

    def plus(self, other: PlanCounts) -> PlanCounts:
        return PlanCounts(*map(sum, zip(self, other)))

    @property
    def to_do(self) -> int:
        """All images that will have an outcome, those that failed before they are read too."""
        return self.images + self.without_boxes + self.failed


class ShardState(NamedTuple):
    """A whole tar or table, as it was when it was looked at, and what is known of its pictures by earlier runs."""

    name: str
    stamp: str
    num_pictures: int
    num_done: int
    num_failed: int

    def with_outcomes(self, outcomes: Mapping[str, int]) -> ShardState:
        """The state after this run; `outcomes` has the numbers of pictures that are `done` and `failed`."""
        num_done, num_failed = self.num_done + outcomes.get("done", 0), self.num_failed + outcomes.get("failed", 0)
        return self._replace(num_done=num_done, num_failed=num_failed)

    @property
    def is_whole(self) -> bool:
        """Whether all of its pictures have their outcome."""
        return self.num_done + self.num_failed == self.num_pictures


class Portion(NamedTuple):
    """What is planned together.

    `tasks` are all that the ranks have left of it, the first of them is number `first` of the run; `digests` (T,)
    uint64 are those of their boxes, `share` (n,) int64 the positions of this rank's, `shares` the names of every
    rank's. `failures` is what went wrong before any image was read. `again` are the tasks' names that had a result
    before. `shards`: the whole tars that it consists of, without those that are damaged. `look`, where people are still
    to be looked for in its pictures: given this portion, does that and gives the one with their boxes.
    """

    source: PictureSource
    tasks: Tasks
    digests: np.ndarray
    share: np.ndarray
    shares: list[Names]
    failures: list[Failure]
    counts: PlanCounts
    again: list[str]
    left_out: LeftOut
    not_counted: RowsNotCounted | None = None
    first: int = 0
    shards: tuple[ShardState, ...] = ()
    is_last: bool = True
    look: Callable[[Portion], Portion] | None = None

    @property
    def end(self) -> int:
        """The number behind that of its last task."""
        return self.first + len(self.tasks)

    def with_people(self) -> Portion:
        """The same, with the boxes of all its pictures; only the main thread may ask for it."""
        return self if self.look is None else self.look(self)

    def task(self, number: int) -> ImageTask:
        return self.tasks[number - self.first]

    def read(self, number: int) -> LoadedImage:
        """Reads the picture of a task."""
        return self.source.read(int(self.tasks.indices[number - self.first]))

    def let_go(self) -> None:
        """Its pictures are no longer needed: copies from URLs are removed."""
        release = getattr(self.source, "release", None)
        if release is not None:
            release()


class Portions:
    """Some portions, in which pictures are looked up by their number in the run."""

    def __init__(self, portions: Iterable[Portion] = ()) -> None:
        self._portions: list[Portion] = []
        self._firsts: list[int] = []
        for portion in portions:
            self.add(portion)

    def add(self, portion: Portion) -> None:
        """Adds a portion after the others."""
        assert not self._portions or portion.first >= self._portions[-1].end
        if len(portion.tasks):
            self._portions.append(portion)
            self._firsts.append(portion.first)

    def drop(self, portion: Portion) -> None:
        """Forgets one, and lets its source go."""
        place = self._firsts.index(portion.first)
        del self._portions[place], self._firsts[place]
        portion.let_go()

    def of(self, number: int) -> Portion:
        """The one that has the task of this number."""
        return self._portions[bisect_right(self._firsts, number) - 1]

    def __getitem__(self, number: int) -> ImageTask:
        return self.of(number).task(number)
