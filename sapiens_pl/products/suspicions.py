"""Why a person's pose may be wrong, judged from the records alone: the reasons of `worst.csv` and of the report.

Each reason has a measure and a limit; the excess is measure / limit, and its severity 1 - 1 / (2 excess): 0.5 at the
limit, 1 far beyond it. A person's suspicion is the sum over the reasons. Keypoints below the score from which they are
drawn count for none but the score. For a keypoint set about which nothing is known, `SWAPPED` and `LONG_LIMB` are not
judged.

Legend: P people, K keypoints, R reasons; coordinates in image px.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.products.jumps import Jumps, with_jumps
from sapiens_pl.products.limbs import LONGEST, SEGMENTS, longest_limbs
from sapiens_pl.products.swaps import RULES, swap_candidates

LOW_SCORE, SWAPPED, LONG_LIMB, OUTSIDE_BOX, DUPLICATE, JUMP = REASONS = (
    "low_score",
    "swapped",
    "long_limb",
    "outside_box",
    "duplicate",
    "jump",
)
LOW = 0.3
"""Of the person's score; with it, the keypoints are not drawn on the average (`output.overlay_score_threshold`)."""
SURE = 0.5
"""A score that is not low in any run: half the height that networks are taught for keypoints that are there."""
OUTSIDE = 0.25
"""Of the box's longer side. The crop that a network sees ends an eighth of a side outside of the box, of narrow boxes
later, so that what is farther off is not part of the person who was meant."""
ALIKE = 0.9
"""Object keypoint similarity, as in the suppression before the published evaluation."""
JUMPED = 0.15
"""Of the box's longer side, from where the track leads. An arm that is thrown (100 m/s2) leaves the line between its
places 40 ms before and after by 0.08 m, or 0.05 of a stature."""
_UNKNOWN_SIGMA = 0.07
"""Of sets without OKS constants: the mean of COCO's."""
_SAME_BOXES = 0.3
"""Intersection over union from which on two people's poses are compared at all."""
_PEOPLE_AT_ONCE = 4096


class Judged(NamedTuple):
    """People of some pictures, one after another.

    Attributes:
        results: the pictures.
        pictures, rows: (P,) int64, in which of them each person is, and which row there.
        scores: (P,) float64, as `person_scores`.
        excesses: (P, R) float64, measure / limit by `REASONS`; 0 where it is less than 1. The first column is 0: how
            low a score is depends on all of them together (`low_limit`).
        details: the text for people who have an excess, by their number among the P.
    """

    results: list[PoseResult]
    pictures: np.ndarray
    rows: np.ndarray
    scores: np.ndarray
    excesses: np.ndarray
    details: dict[int, str]


def person_scores(keypoint_scores: np.ndarray, keypoint_set: KeypointSet) -> np.ndarray:
    """(P,) float64: the mean score of the body's 17 keypoints, or of all where it is not known which these are."""
    chosen = keypoint_set.parts.get("body", range(keypoint_set.num_keypoints))
    return keypoint_scores[:, list(chosen)].mean(axis=1, dtype=np.float64)


def low_limit(scores: np.ndarray) -> float:
    """The score below which people count as low: an outlier in this run, between `LOW` and `SURE`.

    Outliers lie below the first quartile by more than 1.5 times the distance of the quartiles (Tukey, "Exploratory Data
    Analysis", 1977).
    """
    if not len(scores):
        return LOW
    first, third = np.percentile(scores, (25, 75))
    return max(LOW, min(SURE, float(first - 1.5 * (third - first))))


def legend(limit: float) -> dict[str, str]:
    """In a sentence, when each of `REASONS` is given; `limit` as of `low_limit`."""
    return dict(
        zip(
            REASONS,
            (
                f"the mean score of the body's keypoints is below {limit:.2f}",
                "left and right may have changed places, by what a body can do",
                f"a limb is more than {LONGEST:g} times as long as the rest of the body says",
                f"a keypoint is outside of the box by more than {OUTSIDE:g} of its longer side",
                f"the pose is {ALIKE:g} or more like that of another instance with a higher score (OKS)",
                f"a keypoint is more than {JUMPED:g} of the box's longer side off the line of its track",
            ),
        )
    )


def severities(excesses: np.ndarray) -> np.ndarray:
    """0 for excesses below 1."""
    return np.where(excesses >= 1, 1 - 0.5 / np.maximum(excesses, 1), 0.0)


def low_excesses(scores: np.ndarray, limit: float) -> np.ndarray:
    """The excesses of scores; 0 where they are not lower than the limit."""
    return np.where(scores < limit, limit / np.maximum(scores, 1e-3), 0.0)


def judged(results: Iterable[PoseResult], keypoint_set: KeypointSet, threshold: float) -> Iterator[Judged]:
    """All people, some thousands at a time.

    Args:
        results: of a run, sorted by name, with tracks where there are videos.
        keypoint_set: what their keypoints are.
        threshold: keypoints with a lower score count for none but the score.
    """
    stream = with_jumps(results, threshold)
    while True:
        block, num_people = [], 0
        for pair in islice(stream, _PEOPLE_AT_ONCE):
            block.append(pair)
            num_people += len(pair[0].instance_ids)
            if num_people >= _PEOPLE_AT_ONCE:
                break
        if not block:
            return
        yield _judge(block, keypoint_set, threshold)


def _judge(block: Sequence[tuple[PoseResult, Jumps]], keypoint_set: KeypointSet, threshold: float) -> Judged:
    results = [result for result, _ in block]
    counts = [len(result.instance_ids) for result in results]
    keypoints = np.concatenate([result.keypoints for result in results]).astype(np.float64)
    scores = np.concatenate([result.keypoint_scores for result in results])
    boxes = np.concatenate([result.bboxes for result in results])
    keypoints[scores < threshold] = np.nan
    excesses = np.zeros((len(keypoints), len(REASONS)))
    swaps = swap_candidates(keypoints, keypoint_set)
    excesses[:, 1] = swaps.sum(axis=1)
    limbs = np.zeros(len(keypoints), np.int64)
    if "body" in keypoint_set.parts:
        longest, limbs = longest_limbs(keypoints[:, keypoint_set.parts["body"]])
        excesses[:, 2] = longest / LONGEST
    outside, farthest = _outside(keypoints, boxes)
    excesses[:, 3] = outside / OUTSIDE
    twins = [duplicates_of(result, keypoint_set) for result in results]
    excesses[:, 4] = np.concatenate([likeness for likeness, _ in twins]) / ALIKE
    excesses[:, 5] = np.concatenate([jumps.distances for _, jumps in block]) / JUMPED
    excesses[excesses < 1] = 0
    told = _Details(
        swaps, excesses, limbs, farthest, np.concatenate([twin for _, twin in twins]),
        np.concatenate([jumps.keypoints for _, jumps in block]), keypoint_set.names,
    )  # fmt: skip
    return Judged(
        results,
        np.repeat(np.arange(len(results)), counts),
        np.concatenate([np.arange(count) for count in counts]),
        person_scores(scores, keypoint_set),
        excesses,
        {person: told.of(person) for person in np.flatnonzero(excesses.any(axis=1)).tolist()},
    )


class _Details(NamedTuple):
    """The values for the details, each an array over the people."""

    swaps: np.ndarray
    excesses: np.ndarray
    limbs: np.ndarray
    farthest: np.ndarray
    twins: np.ndarray
    jumped: np.ndarray
    names: tuple[str, ...]

    def of(self, person: int) -> str:
        _, swapped, limb, outside, twin, jump = self.excesses[person]
        said = []
        if swapped:
            said.append(f"left and right: {', '.join(np.array(RULES)[self.swaps[person]])}")
        if limb:
            said.append(f"{SEGMENTS[self.limbs[person]].name} {limb * LONGEST:.1f} times too long")
        if outside:
            said.append(f"{self.names[self.farthest[person]]} {outside * OUTSIDE:.2f} of the box outside of it")
        if twin:
            said.append(f"{twin * ALIKE:.2f} like instance {self.twins[person]}")
        if jump:
            said.append(f"{self.names[self.jumped[person]]} {jump * JUMPED:.2f} of the box off its track")
        return "; ".join(said)


def _outside(keypoints: np.ndarray, bboxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(P,) distance of the keypoint farthest outside, in parts of the box's longer side; (P,) int64, which it is."""
    low, high = bboxes[:, None, :2], bboxes[:, None, 2:]
    off = np.nan_to_num(np.linalg.norm(np.maximum(0, np.maximum(low - keypoints, keypoints - high)), axis=2), nan=0.0)
    farthest = off.argmax(axis=1)
    sides = np.maximum(1.0, (bboxes[:, 2:] - bboxes[:, :2]).max(axis=1))
    return off[np.arange(len(off)), farthest] / sides, farthest


def duplicates_of(result: PoseResult, keypoint_set: KeypointSet) -> tuple[np.ndarray, np.ndarray]:
    """Of one picture's people, how alike each is to one with a higher score; of two equal ones, the first is higher.

    Returns:
        (N,) object keypoint similarity to the most alike, 0 where nobody is near; (N,) its instance id.
    """
    num = len(result.instance_ids)
    likeness, twins = np.zeros(num), np.zeros(num, np.int64)
    if num < 2:
        return likeness, twins
    boxes = result.bboxes
    areas = (boxes[:, 2:] - boxes[:, :2]).clip(1e-6).prod(axis=1)
    shared = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    shared_areas = shared.clip(0).prod(axis=2)
    near = shared_areas > _SAME_BOXES * (areas[:, None] + areas[None] - shared_areas)
    rank = np.argsort(np.argsort(-person_scores(result.keypoint_scores, keypoint_set), kind="stable"), kind="stable")
    one, other = np.nonzero(near & (rank[:, None] > rank[None]))
    if not len(one):
        return likeness, twins
    sigmas = np.full(keypoint_set.num_keypoints, _UNKNOWN_SIGMA) if keypoint_set.sigmas is None else keypoint_set.sigmas
    variances = (2 * np.asarray(sigmas)) ** 2
    for start in range(0, len(one), _PEOPLE_AT_ONCE):
        ours, theirs = one[start : start + _PEOPLE_AT_ONCE], other[start : start + _PEOPLE_AT_ONCE]
        squares = ((result.keypoints[ours] - result.keypoints[theirs]).astype(np.float64) ** 2).sum(axis=2)
        area = (areas[ours] + areas[theirs]) / 2
        alike = np.exp(-squares / variances / area[:, None] / 2).mean(axis=1)
        for mine, twin, value in zip(ours, theirs, alike):
            if value > likeness[mine]:
                likeness[mine], twins[mine] = value, result.instance_ids[twin]
    return likeness, twins
