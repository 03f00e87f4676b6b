"""Keypoint sets: COCO (17), COCO-WholeBody (133) and Goliath (308)."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from typing import NamedTuple

from sapiens_pl.core.errors import ConfigError

PUBLISHED_COUNTS = (17, 133, 308)

_FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
_TOES = ("big_toe", "small_toe", "heel")


class KeypointSpec(NamedTuple):
    """Names and relations of the K keypoints of one data set.

    `flip_indices[k]` is the keypoint that k becomes in a mirrored image; `skeleton` holds pairs of
    indices; `sigmas` are the OKS constants of the data set.

    `subsets` names parts of the body as indices, in one order in all sets, so that parts of different sets
    compare: `body` COCO's 17; `feet` 6 (left, then right: big toe, small toe, heel); `left_hand` and `right_hand`
    21 each (the wrist, then four from the base to the tip for thumb to little finger); `face` COCO-WholeBody's
    68, or Goliath's 243 (Khirodkar et al., "Sapiens", ECCV 2024: nose, eyes and ears are among them). COCO has only
    `body`, a set of another size none.
    """

    dataset_name: str
    names: tuple[str, ...]
    flip_indices: tuple[int, ...] | None
    skeleton: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...] | None
    subsets: dict[str, tuple[int, ...]]

    @property
    def num_keypoints(self) -> int:
        return len(self.names)


@lru_cache
def keypoint_spec(num_keypoints: int) -> KeypointSpec:
    """The published set of that size; any other count gets numbered names and no relations."""
    if num_keypoints not in PUBLISHED_COUNTS:
        names = tuple(f"keypoint_{index}" for index in range(num_keypoints))
        return KeypointSpec("custom", names, None, (), None, {})
    data = _set_file(num_keypoints)
    return KeypointSpec(
        data["dataset"],
        tuple(data["names"]),
        tuple(data["flip_indices"]),
        tuple((start, end) for start, end in data["skeleton"]),
        tuple(data["sigmas"]),
        _subsets(data["names"]),
    )


def flip_indices_for(spec: KeypointSpec) -> tuple[int, ...]:
    """The set's mirror partners; a set without them raises ConfigError, for a flip test needs them."""
    if spec.flip_indices is None:
        raise ConfigError(
            f"model.flip_test=true needs to know left from right, which is known for 17, 133 and 308 keypoints, "
            f"not for {spec.num_keypoints}; set model.flip_test=false."
        )
    return spec.flip_indices


def _set_file(num_keypoints: int) -> dict:
    folder = resources.files("sapiens_pl") / "keypoint_sets"
    return json.loads((folder / f"keypoints_{num_keypoints}.json").read_text("utf-8"))


def _subsets(names: list[str]) -> dict[str, tuple[int, ...]]:
    index = {name: position for position, name in enumerate(names)}
    subsets = {"body": tuple(index[name] for name in _set_file(17)["names"])}
    if len(names) == 17:
        return subsets
    subsets["feet"] = tuple(index[f"{side}_{toe}"] for side in ("left", "right") for toe in _TOES)
    first = names.index("face-0" if "face-0" in index else "center_of_glabella")
    if "face-0" in index:
        subsets["face"] = tuple(range(first, first + 68))
    else:
        subsets["face"] = (*range(5), *range(first, len(names)))
    for side in ("left", "right"):
        root = index.get(f"{side}_hand_root", index[f"{side}_wrist"])
        fingers = [_joint(index, f"{side}_{finger}", number) for finger in _FINGERS for number in (1, 2, 3, 4)]
        subsets[f"{side}_hand"] = (root, *fingers)
    return subsets


def _joint(index: dict[str, int], finger: str, number: int) -> int:
    """Counted from the base; Goliath calls the first the third joint."""
    name = f"{finger}{number}"
    return index[name] if name in index else index[f"{finger}_third_joint"]
