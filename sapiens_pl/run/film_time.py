"""How many frames and seconds of video a process has to pose, and has posed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from sapiens_pl.core.plan import FrameColumns
from sapiens_pl.data.portions import Portion

_SECONDS_OF_ONE_FRAME = 1 / 25
"""Assumed if a video has no other frame that would tell it."""


class VideoTally(NamedTuple):
    """Frames of videos, and the seconds of film that they stand for, those between them that are not posed included."""

    frames: int
    seconds: float


class FilmTime:
    """The frames of a process's share.

    Args:
        portion: as planned.
    """

    def __init__(self, portion: Portion) -> None:
        self.portion = portion
        columns = portion.tasks.pictures.frames
        own = np.empty(0, np.int64)
        if columns is not None:
            of_frame = seconds_of_frame(columns)
            self._seconds = dict(zip(columns.videos, of_frame.tolist()))
            video = columns.video[portion.tasks.indices[portion.share]]
            own = video[video >= 0]
        self.planned: VideoTally | None = None
        """None: there are none."""
        if len(own):
            self.planned = VideoTally(len(own), float(of_frame[own].sum()))

    def done(self, frames: Mapping[str, int]) -> VideoTally | None:
        """Given how many of each video have their outcome."""
        if self.planned is None:
            return None
        seconds = sum(number * self._seconds[video] for video, number in frames.items())
        return VideoTally(sum(frames.values()), seconds)


def seconds_of_frame(columns: FrameColumns) -> np.ndarray:
    """(V,) float64: the seconds that each posed frame of a video stands for, on average."""
    of_frames = columns.video >= 0
    video, seconds = columns.video[of_frames], columns.seconds[of_frames]
    num_videos = len(columns.videos)
    first, last = np.full(num_videos, np.inf), np.full(num_videos, -np.inf)
    np.minimum.at(first, video, seconds)
    np.maximum.at(last, video, seconds)
    steps = np.bincount(video, minlength=num_videos) - 1
    length = np.where(steps > 0, last - first, 0.0)
    return np.where(length > 0, length / np.maximum(steps, 1), _SECONDS_OF_ONE_FRAME)
