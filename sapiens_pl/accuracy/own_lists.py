"""Annotations whose keypoints stand in one list, as those of a run do, into the lists of COCO-WholeBody."""

from __future__ import annotations

from typing import Any

import numpy as np

from sapiens_pl.accuracy.annotations import LENGTHS, Annotations
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.keypoints import KeypointSet

PARTS = {
    "body": ("keypoints", "body"),
    "foot": ("foot_kpts", "feet"),
    "face": ("face_kpts", "face"),
    "left hand": ("lefthand_kpts", "left_hand"),
    "right hand": ("righthand_kpts", "right_hand"),
}
"""Each part's list in an annotation, and its name in a keypoint set."""


def in_parts(annotations: Annotations, keypoint_set: KeypointSet) -> Annotations:
    """The same people with a list for each part of the body that is named whole and has COCO-WholeBody's length.

    Args:
        annotations: with `names`.
        keypoint_set: of the poses that they are compared with.

    Raises:
        ConfigError: they name a keypoint that the set lacks.
    """
    unknown = [name for name in annotations.names if name not in keypoint_set.names]
    if unknown:
        raise ConfigError(
            f"{annotations.path} cannot be compared: {len(unknown)} of its {len(annotations.names)} keypoints are none "
            f"of {keypoint_set.dataset_name} ({unknown[0]} the first); give annotations of the run's own keypoints, or "
            "COCO's."
        )
    return annotations._replace(
        people=[_in_parts(person, annotations.names, keypoint_set) for person in annotations.people]
    )


def _in_parts(person: dict[str, Any], names: tuple[str, ...], keypoint_set: KeypointSet) -> dict[str, Any]:
    if "named" not in person:
        return person
    triples = np.zeros((keypoint_set.num_keypoints, 3))
    triples[[keypoint_set.names.index(name) for name in names]] = person["named"].reshape(-1, 3)
    lists = {
        key: triples[list(keypoint_set.parts[part])].ravel()
        for key, part in PARTS.values()
        if len(keypoint_set.parts.get(part, ())) == LENGTHS[key]
        and all(keypoint_set.names[index] in names for index in keypoint_set.parts[part])
    }
    body = lists.get("keypoints", np.zeros(0))
    return person | lists | {"num_keypoints": int((body[2::3] > 0).sum())}
