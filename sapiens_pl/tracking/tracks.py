"""Ids of people over the frames of one video, by ByteTrack's association (Zhang et al., arXiv 2110.06864).

Likely boxes are matched first with all people seen lately, then unlikely ones with those who are left; only likely
boxes start a new track. Times are those of the frames, in seconds, so that ids do not depend on the frame rate. Poses
are not compared: where people hide each other, a network often finds that of the one in front. On the drawn crowd of
`benchmarks/tracking.py`, object keypoint similarity in place of a half of the overlap cost 3 to 4 points of HOTA.

Legend: N people of one frame, T people seen lately.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from sapiens_pl.core.settings import Kind, check, number
from sapiens_pl.core.structures import NO_TRACK_ID, PoseResult
from sapiens_pl.tracking.motion import Motion
from sapiens_pl.tracking.similarity import matched, overlaps

TRACKS: dict[str, Kind] = {
    "high_score": number(),
    "low_score": number(),
    "max_lost_seconds": number(least=0.0),
    "min_overlap": number(above=0.0, below=1.0),
    "margin": number(least=0.0),
}
"""What the settings of `conf/tracking/tracks.yaml` may be."""
_MIN_OVERLAP_OF_UNLIKELY = 0.5
"""Unlikely boxes need a larger overlap (the paper's second stage)."""
_LARGEST_MARGIN = 1.0
"""Heights of a box, on each side."""


class FrameIds(NamedTuple):
    """The ids in one video: those of frame `frame_indices[i]` are `track_ids[offsets[i] : offsets[i + 1]]`.

    `frame_indices` (F,), `offsets` (F + 1,) and `track_ids` (N of all frames,) are int64.
    """

    frame_indices: np.ndarray
    offsets: np.ndarray
    track_ids: np.ndarray

    def of_frame(self, frame_index: int) -> np.ndarray:
        """(N,)"""
        position = int(np.searchsorted(self.frame_indices, frame_index))
        return self.track_ids[self.offsets[position] : self.offsets[position + 1]]

    @property
    def num_tracks(self) -> int:
        return len(np.setdiff1d(self.track_ids, [NO_TRACK_ID]))


class GivenIds:
    """Only people with an id from a box file have one."""

    def __call__(self, frames: Iterable[PoseResult]) -> FrameIds:
        """The ids of a video's frames, which come in their order."""
        columns = _Columns()
        for frame in frames:
            columns.add(frame, given_ids(frame))
        return columns.build()


class Tracks:
    """The others are followed too; `conf/tracking/tracks.yaml` explains the arguments.

    Raises:
        ConfigError: an argument is not of its kind.
    """

    def __init__(
        self,
        high_score: float = 0.5,
        low_score: float = 0.1,
        max_lost_seconds: float = 1.0,
        min_overlap: float = 0.2,
        margin: float = 0.25,
    ) -> None:
        self.high_score, self.low_score, self.max_lost_seconds = high_score, low_score, max_lost_seconds
        self.min_overlap, self.margin = min_overlap, margin
        check(TRACKS, vars(self))

    def __call__(self, frames: Iterable[PoseResult]) -> FrameIds:
        """The ids of a video's frames, which come in their order.

        Those that a box file has given stay; the others are numbered from 1, in the order in which people appear,
        without the given ones. People with unlikely boxes only have none, nor have people who were in one frame only,
        and not in the next with people.
        """
        following, numbers, given = _Following(self), _Columns(), _Columns()
        for frame in frames:
            assert frame.frame is not None
            ids = given_ids(frame)
            theirs, new = np.zeros(len(ids), np.int64), ids == NO_TRACK_ID
            if new.any():
                theirs[new] = following.numbers(frame.bboxes[new], frame.bbox_scores[new], frame.frame.seconds)
            numbers.add(frame, theirs)
            given.add(frame, ids)
        return _numbered(given.build(), numbers.build().track_ids, np.array(following.errors, np.int64))


class _Following:
    """The people of one video, who are numbered from 1 in the order in which they appear.

    `errors` has the numbers of people who were seen in one frame, and not in the next with people.
    """

    def __init__(self, settings: Tracks) -> None:
        self._settings, self._motion = settings, Motion()
        self._numbers, self._times_seen = np.empty(0, np.int64), np.empty(0, np.int64)
        self._missed = np.empty(0, bool)  # by the last frame with people
        self._num_people = 0
        self._now, self._lag = -np.inf, 0.0
        self.errors = array("q")

    def numbers(self, bboxes: np.ndarray, scores: np.ndarray, seconds: float) -> np.ndarray:
        """(N,), 0 for no track; only for frames with people: others need no call."""
        settings, found = self._settings, np.full(len(bboxes), -1)
        if seconds + self._lag < self._now:  # the clock was set back within the recording
            self._lag = self._now - seconds
        self._now = seconds = seconds + self._lag
        likeness = self._likeness(bboxes, seconds)
        likely, unlikely = (
            scores >= settings.high_score,
            (scores >= settings.low_score) & (scores < settings.high_score),
        )
        is_free = np.ones(len(self._motion), bool)
        _match(found, likeness, is_free, likely, settings.min_overlap)
        _match(found, likeness, is_free & ~self._missed, unlikely, max(settings.min_overlap, _MIN_OVERLAP_OF_UNLIKELY))
        people = np.flatnonzero(found >= 0)
        self._motion.see(found[people], bboxes[people], seconds)
        self._times_seen[found[people]] += 1
        self._missed = ~np.isin(np.arange(len(self._motion)), found)
        self._begin(found, likely & (found < 0), bboxes, seconds)
        numbers = np.append(self._numbers, 0)[found]
        self._forget(seconds)
        return numbers

    def _likeness(self, bboxes: np.ndarray, seconds: float) -> np.ndarray:
        """(T, N)"""
        margins = np.minimum(self._settings.margin * self._motion.errors(seconds), _LARGEST_MARGIN)
        return overlaps(self._motion.bboxes(seconds), bboxes, margins)

    def _begin(self, found: np.ndarray, new: np.ndarray, bboxes: np.ndarray, seconds: float) -> None:
        num_new = int(new.sum())
        found[new] = len(self._motion) + np.arange(num_new)
        self._motion.add(bboxes[new], seconds)
        self._numbers = np.append(self._numbers, self._num_people + 1 + np.arange(num_new))
        self._num_people += num_new
        self._times_seen = np.append(self._times_seen, np.ones(num_new, np.int64))
        self._missed = np.append(self._missed, np.zeros(num_new, bool))

    def _forget(self, seconds: float) -> None:
        """Forgets people who have been away too long, and those seen only once, which are mostly false detections."""
        is_late = self._motion.unseen(seconds) >= self._settings.max_lost_seconds
        once = self._missed & (self._times_seen == 1)
        self.errors.extend(self._numbers[once].tolist())
        stays = ~once & ~(self._missed & is_late)
        self._motion.keep(stays)
        self._numbers, self._times_seen = self._numbers[stays], self._times_seen[stays]
        self._missed = self._missed[stays]


def _match(found: np.ndarray, likeness: np.ndarray, is_free: np.ndarray, which: np.ndarray, least: float) -> None:
    """Writes the rows of those who are found into `found`, and takes them from `is_free`."""
    rows, columns = np.flatnonzero(is_free), np.flatnonzero(which)
    pairs = matched(likeness[np.ix_(rows, columns)], least)
    found[columns[pairs[1]]] = rows[pairs[0]]
    is_free[rows[pairs[0]]] = False


class _Columns:
    """Ids, frame by frame."""

    def __init__(self) -> None:
        self._frames, self._counts, self._ids = array("q"), array("q"), array("q")

    def add(self, frame: PoseResult, ids: np.ndarray) -> None:
        assert frame.frame is not None
        self._frames.append(frame.frame.frame_index)
        self._counts.append(len(ids))
        self._ids.frombytes(ids.astype(np.int64).tobytes())

    def build(self) -> FrameIds:
        offsets = np.cumsum([0, *self._counts])
        return FrameIds(np.array(self._frames, np.int64), offsets, np.array(self._ids, np.int64))


def given_ids(frame: PoseResult) -> np.ndarray:
    """(N,) int64, a copy: the ids that a box file has given, else `NO_TRACK_ID`."""
    if frame.track_ids is None:
        return np.full(len(frame.instance_ids), NO_TRACK_ID)
    return frame.track_ids.copy()


def _numbered(given: FrameIds, numbers: np.ndarray, errors: np.ndarray) -> FrameIds:
    """The given ids, and for people with a number from 1 instead the whole numbers from 1 that are not given.

    Args:
        given: the ids that are given.
        numbers: (N of all frames,), 0 for no track.
        errors: numbers that are no tracks either.
    """
    people = np.setdiff1d(numbers, [0, *errors])
    taken = np.unique(given.track_ids)
    candidates = np.arange(1, len(people) + len(taken) + 1)  # so many are enough, whichever are taken
    ids = np.full(int(numbers.max(initial=0)) + 1, NO_TRACK_ID)
    ids[people] = np.setdiff1d(candidates, taken)[: len(people)]
    return given._replace(track_ids=np.where(given.track_ids == NO_TRACK_ID, ids[numbers], given.track_ids))
