"""Fills in people who are missing in a few frames of their track, after the people who were seen.

Their keypoints, scores and boxes lie on straight lines between the frames before and after. Only frames that are done
are filled: where a frame could not be decoded, there is none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from sapiens_pl.core.structures import NO_TRACK_ID, PoseResult, SmoothedPoses

_MOST_FRAMES = 4096
"""How many frames wait at once, whatever their times are."""
_ROUNDING = 1e-9
"""Seconds."""


def bridged(frames: Iterable[PoseResult], longest: float) -> Iterator[PoseResult]:
    """The frames of a video, which come in their order with `smoothed`; each is held back for `longest` seconds.

    Args:
        frames: with people in the rows 0 to N of `smoothed`.
        longest: seconds between two frames that show a person; longer gaps stay.
    """
    waiting: deque[_Waiting] = deque()
    last: dict[int, tuple[int, _Person]] = {}
    for number, frame in enumerate(frames):
        entry = _Waiting(frame)
        for track, person in _people(frame):
            if track in last:
                before, then = last[track]
                gap = number - before - 1
                if gap and then.seconds < person.seconds <= then.seconds + longest + _ROUNDING:
                    for between in list(waiting)[-gap:]:
                        between.put_in.append((track, _between(then, person, between.seconds)))
            last[track] = number, person
        waiting.append(entry)
        while entry.seconds - waiting[0].seconds > longest or len(waiting) > _MOST_FRAMES:
            yield waiting.popleft().result()
        for track in [
            track for track, (_, person) in last.items() if person.seconds < entry.seconds - longest - _ROUNDING
        ]:
            del last[track]
    while waiting:
        yield waiting.popleft().result()


class _Person(NamedTuple):
    """One person at one time: `keypoints` (K, 2), `scores` (K,), `bbox` (4,) xyxy."""

    seconds: float
    keypoints: np.ndarray
    scores: np.ndarray
    bbox: np.ndarray


class _Waiting:
    """A frame, and the people to fill in."""

    def __init__(self, frame: PoseResult) -> None:
        assert frame.frame is not None
        self.frame, self.seconds = frame, frame.frame.seconds
        self.put_in: list[tuple[int, _Person]] = []

    def result(self) -> PoseResult:
        """The frame with the people filled in, in the order of their ids."""
        smoothed = self.frame.smoothed
        if not self.put_in or smoothed is None:
            return self.frame
        tracks, people = zip(*sorted(self.put_in, key=lambda one: one[0]))
        of_people = [np.stack(column) for column in list(zip(*people))[1:]]
        columns = [*of_people, np.array(tracks, np.int64)]
        joined = (np.concatenate([one, other.astype(one.dtype)]) for one, other in zip(smoothed, columns))
        return self.frame._replace(smoothed=SmoothedPoses(*joined))


def _people(frame: PoseResult) -> Iterator[tuple[int, _Person]]:
    assert frame.frame is not None and frame.smoothed is not None
    keypoints, scores, bboxes, track_ids = frame.smoothed
    for track, row in zip(*np.unique(track_ids, return_index=True)):
        if track != NO_TRACK_ID:
            yield int(track), _Person(frame.frame.seconds, keypoints[row], scores[row], bboxes[row])


def _between(before: _Person, after: _Person, seconds: float) -> _Person:
    part = (seconds - before.seconds) / (after.seconds - before.seconds)
    mixed = (np.float64(1 - part) * one + np.float64(part) * other for one, other in zip(before[1:], after[1:]))
    return _Person(seconds, *mixed)
