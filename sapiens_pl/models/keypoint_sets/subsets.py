"""Some of a set's keypoints: as many as people correct by hand."""

from __future__ import annotations

from collections.abc import Sequence

from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.models.keypoint_sets.maps import FACE, keypoint_table

BODY, BODY_FEET, WHOLEBODY, ALL = SUBSETS = ("body", "body_feet", "wholebody", "all")
_PARTS = {
    BODY: ("body",),
    BODY_FEET: ("body", "feet"),
    WHOLEBODY: ("body", "feet", "face", "left_hand", "right_hand"),
}
_NUM_FACE = 68


def subset_columns(keypoint_set: KeypointSet, subset: str) -> list[int]:
    """Which keypoints a subset has, by their numbers, each once.

    `body` are COCO's 17, `body_feet` these and the six of the feet, `wholebody` these, both hands and the face's points
    that COCO-WholeBody annotates too: all 68, or of Goliath's those that are one of them. Parts that the set does not
    have are left out; `all` are the set's own, in its own order.

    Args:
        keypoint_set: of all.
        subset: one of `SUBSETS`.
    """
    if subset == ALL:
        return list(range(keypoint_set.num_keypoints))
    parts = {part: keypoint_set.parts.get(part, ()) for part in _PARTS[subset]}
    if "face" in parts:
        parts["face"] = _face(keypoint_set)
    return list(dict.fromkeys(index for part in parts.values() for index in part))


def subset_of(keypoint_set: KeypointSet, columns: Sequence[int]) -> KeypointSet:
    """The set of these keypoints alone."""
    places = {column: place for place, column in enumerate(columns)}
    flips = keypoint_set.flip_indices
    whole = flips is not None and all(flips[column] in places for column in columns)
    parts = {
        name: tuple(places[index] for index in part)
        for name, part in keypoint_set.parts.items()
        if all(index in places for index in part)
    }
    return KeypointSet(
        keypoint_set.dataset_name,
        tuple(keypoint_set.names[column] for column in columns),
        tuple(places[flips[column]] for column in columns) if whole and flips is not None else None,
        tuple((places[one], places[other]) for one, other in keypoint_set.skeleton if {one, other} <= places.keys()),
        None if keypoint_set.sigmas is None else tuple(keypoint_set.sigmas[column] for column in columns),
        parts,
    )


def _face(keypoint_set: KeypointSet) -> tuple[int, ...]:
    face = keypoint_set.parts.get("face", ())
    numbers = {keypoint_set.names[index]: index for index in face}
    if len(face) == _NUM_FACE:
        return face
    alone = [point.of[0] for point in keypoint_table(FACE)[:_NUM_FACE] if len(point.of) == 1]
    return tuple(numbers[name] for name in alone if name in numbers)
