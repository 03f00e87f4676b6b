"""How far keypoints of people in videos stand from where their tracks lead: between the frames before and after.

Legend: N people of one frame, K keypoints.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from sapiens_pl.core.structures import NO_TRACK_ID, PoseResult

LONGEST_GAP = 0.15
"""Seconds between two frames; over a longer time, people may do anything."""


class Jumps(NamedTuple):
    """Of the people of one frame.

    Attributes:
        distances: (N,) of the keypoint that is farthest off, in parts of the box's longer side; 0 where nothing is
            known.
        keypoints: (N,) int64, which.
    """

    distances: np.ndarray
    keypoints: np.ndarray


def with_jumps(results: Iterable[PoseResult], threshold: float) -> Iterator[tuple[PoseResult, Jumps]]:
    """Each result with the jumps of its people; a frame waits for the next one of its video.

    Args:
        results: frames of a video one after another, in their order.
        threshold: keypoints with a lower score, in any of the three frames, do not count.
    """
    before: PoseResult | None = None
    now: PoseResult | None = None
    for after in results:
        if now is not None:
            yield now, _jumps(before, now, after, threshold)
        before, now = now, after
    if now is not None:
        yield now, _none(now)


def _none(result: PoseResult) -> Jumps:
    num = len(result.instance_ids)
    return Jumps(np.zeros(num), np.zeros(num, np.int64))


def _jumps(before: PoseResult | None, now: PoseResult, after: PoseResult, threshold: float) -> Jumps:
    jumps = _none(now)
    if before is None or not (_follows(now, before) and _follows(after, now)):
        return jumps
    assert now.frame is not None and before.frame is not None and after.frame is not None
    part = (now.frame.seconds - before.frame.seconds) / (after.frame.seconds - before.frame.seconds)
    rows_before, rows_after = _rows(before), _rows(after)
    for track, row in _rows(now).items():
        if track in rows_before and track in rows_after:
            first, last = rows_before[track], rows_after[track]
            led = before.keypoints[first] * (1 - part) + after.keypoints[last] * part
            is_seen = (
                (before.keypoint_scores[first] >= threshold)
                & (now.keypoint_scores[row] >= threshold)
                & (after.keypoint_scores[last] >= threshold)
            )
            off = np.where(is_seen, np.linalg.norm(now.keypoints[row] - led, axis=1), 0.0)
            side = max(1.0, float((now.bboxes[row, 2:] - now.bboxes[row, :2]).max()))
            jumps.keypoints[row] = off.argmax()
            jumps.distances[row] = off.max() / side
    return jumps


def _follows(later: PoseResult, earlier: PoseResult) -> bool:
    one, other = earlier.frame, later.frame
    if one is None or other is None or one.video != other.video:
        return False
    return 0 < other.seconds - one.seconds <= LONGEST_GAP


def _rows(result: PoseResult) -> dict[int, int]:
    """The row of each track; ids that two people have are left out."""
    tracks = [] if result.track_ids is None else result.track_ids.tolist()
    rows = {track: row for row, track in enumerate(tracks) if track != NO_TRACK_ID}
    return {track: row for track, row in rows.items() if tracks.count(track) == 1}
