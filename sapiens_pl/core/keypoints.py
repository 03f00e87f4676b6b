"""Keypoint sets: what the K keypoints of a network are called, and how they belong together."""

from __future__ import annotations

from typing import Any, NamedTuple

from sapiens_pl.core.errors import ConfigError

PART_SIZES: dict[str, int | None] = {"body": 17, "feet": 6, "left_hand": 21, "right_hand": 21, "face": None}
"""The parts of the body that a set may name, and how many keypoints each has in every set; None for any number."""
NUMBERED = "custom"
"""The name of a set about which nothing is known."""


class KeypointSet(NamedTuple):
    """Names and relations of the K keypoints of one data set; keypoints are meant by their indices.

    Attributes:
        dataset_name: what results call the set.
        names: of the keypoints, in the order of the network's heatmaps; each name once.
        flip_indices: `flip_indices[k]` is the keypoint that k becomes in a mirrored image; None if that is not known.
        skeleton: pairs between which a line is drawn.
        sigmas: the data set's OKS constants (cocodataset.org/#keypoints-eval), one a keypoint; None if not known.
        parts: parts of the body, in one order in all sets, so that parts of different sets compare: `body` COCO's 17;
            `feet` 6 (left, then right: big toe, small toe, heel); `left_hand` and `right_hand` 21 each (the wrist,
            then four from the base to the tip for thumb to little finger); `face` COCO-WholeBody's 68, or Goliath's
            243 (Khirodkar et al., "Sapiens", ECCV 2024: nose, eyes and ears are among them). A set has those that its
            file names.
    """

    dataset_name: str
    names: tuple[str, ...]
    flip_indices: tuple[int, ...] | None = None
    skeleton: tuple[tuple[int, int], ...] = ()
    sigmas: tuple[float, ...] | None = None
    parts: dict[str, tuple[int, ...]] = {}

    def __repr__(self) -> str:
        return f"KeypointSet({self.dataset_name}, {self.num_keypoints} keypoints)"

    @property
    def num_keypoints(self) -> int:
        """K."""
        return len(self.names)

    def description(self) -> dict[str, Any]:
        """Plain lists and texts for JSON, from which `keypoint_descriptions.described_set` makes the same set."""
        flips = self.flip_indices
        return {
            "dataset": self.dataset_name,
            "names": list(self.names),
            "skeleton": [list(link) for link in self.skeleton],
            "flip_pairs": None if flips is None else [[one, other] for one, other in enumerate(flips) if one < other],
            "sigmas": None if self.sigmas is None else list(self.sigmas),
            "parts": {part: list(indices) for part, indices in self.parts.items()},
        }


def numbered_set(num_keypoints: int, dataset_name: str = NUMBERED) -> KeypointSet:
    """A set about which only the number of keypoints is known: numbers for names, no relations."""
    return KeypointSet(dataset_name, tuple(f"keypoint_{index}" for index in range(num_keypoints)))


def flip_indices_for(keypoint_set: KeypointSet) -> tuple[int, ...]:
    """The set's mirror partners, which a flip test needs.

    Raises:
        ConfigError: they are not known.
    """
    if keypoint_set.flip_indices is None:
        raise ConfigError(
            f"A flip test needs to know left from right, which the keypoint set {keypoint_set.dataset_name} "
            f"({keypoint_set.num_keypoints} keypoints) does not tell; describe the set in a YAML with flip_pairs "
            "(keypoint_set), or switch flip_test off."
        )
    return keypoint_set.flip_indices
