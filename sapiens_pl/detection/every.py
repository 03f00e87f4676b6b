"""Frames of videos that the detector looks at, if not at each, and the boxes of those between.

Which frames these are, and which boxes are made from which, depends only on the video: not on ranks, shards, or
where a run was interrupted.

Legend: P pictures, n some of them, L those looked at, N people of a frame.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sapiens_pl.core.plan import FrameColumns, Pictures
from sapiens_pl.data.stretches import pieces
from sapiens_pl.detection.rules import COORDINATE_DECIMALS, SCORE_DECIMALS

_LEAST_IOU = 0.2
"""Of one person's boxes in two frames, as for the association in ByteTrack (its `match_thresh` is 0.8)."""


class Neighbours(NamedTuple):
    """Between which frames others lie: indices of pictures, (n,) int64 each, -1 where there is none."""

    before: np.ndarray
    after: np.ndarray


class Looks:
    """Of each piece of a video the first frame, each n-th behind it and the last are looked at, and all photographs.

    Args:
        pictures: all of the source's.
        every: n.
    """

    def __init__(self, pictures: Pictures, every: int) -> None:
        count = len(pictures.names)
        self.is_looked_at = np.ones(count, bool)
        """(P,)"""
        bounds, self._frames = pieces(pictures), pictures.frames
        if every == 1 or bounds is None or self._frames is None:
            self._piece = np.arange(count)
            return
        self._piece = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
        place = np.arange(count) - bounds[self._piece]
        self.is_looked_at = (place % every == 0) | (self._frames.video < 0)
        self.is_looked_at[bounds[1:] - 1] = True

    def near(self, indices: np.ndarray) -> np.ndarray:
        """The (L,) pictures whose people tell those of the (n,) ascending ones."""
        if self.is_looked_at.all():
            return indices
        touched = np.zeros(len(self._piece) + 1, bool)
        touched[self._piece[indices]] = True
        return np.flatnonzero(self.is_looked_at & touched[self._piece])

    def neighbours(self, indices: np.ndarray, usable: np.ndarray) -> Neighbours:
        """Of each of the (n,) pictures the nearest usable ones of its piece, on either side.

        Args:
            usable: (L,) ascending indices of pictures.
        """
        places = np.searchsorted(usable, indices)
        padded = np.concatenate([[-1], usable, [-1]])
        sides = padded[places], padded[places + 1]
        piece = np.append(self._piece, -1)  # the last one is that of -1
        return Neighbours(*(np.where(piece[side] == piece[indices], side, -1) for side in sides))

    def share_of_way(self, index: int, before: int, after: int) -> float:
        """How far a frame's time has come from one's to the other's, from 0 to 1."""
        assert self._frames is not None
        return share_of_way(self._frames, index, before, after)


def share_of_way(frames: FrameColumns, index: int, before: int, after: int) -> float:
    start, now, end = (float(frames.seconds[each]) for each in (before, index, after))
    if not start < end or not start <= now <= end:  # times that go back, or are not known
        start, now, end = before, index, after
    return (now - start) / (end - start)


def people_between(before: np.ndarray, after: np.ndarray, way: float) -> np.ndarray:
    """The people of a frame between two others.

    Those who are in both are where a straight line has them, with the lower of the two scores. Others are in the half
    that is nearer to theirs.

    Args:
        before, after: (N, 5) rows x, y, width, height, score.
        way: from 0 to 1.

    Returns:
        (N, 5) rows, the likeliest first.
    """
    pairs = same_people(before, after)
    first, second = before[pairs[:, 0]], after[pairs[:, 1]]
    both = first + (second - first) * way
    both[:, 4] = np.minimum(first[:, 4], second[:, 4])
    side, known = (before, pairs[:, 0]) if way <= 0.5 else (after, pairs[:, 1])
    rows = np.concatenate([both, np.delete(side, known, axis=0)])
    rows[:, :4] = np.round(rows[:, :4], COORDINATE_DECIMALS)
    rows[:, 4] = np.round(rows[:, 4], SCORE_DECIMALS)
    return rows[np.argsort(-rows[:, 4], kind="stable")]


def same_people(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(pairs, 2) int64 rows of (N, 5) people in two frames: who overlap most are one, then of the others who do."""
    ious, pairs = _ious(before, after), []
    while ious.size and ious.max() >= _LEAST_IOU:
        row, column = np.unravel_index(int(ious.argmax()), ious.shape)
        pairs.append((row, column))
        ious[row], ious[:, column] = -1, -1
    return np.array(sorted(pairs), np.int64).reshape(-1, 2)


def _ious(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    first, second = before[:, None, :4], after[None, :, :4]
    least = np.maximum(first[..., :2], second[..., :2])
    most = np.minimum(first[..., :2] + first[..., 2:], second[..., :2] + second[..., 2:])
    shared = (most - least).clip(min=0).prod(axis=-1)
    union = first[..., 2:].prod(axis=-1) + second[..., 2:].prod(axis=-1) - shared
    return shared / np.maximum(union, np.finfo(float).tiny)


def rows_of(looks: Looks, indices: np.ndarray, near: Neighbours, seen: Callable[[int], np.ndarray]) -> list[np.ndarray]:
    """The (N, 5) people of each of the (n,) pictures; `seen` gives those of its neighbours."""
    found = []
    for index, before, after in zip(indices.tolist(), near.before.tolist(), near.after.tolist()):
        if before < 0 or after < 0 or before == after:
            found.append(seen(max(before, after)))
        else:
            way = looks.share_of_way(index, before, after)
            found.append(people_between(seen(before), seen(after), way))
    return found
