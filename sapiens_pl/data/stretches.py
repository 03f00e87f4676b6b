"""Which pictures are dealt together: frames of videos, from one keyframe to the next or a later one.

Legend: P pictures, S stretches, n of the pictures.
"""

from __future__ import annotations

import numpy as np

from sapiens_pl.core.plan import Pictures

_LEAST_FRAMES = 32
"""Where each frame, or one in twelve, is a keyframe, decoders would jump more than they decode."""


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


def places_among(stretches: np.ndarray | None, indices: np.ndarray) -> np.ndarray | None:
    """The same, counted in the (n,) ascending indices of some of the pictures: begins that are left, and the end."""
    return None if stretches is None else np.unique(np.searchsorted(indices, stretches))
