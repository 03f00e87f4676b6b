"""Which people and pictures of a run a report shows: the first few by some measure, kept while all of them pass.

Legend: P people, R reasons.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from heapq import nsmallest
from typing import NamedTuple

import numpy as np

from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.products.suspicions import (
    DUPLICATE,
    JUMP,
    LONG_LIMB,
    OUTSIDE_BOX,
    REASONS,
    SWAPPED,
    Judged,
    duplicates_of,
)

_MANY, _FEW = 24, 12
_MOST_DRAWN = 100
"""People of a crowded picture that are drawn."""
_OF_REASONS = (
    (SWAPPED, _MANY, "Left and right may be swapped", "By what a body can do; somebody from behind may be meant."),
    (LONG_LIMB, _MANY, "Limbs of impossible length", "Against the rest of the body; what is shorter may point at you."),
    (JUMP, _MANY, "Largest changes against the track", "From the line between the frames before and after."),
    (DUPLICATE, _FEW, "The same person twice", "The pose of another instance of the picture, all but the same."),
    (OUTSIDE_BOX, _FEW, "Keypoints far outside of the box", "The box, or the pose, may be somebody else's."),
)


class Pick(NamedTuple):
    """A person who is shown, or a whole picture.

    Attributes:
        result: the picture, with only the people who are drawn.
        row: of `result`, who is meant; None for the whole picture.
        score: of the person; of a picture, the mean over its people.
        excesses: (R,) by `suspicions.REASONS`.
        details: the text to show.
    """

    result: PoseResult
    row: int | None
    score: float
    excesses: np.ndarray
    details: str

    @property
    def key(self) -> tuple[str, int]:
        """The same for the same person or picture, in whichever gallery."""
        return self.result.name, -1 if self.row is None else int(self.result.instance_ids[self.row])


class Gallery:
    """The first few by rank, and by name where ranks are equal.

    Attributes:
        name: for links inside of the page.
        title, text: what stands there and why.
        num_candidates: of how many they are the first.
    """

    def __init__(self, name: str, title: str, text: str, most: int) -> None:
        self.name, self.title, self.text, self._most = name, title, text, most
        self.num_candidates = 0
        self._ranked: list[tuple[float, Pick]] = []

    @property
    def picks(self) -> list[Pick]:
        """In their order."""
        return [pick for _, pick in self._ranked]

    def offer(self, people: Judged, candidates: np.ndarray, ranks: np.ndarray) -> None:
        """Some of the people.

        Args:
            people: all of some pictures.
            candidates: who of them, by number.
            ranks: of the candidates, lowest first.
        """
        self.num_candidates += len(candidates)
        first = np.argsort(ranks, kind="stable")[: self._most].tolist()
        self._take((float(ranks[at]), _person(people, int(candidates[at]))) for at in first if self._fits(ranks[at]))

    def offer_pictures(self, people: Judged, candidates: np.ndarray, ranks: np.ndarray) -> None:
        """As `offer`; the candidates are pictures."""
        self.num_candidates += len(candidates)
        first = np.argsort(ranks, kind="stable")[: self._most].tolist()
        self._take((float(ranks[at]), _picture(people, int(candidates[at]))) for at in first if self._fits(ranks[at]))

    def _fits(self, rank: float) -> bool:
        return len(self._ranked) < self._most or rank <= self._ranked[-1][0]

    def _take(self, ranked: Iterable[tuple[float, Pick]]) -> None:
        self._ranked = nsmallest(self._most, [*self._ranked, *ranked], lambda each: (each[0], each[1].key))


class Galleries:
    """All galleries of a report.

    Args:
        keypoint_set: what the keypoints of all results are.
    """

    def __init__(self, keypoint_set: KeypointSet) -> None:
        self._keypoint_set = keypoint_set
        self._lowest = Gallery("lowest", "Lowest scores", "Means over the body's keypoints.", _MANY)
        self._crowds = Gallery("crowds", "Most crowded", "Pictures with the most people.", _FEW)
        self._reasons = [Gallery(name, title, text, most) for name, most, title, text in _OF_REASONS]
        self._sample = Gallery("sample", "Random sample", "The same people whenever it is drawn.", _MANY)

    def add(self, people: Judged) -> None:
        """Looks at everybody in some pictures."""
        everybody = np.arange(len(people.scores))
        self._lowest.offer(people, everybody, people.scores)
        for gallery in self._reasons:
            excesses = people.excesses[:, REASONS.index(gallery.name)]
            found = np.flatnonzero(excesses)
            gallery.offer(people, found, -excesses[found])
        self._sample.offer(people, everybody, np.array([_lot(people, number) for number in everybody.tolist()]))
        counts = np.array([len(result.instance_ids) for result in people.results])
        crowds = np.flatnonzero(counts > 1)
        self._crowds.offer_pictures(people, crowds, -counts[crowds])

    def shown(self) -> list[Gallery]:
        """Those in which there is anybody."""
        galleries = (self._lowest, *self._reasons, self._crowds, self._sample)
        return [gallery for gallery in galleries if gallery.picks]


def _lot(people: Judged, number: int) -> int:
    """A number that looks drawn, of the person's picture and id."""
    result, row = people.results[people.pictures[number]], people.rows[number]
    text = f"{result.name}\0{result.instance_ids[row]}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=6).digest(), "big")


def _person(people: Judged, number: int) -> Pick:
    result, row = people.results[people.pictures[number]], int(people.rows[number])
    rows = [row]
    excesses = people.excesses[number].copy()
    if excesses[REASONS.index(DUPLICATE)] and result.keypoint_set is not None:
        twin = duplicates_of(result, result.keypoint_set)[1][row]
        rows += np.flatnonzero(result.instance_ids == twin)[:1].tolist()
    return Pick(_only(result, rows), 0, float(people.scores[number]), excesses, people.details.get(number, ""))


def _picture(people: Judged, picture: int) -> Pick:
    result = people.results[picture]
    num = len(result.instance_ids)
    scores = people.scores[people.pictures == picture]
    details = f"{num} people" + (f", {_MOST_DRAWN} of them drawn" if num > _MOST_DRAWN else "")
    drawn = _only(result, list(range(min(num, _MOST_DRAWN))))
    return Pick(drawn, None, float(scores.mean()) if num else 0.0, np.zeros(len(REASONS)), details)


def _only(result: PoseResult, rows: list[int]) -> PoseResult:
    return result._replace(
        keypoints=result.keypoints[rows].copy(),
        keypoint_scores=result.keypoint_scores[rows].copy(),
        bboxes=result.bboxes[rows].copy(),
        bbox_scores=result.bbox_scores[rows].copy(),
        instance_ids=result.instance_ids[rows].copy(),
        track_ids=None if result.track_ids is None else result.track_ids[rows].copy(),
        smoothed=None,
    )
