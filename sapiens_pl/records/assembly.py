"""Puts images together again from the batches that their boxes were spread over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sapiens_pl.core.errors import NonFiniteError
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.plan import Tasks
from sapiens_pl.core.structures import (
    NO_TRACK_ID,
    CropBatch,
    Failure,
    ImagePart,
    ImageTask,
    PosePrediction,
    PoseResult,
)
from sapiens_pl.data.portions import Portions


class _Pending:
    """What is known so far of one image; `missing` boxes have no outcome yet."""

    def __init__(self, num_boxes: int) -> None:
        self.missing = num_boxes
        self.image_wh: tuple[int, int] | None = None
        self.carried: tuple[str | None, ...] = ()
        self.failures: list[Failure] = []
        self.rows: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}


class ResultAssembler:
    """Collects predictions by image and box until every planned box of an image has its outcome.

    Args:
        tasks: all images of the run, as the batches' image indices count them; or those that are under way, by these
            indices.
        keypoint_set: the network's, for every result.
        carry: what the values are called that are carried along (`data.carry`).
    """

    def __init__(
        self, tasks: Tasks | Portions | Mapping[int, ImageTask], keypoint_set: KeypointSet, carry: Sequence[str] = ()
    ) -> None:
        self._tasks, self._keypoint_set, self._carry = tasks, keypoint_set, carry
        self._pending: dict[int, _Pending] = {}

    def add(self, batch: CropBatch, prediction: PosePrediction) -> list[tuple[int, PoseResult]]:
        """Takes one batch's outcome; returns (image index, result) of every image now complete."""
        for part in batch.parts:
            self._add_part(part)
        for row, image_index in enumerate(batch.image_indices):
            box_index = int(batch.box_indices[row])
            pending = self._pending[int(image_index)]
            scores = prediction.keypoint_scores[row]
            if np.isfinite(scores).all():
                pending.rows[box_index] = (batch.bboxes_xyxy[row], prediction.keypoints[row], scores)
            else:
                pending.failures.append(self._non_finite(int(image_index), box_index))
        complete = [part.span.image_index for part in batch.parts]
        return [(index, self._finish(index)) for index in dict.fromkeys(complete) if self._pending[index].missing == 0]

    def _add_part(self, part: ImagePart) -> None:
        index = part.span.image_index
        pending = self._pending.setdefault(index, _Pending(self._tasks[index].num_boxes))
        pending.missing -= part.span.stop - part.span.start
        pending.image_wh = part.image_wh or pending.image_wh
        pending.carried = part.carried or pending.carried
        # An image that breaks is found broken in each of its batches.
        pending.failures += [failure for failure in part.failures if failure not in pending.failures]

    def _non_finite(self, image_index: int, box_index: int) -> Failure:
        task = self._tasks[image_index]
        instance_id = int(task.instance_ids[box_index])
        message = (
            f"The network gave no finite numbers for box {instance_id} of {task.path or task.name}; "
            "try trainer.precision=bf16-mixed or 32-true."
        )
        return Failure(task.name, instance_id, NonFiniteError.__name__, message)

    def _finish(self, index: int) -> PoseResult:
        task, pending = self._tasks[index], self._pending.pop(index)
        failed = any(failure.instance_id is None for failure in pending.failures)
        kept = [] if failed else sorted(pending.rows)
        rows = [pending.rows[box_index] for box_index in kept]
        count = self._keypoint_set.num_keypoints
        return PoseResult(
            path=task.path,
            keypoints=np.array([row[1] for row in rows], np.float32).reshape(-1, count, 2),
            keypoint_scores=np.array([row[2] for row in rows], np.float32).reshape(-1, count),
            bboxes=np.array([row[0] for row in rows], np.float64).reshape(-1, 4),
            bbox_scores=task.bbox_scores[kept],
            instance_ids=task.instance_ids[kept],
            image_wh=None if failed else pending.image_wh,
            name=task.name,
            failures=tuple(pending.failures),
            image_id=task.image_id,
            keypoint_set=self._keypoint_set,
            frame=task.frame,
            track_ids=None if task.frame is None else _given_ids(task)[kept],
            member=task.member,
            carried=dict(zip(self._carry, pending.carried or (None,) * len(self._carry), strict=True)),
        )


def _given_ids(task: ImageTask) -> np.ndarray:
    none = np.full(len(task.instance_ids), NO_TRACK_ID)
    return none if task.has_given_id is None else np.where(task.has_given_id, task.instance_ids, none)
