"""Smooths the poses of videos: each keypoint of each track over the frames' real times.

A smoother passes the frames of one video on, in their order, with `smoothed` filled in; it keeps only the frames that
its window reaches. What the network has found stays as it is. People of no track are not smoothed.

Legend: N people of one frame, K keypoints, n points in a window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

import numpy as np

from sapiens_pl.core.settings import SWITCH, Kind, check, number, whole_number
from sapiens_pl.core.structures import NO_TRACK_ID, PoseResult, SmoothedPoses
from sapiens_pl.tracking.bridging import bridged

SMOOTHING: dict[str, Kind] = {
    "min_cutoff": number(above=0.0),
    "beta": number(least=0.0),
    "speed_cutoff": number(above=0.0),
    "window_seconds": number(above=0.0),
    "degree": whole_number(0),
    "weigh_by_score": SWITCH,
    "bridge_seconds": number(least=0.0),
}
"""What the settings of `conf/smoothing/*.yaml` may be."""
_LEAST_WEIGHT = 0.01
"""Weight of a keypoint with almost no score, so that it does not stand still for ever."""
_MOST_FRAMES = 4096
"""How many frames a window holds at once, whatever their times are."""


class Unsmoothed:
    """Nothing is smoothed."""

    def __call__(self, frames: Iterable[PoseResult]) -> Iterator[PoseResult]:
        """The frames as they are."""
        yield from frames


class OneEuro:
    """The 1 euro filter (Casiez et al., CHI 2012): a low pass whose cutoff rises with the speed; it uses no later
    frames.

    Args:
        min_cutoff: Hz, of a keypoint that stands still.
        beta: Hz for each height of the person's box a second that a keypoint moves.
        speed_cutoff: Hz, of the low pass that the speed itself goes through.
        weigh_by_score: keypoints of a low score follow more slowly.
        bridge_seconds: see `bridging`.

    Raises:
        ConfigError: an argument is not of its kind.
    """

    def __init__(
        self,
        min_cutoff: float = 1.0,
        beta: float = 20.0,
        speed_cutoff: float = 1.0,
        weigh_by_score: bool = False,
        bridge_seconds: float = 0.25,
    ) -> None:
        self.min_cutoff, self.beta, self.speed_cutoff = min_cutoff, beta, speed_cutoff
        self.weigh_by_score, self.bridge_seconds = weigh_by_score, bridge_seconds
        check(SMOOTHING, vars(self))

    def __call__(self, frames: Iterable[PoseResult]) -> Iterator[PoseResult]:
        """The frames with `smoothed`."""
        for piece in _forwards(frames):
            yield from bridged(self._smoothed(piece), self.bridge_seconds)

    def _smoothed(self, frames: Iterable[PoseResult]) -> Iterator[PoseResult]:
        states: dict[int, _State] = {}
        for frame in frames:
            keypoints, seconds = frame.keypoints.copy(), _seconds(frame)
            for row, track in _tracks(frame):
                height = max(float(frame.bboxes[row, 3] - frame.bboxes[row, 1]), 1.0)
                raw, scores = frame.keypoints[row].astype(np.float64), frame.keypoint_scores[row]
                states[track] = self._next(states.get(track), _Point(seconds, raw, scores), height)
                keypoints[row] = states[track].keypoints
            if len(states) > _MOST_FRAMES:  # tracks not seen for longest are dropped
                states = dict(sorted(states.items(), key=lambda item: item[1].seconds)[-_MOST_FRAMES // 2 :])
            yield _with(frame, keypoints)

    def _next(self, state: _State | None, point: _Point, height: float) -> _State:
        if state is None:
            return _State(point.seconds, point.keypoints, np.zeros_like(point.keypoints), point.keypoints)
        elapsed = point.seconds - state.seconds
        if elapsed <= 0:  # two frames of one time
            return state._replace(raw=point.keypoints)
        speeds = (point.keypoints - state.raw) / height / elapsed
        speeds = state.speeds + _part(self.speed_cutoff, elapsed) * (speeds - state.speeds)
        cutoffs = self.min_cutoff + self.beta * np.linalg.norm(speeds, axis=1, keepdims=True)
        parts = _part(cutoffs, elapsed)
        if self.weigh_by_score:
            parts = parts * np.clip(point.scores, _LEAST_WEIGHT, 1.0)[:, None]
        keypoints = state.keypoints + parts * (point.keypoints - state.keypoints)
        return _State(point.seconds, point.keypoints, speeds, keypoints)


class SavitzkyGolay:
    """Fits a polynomial to the keypoints of some time before and after, by least squares; without a lag.

    For even times this is the filter of Savitzky and Golay (Analytical Chemistry 36, 1964); here the times are those of
    the frames, and the window is shorter where a track begins and ends.

    Args:
        window_seconds: half of them before the frame, half behind.
        degree: of the polynomial; where the window has too few points for it, they stay as they are.
        weigh_by_score: keypoints count as much as their scores.
        bridge_seconds: see `bridging`.

    Raises:
        ConfigError: an argument is not of its kind.
    """

    def __init__(
        self,
        window_seconds: float = 0.3,
        degree: int = 2,
        weigh_by_score: bool = False,
        bridge_seconds: float = 0.25,
    ) -> None:
        self.window_seconds, self.degree = window_seconds, degree
        self.weigh_by_score, self.bridge_seconds = weigh_by_score, bridge_seconds
        check(SMOOTHING, vars(self))

    def __call__(self, frames: Iterable[PoseResult]) -> Iterator[PoseResult]:
        """The frames with `smoothed`."""
        for piece in _forwards(frames):
            yield from bridged(self._smoothed(piece), self.bridge_seconds)

    def _smoothed(self, frames: Iterable[PoseResult]) -> Iterator[PoseResult]:
        reach = self.window_seconds / 2 + 1e-9
        waiting: deque[PoseResult] = deque()
        points: dict[int, deque[_Point]] = {}
        for frame in frames:
            waiting.append(frame)
            for row, track in _tracks(frame):
                point = _Point(_seconds(frame), frame.keypoints[row].astype(np.float64), frame.keypoint_scores[row])
                points.setdefault(track, deque()).append(point)
            while _seconds(frame) - _seconds(waiting[0]) > reach or len(waiting) > _MOST_FRAMES:
                yield self._one(waiting.popleft(), points, reach)
        while waiting:
            yield self._one(waiting.popleft(), points, reach)

    def _one(self, frame: PoseResult, points: dict[int, deque[_Point]], reach: float) -> PoseResult:
        seconds, keypoints = _seconds(frame), frame.keypoints.copy()
        for track in [track for track, theirs in points.items() if theirs[-1].seconds < seconds - reach]:
            del points[track]
        for row, track in _tracks(frame):
            theirs = points[track]
            while theirs[0].seconds < seconds - reach:
                theirs.popleft()
            keypoints[row] = self._fitted([point for point in theirs if point.seconds <= seconds + reach], seconds)
        return _with(frame, keypoints)

    def _fitted(self, points: list[_Point], seconds: float) -> np.ndarray:
        """(K, 2): the polynomial's value at that time."""
        times = (np.array([point.seconds for point in points]) - seconds) / (self.window_seconds / 2)
        degree = min(self.degree, len(np.unique(times)) - 1)
        powers = times[:, None] ** np.arange(degree + 1)
        keypoints = np.stack([point.keypoints for point in points])
        if not self.weigh_by_score:
            return np.tensordot(np.linalg.pinv(powers)[0], keypoints, 1)
        weights = np.sqrt(np.clip(np.stack([point.scores for point in points]), _LEAST_WEIGHT, 1.0)).T
        parts = np.linalg.pinv(weights[:, :, None] * powers)[:, 0] * weights  # (K, n)
        return np.einsum("kn,nkc->kc", parts, keypoints)


class _Point(NamedTuple):
    """One person in one frame: `keypoints` (K, 2) float64, `scores` (K,)."""

    seconds: float
    keypoints: np.ndarray
    scores: np.ndarray


class _State(NamedTuple):
    """What the 1 euro filter knows of a track: `raw` and filtered `keypoints` (K, 2), `speeds` (K, 2) heights/s."""

    seconds: float
    raw: np.ndarray
    speeds: np.ndarray
    keypoints: np.ndarray


def _part(cutoff: float | np.ndarray, elapsed: float) -> float | np.ndarray:
    """The weight of a new value in a low pass with that cutoff in Hz, after `elapsed` seconds."""
    turn = 2 * np.pi * cutoff * elapsed
    return turn / (turn + 1)


def _tracks(frame: PoseResult) -> Iterator[tuple[int, int]]:
    """Row and id of each person who has one; if a file gives two people one id, of the first."""
    assert frame.track_ids is not None
    ids, rows = np.unique(frame.track_ids, return_index=True)
    yield from ((int(row), int(track)) for row, track in zip(rows, ids) if track != NO_TRACK_ID)


def _forwards(frames: Iterable[PoseResult]) -> Iterator[Iterator[PoseResult]]:
    """The frames in pieces, each of which ends where the clock is set back within the recording."""
    number, last = 0, -np.inf

    def piece(frame: PoseResult) -> int:
        nonlocal number, last
        number, last = number + (_seconds(frame) < last), _seconds(frame)
        return number

    for _, of_piece in groupby(frames, piece):
        yield of_piece


def _seconds(frame: PoseResult) -> float:
    assert frame.frame is not None
    return frame.frame.seconds


def _with(frame: PoseResult, keypoints: np.ndarray) -> PoseResult:
    assert frame.track_ids is not None
    smoothed = SmoothedPoses(keypoints, frame.keypoint_scores, frame.bboxes, frame.track_ids)
    return frame._replace(smoothed=smoothed)
