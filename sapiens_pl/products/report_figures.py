"""Counts for the figures of a report: scores by part of the body, people a picture, sizes of boxes.

Legend: P people, K keypoints, B bins.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.products.suspicions import Judged

_SCORE_EDGES = np.linspace(0, 1, 41)
_PEOPLE_EDGES = np.array([0, 1, 2, 3, 4, 5, 6, 11, 21, 51, 101, np.inf])
_SIZE_EDGES = np.array([0, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, np.inf])
_BODY = {
    "head (nose, eyes, ears)": slice(0, 5),
    "arms (shoulders to wrists)": slice(5, 11),
    "legs (hips to ankles)": slice(11, 17),
}


class Histogram:
    """Counts of values.

    Args:
        edges: (B + 1,) of the bins; what lies outside counts in the first or last one.
    """

    def __init__(self, edges: np.ndarray) -> None:
        self._edges, self.counts = edges, np.zeros(len(edges) - 1, np.int64)

    def add(self, values: np.ndarray) -> None:
        bins = np.searchsorted(self._edges, np.asarray(values).ravel(), side="right") - 1
        self.counts += np.bincount(np.clip(bins, 0, len(self.counts) - 1), minlength=len(self.counts))

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    def quantile(self, part: float) -> float:
        """To the middle of a bin; of edges that are finite."""
        reached = np.searchsorted(np.cumsum(self.counts), part * self.total, side="left")
        at = min(int(reached), len(self.counts) - 1)
        return float(self._edges[at] + self._edges[at + 1]) / 2


class Bar(NamedTuple):
    """One of a figure's, for the page: place and height in parts of the figure's, and what it counts."""

    x: float
    width: float
    height: float
    label: str
    num: int


class Figure(NamedTuple):
    """Bars under a title; `note` says in words what they show."""

    title: str
    note: str
    bars: list[Bar]


class Figures:
    """Counts over a whole run.

    Args:
        keypoint_set: what the keypoints of all results are.
    """

    def __init__(self, keypoint_set: KeypointSet) -> None:
        self._parts = {name: (indices, Histogram(_SCORE_EDGES)) for name, indices in _parts(keypoint_set)}
        self._people, self._sizes = Histogram(_PEOPLE_EDGES), Histogram(_SIZE_EDGES)

    def add(self, people: Judged) -> None:
        """Counts everybody in some pictures."""
        scores = np.concatenate([result.keypoint_scores for result in people.results])
        boxes = np.concatenate([result.bboxes for result in people.results])
        for indices, histogram in self._parts.values():
            histogram.add(scores[:, indices])
        self._people.add(np.array([_num_people(result) for result in people.results]))
        self._sizes.add((boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0))

    @property
    def num_pictures(self) -> int:
        return self._people.total

    @property
    def num_people(self) -> int:
        return self._sizes.total

    def of_scores(self) -> list[Figure]:
        """One a part of the body."""
        return [_score_figure(name, histogram) for name, (_, histogram) in self._parts.items() if histogram.total]

    def of_pictures(self) -> list[Figure]:
        """People a picture, and sizes of boxes."""
        figures = []
        if self._people.total:
            figures.append(_labelled("people a picture", "pictures", self._people, _people_labels()))
        if self._sizes.total:
            figures.append(_labelled("longer side of boxes, px", "boxes", self._sizes, _size_labels()))
        return figures


def _num_people(result: PoseResult) -> int:
    return len(result.instance_ids)


def _parts(keypoint_set: KeypointSet) -> Iterator[tuple[str, list[int]]]:
    parts, left = keypoint_set.parts, set(range(keypoint_set.num_keypoints))
    if "body" in parts:
        for name, which in _BODY.items():
            yield name, list(parts["body"][which])
    for part in ("feet", "left_hand", "right_hand", "face"):
        if part in parts:
            yield part.replace("_", " "), list(parts[part])
    left -= {index for indices in parts.values() for index in indices}
    if left:
        yield ("other keypoints" if parts else "all keypoints"), sorted(left)


def _score_figure(name: str, histogram: Histogram) -> Figure:
    counts, highest, step = histogram.counts, max(1, int(histogram.counts.max())), 1 / len(histogram.counts)
    bars = [
        Bar(at * step, step, int(count) / highest, f"{low:.3g} to {high:.3g}", int(count))
        for at, (count, (low, high)) in enumerate(zip(counts, pairwise(_SCORE_EDGES.tolist())))
    ]
    low, middle = histogram.quantile(0.05), histogram.quantile(0.5)
    return Figure(name, f"median {middle:.2f}, 5% are below {low:.2f}; {histogram.total:,} keypoints", bars)


def _labelled(title: str, what: str, histogram: Histogram, labels: list[str]) -> Figure:
    """Without the empty bins at both ends."""
    filled = np.flatnonzero(histogram.counts)
    first, last = int(filled[0]), int(filled[-1]) + 1
    step, highest = 1 / (last - first), int(histogram.counts.max())
    bars = [
        Bar((at - first) * step, step, int(histogram.counts[at]) / highest, labels[at], int(histogram.counts[at]))
        for at in range(first, last)
    ]
    return Figure(title, f"{histogram.total:,} {what}; most often {max(bars, key=lambda bar: bar.num).label}", bars)


def _people_labels() -> list[str]:
    edges = _PEOPLE_EDGES[:-1].astype(int).tolist()
    ends = [following - 1 for following in edges[1:]]
    return [str(low) if low == high else f"{low}–{high}" for low, high in zip(edges, ends)] + [f"{edges[-1]}+"]


def _size_labels() -> list[str]:
    edges = _SIZE_EDGES[:-1].astype(int).tolist()
    return [f"{low}–{high}" for low, high in pairwise(edges)] + [f"{edges[-1]}+"]
