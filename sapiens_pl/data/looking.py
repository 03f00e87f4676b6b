"""Portions in whose pictures people are looked for first.

What is left of some tars is known without that, and is planned ahead like other portions. Then the process that poses
the pictures looks at them, portion by portion: so it needs to know no more of the others than their names.

Legend: P pictures, n some of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from sapiens_pl.core.columns import Names, whole_pictures
from sapiens_pl.core.left_out import LeftOut
from sapiens_pl.core.plan import Pictures, Tasks
from sapiens_pl.core.protocols import PictureSource
from sapiens_pl.data.digests import digests
from sapiens_pl.data.handed_in import Finished, Looking
from sapiens_pl.data.portions import PlanCounts, Portion

FinishedOfShards = Callable[[Names, "np.ndarray | None"], Finished]


def portion_to_look_at(
    source: PictureSource, pictures: Pictures, looking: Looking, finished: FinishedOfShards
) -> tuple[Portion, Finished]:
    """What is left of some pictures, with boxes if those of all are known; and what is on record of all pictures."""
    found = finished_before(pictures, np.arange(len(pictures.names)), looking, finished)
    left = np.flatnonzero(~found.either)
    tasks = Tasks(pictures, whole_pictures(len(pictures.names)), left)
    done, failed = int(found.done.sum()), int(found.failed.sum())
    portion = Portion(
        source,
        tasks,
        digests(tasks.boxes)[left],
        np.arange(len(left)),
        [],
        [],
        PlanCounts(dealt=done + failed, done_before=done, failed_before=failed),
        list(pictures.names.select(left[found.again[left]])),
        LeftOut(),
        look=partial(_looked_at, looking),
    )
    is_all_known = bool(looking.known(pictures, left).all())
    return (_looked_at(looking, portion) if is_all_known else portion), found


def finished_before(pictures: Pictures, indices: np.ndarray, looking: Looking, finished: FinishedOfShards) -> Finished:
    """Which of the (n,) ascending pictures need not be done again; of some of them the boxes are known."""
    is_known = looking.known(pictures, indices)
    known, unknown = indices[is_known], indices[~is_known]
    tasks, _ = looking.tasks(pictures, known)
    of_known = finished(tasks.names, digests(tasks.boxes, pictures.frames)[known])
    of_unknown = finished(pictures.names.select(unknown), None)
    found = Finished(*np.zeros((4, len(indices)), bool))
    for masks, known_masks, unknown_masks in zip(found, of_known, of_unknown):
        masks[is_known], masks[~is_known] = known_masks, unknown_masks
    return found


def _looked_at(looking: Looking, portion: Portion) -> Portion:
    """The portion with the people in its pictures, for whom somebody looks now where nobody has before."""
    pictures, left = portion.tasks.pictures, portion.tasks.indices
    unseen = left[~looking.known(pictures, left)]
    failures = looking.look_at(portion.source, pictures, unseen) if len(unseen) else []
    tasks, unusable = looking.tasks(pictures, left[looking.known(pictures, left)])
    missing = len(left) - len(tasks) - len(failures)
    found = PlanCounts(
        dealt=len(left),
        images=len(tasks),
        crops=int(tasks.num_boxes.sum()),
        failed=len(failures),
        without_boxes=missing,
    )
    again = {*portion.again}
    return portion._replace(
        tasks=tasks,
        digests=digests(tasks.boxes, pictures.frames)[tasks.indices],
        share=np.arange(len(tasks)),
        failures=[*portion.failures, *failures, *unusable],
        counts=portion.counts.plus(found),
        again=[name for name in tasks.names if name in again] if again else [],
        not_counted=looking.not_counted,
        look=None,
    )
