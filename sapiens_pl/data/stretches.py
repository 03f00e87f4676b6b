"""Which pictures are dealt together: frames of videos, from one keyframe to the next or a later one; whole tars.

Legend: P pictures, S stretches, n of the pictures.
"""

from __future__ import annotations

import math
from typing import overload

import numpy as np

from sapiens_pl.core.plan import Pictures

_LEAST_FRAMES = 32
"""Where each frame, or one in twelve, is a keyframe, decoders would jump more than they decode."""
_MOST_BUSY = 0.9
"""Whole tars are dealt if a process that gets one fewer than others is then busy for at least this part of the time."""


def dealt_together(pictures: Pictures, indices: np.ndarray, num_takers: int) -> np.ndarray | None:
    """(D + 1,) int64, where among the (n,) ascending indices those begin that one taker gets together, and the end.

    Whole tars or tables, if there are enough of them for the takers to get about as many each; else as `pieces` says.
    """
    if pictures.dealt_whole is not None:
        whole = places_among(pictures.dealt_whole, indices)
        if are_enough(len(whole) - 1, num_takers):
            return whole
    return places_among(pieces(pictures), indices)


def are_enough(num_shards: int, num_takers: int) -> bool:
    """Whether so many whole tars keep so many takers busy."""
    rounds = num_shards / num_takers
    return rounds > 0 and rounds >= _MOST_BUSY * math.ceil(rounds)


def pieces(pictures: Pictures) -> np.ndarray | None:
    """(pieces + 1,) int64, where those begin, and the end; None where no pictures belong together.

    A piece is a stretch, or as many of a video as it takes to have some frames. Pieces depend on nothing but the video.
    """
    stretches, frames = pictures.stretches, pictures.frames
    if stretches is None or frames is None or len(stretches) < 2:
        return stretches
    starts = stretches[:-1]
    video = frames.video[starts]
    is_first = np.diff(video, prepend=-2) != 0
    first = np.maximum.accumulate(np.where(is_first, starts, 0))
    begun = np.diff((starts - first) // _LEAST_FRAMES, prepend=0) != 0
    return np.append(starts[(video < 0) | is_first | begun], stretches[-1])


@overload
def places_among(stretches: np.ndarray, indices: np.ndarray) -> np.ndarray: ...


@overload
def places_among(stretches: None, indices: np.ndarray) -> None: ...


def places_among(stretches: np.ndarray | None, indices: np.ndarray) -> np.ndarray | None:
    """The same, counted in the (n,) ascending indices of some of the pictures: begins that are left, and the end."""
    return None if stretches is None else np.unique(np.searchsorted(indices, stretches))
