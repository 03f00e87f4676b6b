"""What is known to be wrong before any picture is read: each failure finds the record that it belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import UnreadableFolderError, UnreadableShardError
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.plan import Pictures, Tasks
from sapiens_pl.core.structures import Failure, PoseResult, ShardMember
from sapiens_pl.data.portions import Portion, Portions

_NO_PICTURES = (UnreadableFolderError.__name__, UnreadableShardError.__name__)
"""Failures of what holds pictures."""


class PlannedFailures:
    """Those of one process.

    Attributes:
        of_pictures: why pictures give nothing as a whole.
        of_no_picture: folders that cannot be listed, and boxes that no picture has.

    Args:
        failures: of the plan.
        names: of the pictures that are to be done.
    """

    def __init__(self, failures: Iterable[Failure], names: Names) -> None:
        self.of_pictures: list[Failure] = []
        self.of_no_picture: list[Failure] = []
        self._of_boxes: dict[int, list[Failure]] = {}
        failures = list(failures)
        positions = names.positions(Names.of(failure.image for failure in failures)) if failures else np.zeros(0)
        for failure, position in zip(failures, positions.tolist()):
            if failure.instance_id is not None and position >= 0:
                self._of_boxes.setdefault(position, []).append(failure)
            elif failure.instance_id is None and failure.error not in _NO_PICTURES:
                self.of_pictures.append(failure)
            else:
                self.of_no_picture.append(failure)

    def added_to(self, index: int, result: PoseResult) -> PoseResult:
        """The result of a picture with the failures of its boxes, those of the plan first."""
        return result._replace(failures=(*self._of_boxes.pop(index, ()), *result.failures))


class PortionsAtWork(Portions):
    """Portions whose pictures are still to come, with the failures of the plan."""

    def __init__(self) -> None:
        super().__init__()
        self._failures: dict[int, PlannedFailures] = {}
        self._left: dict[int, int] = {}
        self._dropped: list[Portion] = []

    def add(self, portion: Portion) -> PlannedFailures:  # type: ignore[override]
        """Adds a portion, and returns what is known to be wrong with it."""
        failures = PlannedFailures(portion.failures, portion.tasks.names)
        if len(portion.share):
            super().add(portion)
            self._failures[portion.first], self._left[portion.first] = failures, len(portion.share)
        else:
            portion.let_go()
            self._dropped.append(portion)
        return failures

    def completed(self, finished: Sequence[tuple[int, PoseResult]]) -> tuple[list[PoseResult], list[int]]:
        """The results of some pictures by their numbers, with the failures of their boxes; and the boxes' digests."""
        results, digests = [], []
        for number, result in finished:
            portion = self.of(number)
            results.append(self._failures[portion.first].added_to(number - portion.first, result))
            digests.append(int(portion.digests[number - portion.first]))
            self._left[portion.first] -= 1
            if not self._left[portion.first]:
                self.drop(portion)
                del self._failures[portion.first], self._left[portion.first]
                self._dropped.append(portion)
        return results, digests

    def dropped(self) -> list[Portion]:
        """Portions of which all pictures have come since the last call."""
        dropped, self._dropped = self._dropped, []
        return dropped


def failed_result(failure: Failure, keypoint_set: KeypointSet) -> PoseResult:
    """The record of a picture that gives nothing."""
    count = keypoint_set.num_keypoints
    return PoseResult(
        path="",
        keypoints=np.zeros((0, count, 2), np.float32),
        keypoint_scores=np.zeros((0, count), np.float32),
        bboxes=np.zeros((0, 4)),
        bbox_scores=np.zeros(0),
        instance_ids=np.zeros(0, np.int64),
        image_wh=None,
        name=failure.image,
        failures=(failure,),
    )


def members_of(pictures: Pictures, names: Sequence[str]) -> list[ShardMember | None]:
    """Which samples of tars or tables the pictures of these names are; None for pictures of other sources."""
    if pictures.shards is None or not names:
        return [None] * len(names)
    positions = pictures.names.positions(Names.of(names)).tolist()
    return [None if position < 0 else pictures.member(position) for position in positions]


def pictures_by_shard(tasks: Tasks) -> dict[str, int]:
    """How many of the tasks are of each tar or table; nothing where they are from none."""
    shards = tasks.pictures.shards
    if shards is None:
        return {}
    numbers = np.searchsorted(shards.begins, tasks.indices, side="right") - 1
    found, counts = np.unique(numbers, return_counts=True)
    return {shards.names[number]: count for number, count in zip(found.tolist(), counts.tolist())}
