"""Keypoint sets: COCO (17), COCO-WholeBody (133) and Goliath (308)."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from typing import NamedTuple

PUBLISHED_COUNTS = (17, 133, 308)


class KeypointSpec(NamedTuple):
    """Names and relations of the K keypoints of one data set.

    `flip_indices[k]` is the keypoint that k becomes in a mirrored image; `skeleton` holds pairs of
    indices; `sigmas` are the OKS constants of the data set.
    """

    dataset_name: str
    names: tuple[str, ...]
    flip_indices: tuple[int, ...] | None
    skeleton: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...] | None

    @property
    def num_keypoints(self) -> int:
        return len(self.names)


@lru_cache
def keypoint_spec(num_keypoints: int) -> KeypointSpec:
    """The published set of that size; any other count gets numbered names and no relations."""
    if num_keypoints not in PUBLISHED_COUNTS:
        names = tuple(f"keypoint_{index}" for index in range(num_keypoints))
        return KeypointSpec("custom", names, None, (), None)
    folder = resources.files("sapiens_pl") / "keypoint_sets"
    data = json.loads((folder / f"keypoints_{num_keypoints}.json").read_text("utf-8"))
    return KeypointSpec(
        data["dataset"],
        tuple(data["names"]),
        tuple(data["flip_indices"]),
        tuple((start, end) for start, end in data["skeleton"]),
        tuple(data["sigmas"]),
    )
