"""Which points of other programs and models the keypoints of our sets are: a table each, every line with its reason.

`openpose_face.yaml` explains the keys of the tables.

Legend: N people, K keypoints of a set, P points of a table.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.models.keypoint_sets import OURS, our_set

_FOLDER = Path(__file__).parent
FACE, BODY_25, BODY_18, SMPL = "openpose_face", "body_25", "body_18", "smpl_24"
TABLES = ("coco_17", "coco_wholebody_133", BODY_25, BODY_18, FACE, SMPL)
"""By the names of their files."""
_NUM_FACE = 68


class MappedPoint(NamedTuple):
    """A point of a table.

    `of` are the keypoints whose mean it is: one, several, or none where a set has nothing there; `reason` says
    how that is known.
    """

    name: str
    of: tuple[str, ...]
    reason: str


@lru_cache
def keypoint_table(name: str) -> tuple[MappedPoint, ...]:
    """All P points of a table, in their order.

    Args:
        name: one of `TABLES`, in upper or lower case.

    Raises:
        ConfigError: there is no such table.
    """
    if not isinstance(name, str) or name.lower() not in TABLES:
        raise ConfigError(f"{name} is not a table of keypoints; choose from {', '.join(TABLES)}.")
    content = yaml.safe_load((_FOLDER / f"{name.lower()}.yaml").read_text("utf-8"))
    reasons = content["reasons"]
    return tuple(MappedPoint(row["name"], tuple(row["of"]), reasons[row["why"]]) for row in content["points"])


def convert_keypoints(result: PoseResult, to: str) -> PoseResult:
    """The same people with the points of another program or model.

    Args:
        result: with its `keypoint_set`, which must have the body's names of ours (`coco_17`, `coco_wholebody_133`,
            `goliath_308`).
        to: one of `TABLES`, in upper or lower case.

    Returns:
        The P points of the table in its order, named by its `keypoint_set`. A point that is the mean of several
        keypoints has the lowest of their scores. One that the result lacks (a foot of COCO's 17) is 0, 0 with a
        score of 0.

    Raises:
        ConfigError: there is no such table, or the result has none of its points.
    """
    table, known = keypoint_table(to), result.keypoint_set
    if known is None:
        raise ConfigError("The result does not say what its keypoints are; set its keypoint_set.")
    points, scores = mapped(result.keypoints, result.keypoint_scores, known, to)
    target = _target(to.lower(), table)
    return result._replace(keypoints=points, keypoint_scores=scores, keypoint_set=target, smoothed=None)


def mapped(
    keypoints: np.ndarray, scores: np.ndarray, keypoint_set: KeypointSet, to: str
) -> tuple[np.ndarray, np.ndarray]:
    """(N, K, 2) and (N, K) into (N, P, 2) and (N, P), as `convert_keypoints` does.

    Raises:
        ConfigError: there is no such table, or the set has none of its points.
    """
    columns = _columns(keypoint_set.names, to.lower() if isinstance(to, str) else to)
    if not any(columns):
        names = ", ".join(OURS)
        raise ConfigError(
            f"The keypoint set {keypoint_set.dataset_name} has no point of {to}; give results of {names}."
        )
    points = np.zeros((len(keypoints), len(columns), 2), keypoints.dtype)
    of_points = np.zeros((len(keypoints), len(columns)), scores.dtype)
    for place, of in enumerate(columns):
        if of:
            points[:, place] = keypoints[:, of].mean(axis=1)
            of_points[:, place] = scores[:, of].min(axis=1)
    return points, of_points


def has_points(keypoint_set: KeypointSet, table: str) -> bool:
    """Whether a set has a point of a table."""
    return any(_columns(keypoint_set.names, table))


@lru_cache
def _columns(names: tuple[str, ...], to: str) -> tuple[list[int], ...]:
    """Which of a set's keypoints make each point; none where it lacks one of them.

    COCO-WholeBody has points of its own for its hands' roots and for the face, whose pupils are its eyes.
    """
    table = keypoint_table(to)
    if to in OURS and names == our_set(to).names:
        return tuple([place] for place in range(len(names)))
    of_points = [point.of for point in table]
    if to == FACE and "face-0" in names:
        of_points = [*((f"face-{place}",) for place in range(_NUM_FACE)), ("right_eye",), ("left_eye",)]
    numbers = {name: number for number, name in enumerate(names)}
    return tuple([numbers[name] for name in of] if set(of) <= numbers.keys() else [] for of in of_points)


def _target(to: str, table: tuple[MappedPoint, ...]) -> KeypointSet:
    return our_set(to) if to in OURS else KeypointSet(to, tuple(point.name for point in table))
