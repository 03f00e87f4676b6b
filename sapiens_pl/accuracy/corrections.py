"""What people have changed in the annotation file of a run (`products/coco_annotations.py`) that was handed to them.

Legend: K keypoints of the handed-out file, named by its category.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from sapiens_pl.accuracy.annotations import Annotations, IdFinder

MOVED_PIXELS = 1.0
"""A keypoint that lies farther away has been moved: Label Studio gives whole px, which are off by up to 0.7."""
_FARTHEST = 0.5
"""Of the root of the box's area: two people are not the same if half of their keypoints lie farther apart."""
_LEAST_KEPT = 0.5
"""A file in which less than this is unchanged was not made from the handed-out one."""
_HIDDEN, _VISIBLE = 1, 2
_Person = dict[str, Any]


class Correction(NamedTuple):
    """One change.

    Attributes:
        image: as the handed-out file names it.
        instance_id: the person's id in the run; None for a person who was added.
        annotation_id: in the corrected file; for people who were removed, in the handed-out one.
        change: `moved`, `added`, `removed`, `hidden` or `shown` for a keypoint, `person_added` or `person_removed`.
        keypoint: its name, "" for a person.
        x, y: px, where it was.
        corrected_x, corrected_y: px, where it is now.
        pixels: how far it was moved.
        score: of the keypoint in the run, where that is known.
    """

    image: str
    instance_id: int | None
    annotation_id: Any
    change: str
    keypoint: str = ""
    x: float | None = None
    y: float | None = None
    corrected_x: float | None = None
    corrected_y: float | None = None
    pixels: float | None = None
    score: float | None = None


class Corrections(NamedTuple):
    """All changes, and how many images and people are in both files; `num_kept` of the people are as they were."""

    num_images: int
    num_people: int
    num_kept: int
    rows: list[Correction]


class _Pair(NamedTuple):
    """A person in one image of both files, or in only one of them."""

    image: str
    before: _Person | None
    after: _Person | None


def corrections_of(
    handed_out: Annotations, corrected: Annotations, moved_pixels: float = MOVED_PIXELS
) -> Corrections | None:
    """Compares both files; None if the second was not made from the first.

    People are told apart by `posed_id`, else by where their keypoints lie; images by their names, else by their ids.
    Keypoints are compared by their names, those that both files have.
    """
    names = [name for name in handed_out.names if name in corrected.names]
    columns = [[each.names.index(name) for name in names] for each in (handed_out, corrected)]
    images, pairs = _pairs(handed_out, corrected, columns)
    met = [pair for pair in pairs if pair.before is not None and pair.after is not None]
    changes = [list(_changes(pair, names, columns, moved_pixels)) for pair in pairs]
    if not _is_made_of(met, columns, moved_pixels):
        return None
    rows = [row for of_person in changes for row in of_person]
    num_kept = sum(not of_person for of_person in changes)
    return Corrections(images, len(met), num_kept, rows)


def _pairs(
    handed_out: Annotations, corrected: Annotations, columns: Sequence[Sequence[int]]
) -> tuple[int, list[_Pair]]:
    """How many images are in both, and the people in them."""
    finder = IdFinder(corrected)
    before, after = _by_image(handed_out), _by_image(corrected)
    num_images, pairs = 0, []
    for name, image in handed_out.images.items():
        wh = None if image.wh is None else (int(image.wh[0]), int(image.wh[1]))
        found = finder.find(name, image.id if isinstance(image.id, int) else None, wh)
        if found is not None:
            num_images += 1
            met = _met(before.get(image.id, []), after.get(found.id, []), columns)
            pairs += [_Pair(name, one, other) for one, other in met]
    return num_images, pairs


def _by_image(annotations: Annotations) -> dict[Any, list[_Person]]:
    people: dict[Any, list[_Person]] = {}
    for person in annotations.people:
        if "named" in person:
            people.setdefault(person["image_id"], []).append(person)
    return people


def _met(
    before: list[_Person], after: list[_Person], columns: Sequence[Sequence[int]]
) -> Iterator[tuple[_Person | None, _Person | None]]:
    """Pairs of people: by the ids that were handed out and occur once, the others by distance, nearest first."""
    ones, others = dict(enumerate(before)), dict(enumerate(after))
    found = []
    ids = [[person["posed_id"] for person in people] for people in (before, after)]
    for one, identity in enumerate(ids[0]):
        if identity is not None and ids[0].count(identity) == 1 == ids[1].count(identity):
            found.append((one, ids[1].index(identity)))
    near = sorted(
        (_apart(ones[one], others[other], columns), one, other)
        for one in ones.keys() - {one for one, _ in found}
        for other in others.keys() - {other for _, other in found}
    )
    for distance, one, other in near:
        if distance < _FARTHEST and all(one != each[0] and other != each[1] for each in found):
            found.append((one, other))
    pairs = dict(found)
    yield from ((ones[one], others[pairs[one]] if one in pairs else None) for one in ones)
    yield from ((None, person) for other, person in others.items() if other not in pairs.values())


def _apart(one: _Person, other: _Person, columns: Sequence[Sequence[int]]) -> float:
    """The median way from keypoint to keypoint, as a part of the box's size; 1 for people who have none in common."""
    before, after = _triples(one, columns[0]), _triples(other, columns[1])
    both = (before[:, 2] > 0) & (after[:, 2] > 0)
    if not both.any():
        return 1.0
    ways = np.hypot(*(before[both, :2] - after[both, :2]).T)
    return float(np.median(ways) / max(np.sqrt(one["area"]), 1.0))


def _triples(person: _Person, columns: Sequence[int]) -> np.ndarray:
    """(K, 3) x, y, visibility."""
    return person["named"].reshape(-1, 3)[list(columns)]


def _is_made_of(met: list[_Pair], columns: Sequence[Sequence[int]], moved_pixels: float) -> bool:
    """Whether people have kept the id that was handed out, or half of the keypoints stand where they stood."""
    if any(pair.after is not None and pair.after["posed_id"] is not None for pair in met):
        return True
    kept = total = 0
    for pair in met:
        assert pair.before is not None and pair.after is not None
        before, after = _triples(pair.before, columns[0]), _triples(pair.after, columns[1])
        both = (before[:, 2] > 0) & (after[:, 2] > 0)
        kept += int((np.hypot(*(before[both, :2] - after[both, :2]).T) <= moved_pixels).sum())
        total += int(both.sum())
    return total > 0 and kept >= _LEAST_KEPT * total


def _changes(
    pair: _Pair, names: list[str], columns: Sequence[Sequence[int]], moved_pixels: float
) -> Iterator[Correction]:
    """No changes for a person who is as handed out."""
    if pair.before is None or pair.after is None:
        person, change = (pair.after, "person_added") if pair.before is None else (pair.before, "person_removed")
        assert person is not None
        yield Correction(pair.image, None if pair.before is None else person["posed_id"], person["id"], change)
        return
    who = pair.image, pair.before["posed_id"], pair.after["id"]
    before, after = _triples(pair.before, columns[0]), _triples(pair.after, columns[1])
    for name, (x, y, was), (new_x, new_y, now) in zip(names, before.tolist(), after.tolist()):
        pixels = float(np.hypot(new_x - x, new_y - y))
        if was > 0 and now > 0:
            if pixels > moved_pixels:
                yield Correction(*who, "moved", name, x, y, new_x, new_y, pixels)
            if was != now and {was, now} == {_HIDDEN, _VISIBLE}:
                yield Correction(*who, "hidden" if now == _HIDDEN else "shown", name, x, y, new_x, new_y)
        elif was > 0:
            yield Correction(*who, "removed", name, x, y)
        elif now > 0:
            yield Correction(*who, "added", name, None, None, new_x, new_y)
