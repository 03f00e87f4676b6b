"""Which frames of a video are posed (`data.video`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from sapiens_pl.core.errors import SettingError
from sapiens_pl.core.settings import check, either, number, whole_number

VIDEO = {
    "every": whole_number(1),
    "fps": either(number(above=0), None),
    "start": either(number(least=0), None),
    "end": either(number(above=0), None),
}
_EARLY = 0.25
"""Fraction of an interval by which a frame may come early: containers round times to milliseconds."""


class FrameChoice(NamedTuple):
    """Each `every`-th frame, of those at most `fps` a second, from `start` to before `end` (seconds).

    Seconds are as a player counts. Frames keep the index that they have among all.
    """

    every: int = 1
    fps: float | None = None
    start: float | None = None
    end: float | None = None

    def chosen(self, seconds: np.ndarray) -> np.ndarray:
        """(n,) int64 indices of the frames chosen, given the (F,) float64 times of all, in their order."""
        indices = np.arange(0, len(seconds), self.every)
        times = seconds[indices]
        indices = indices[(times >= (self.start or -np.inf)) & (times < (self.end or np.inf))]
        if self.fps is None or not len(indices):
            return indices
        turns = np.floor(seconds[indices] * self.fps + _EARLY)
        return indices[np.concatenate([[True], np.diff(np.maximum.accumulate(turns)) > 0])]


ALL_FRAMES = FrameChoice()


def frame_choice(video: Mapping[str, Any] | None, group: str | None = None) -> FrameChoice:
    """As the settings say.

    Args:
        video: `every`, `fps`, `start`, `end`; those that are missing are as if never given.
        group: how Hydra calls the settings; None for a Python caller.

    Raises:
        SettingError: a value that cannot be used, or an unknown key.
    """
    if video is None:
        return ALL_FRAMES
    prefix = "video" if group is None else group
    if not isinstance(video, Mapping):
        raise SettingError(f"{prefix}={video} must be settings by name: {', '.join(VIDEO)}.")
    unknown = [key for key in video if key not in VIDEO]
    if unknown:
        raise SettingError(f"{prefix}.{unknown[0]} is not a setting; there are {', '.join(VIDEO)}.")
    check(VIDEO, video, group)
    choice = FrameChoice(**video)
    if choice.start is not None and choice.end is not None and choice.start >= choice.end:
        raise SettingError(f"{prefix}.start={choice.start:g} must be less than {prefix}.end={choice.end:g}.")
    return choice
