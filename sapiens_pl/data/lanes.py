"""Which loader process reads which batches, where pictures are cheaper to read in their order: frames of videos.

torch gives the batch at position p to process p % W. So as many lanes as there are processes are cut out of the plan,
each of consecutive batches, and take turns: each process reads forwards, and its decoder goes on where it was.

Legend: B batches, L lanes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_MOST_IN_VAIN = 0.15
"""The fraction of the pictures that may be decoded only because a lane begins between two keyframes."""


class Ends(NamedTuple):
    """The first and the last picture of each batch, (B,) int64 each, in the order of the plan."""

    first: np.ndarray
    last: np.ndarray


def lane_order(num_batches: int, num_lanes: int) -> np.ndarray:
    """(B,) int64: which batch stands at each position: lane l has l, l + L, ... The last batch stays the last."""
    lanes = (np.arange(num_lanes) + num_batches) % num_lanes  # the lane of each part, from front to back
    ends = np.cumsum(-((lanes - num_batches) // num_lanes))
    begins = np.concatenate([[0], ends[:-1]])
    order = np.empty(num_batches, np.int64)
    for lane, begin, end in zip(lanes.tolist(), begins.tolist(), ends.tolist()):
        order[lane::num_lanes] = np.arange(begin, end)
    return order


def num_lanes(ends: Ends, stretches: np.ndarray, num_pictures: int, most: int) -> int:
    """The largest number of lanes, up to `most`, that do not decode too many frames in vain.

    Args:
        ends: of the batches.
        stretches: (S + 1,) int64, where decoding can begin, and the end.
        num_pictures: those to read.
        most: number of processes.
    """
    most = min(most, len(ends.first))
    for lanes in range(most, 1, -1):
        if _in_vain(ends, _cuts(len(ends.first), lanes), stretches) <= _MOST_IN_VAIN * num_pictures:
            return lanes
    return min(most, 1)


def _cuts(num_batches: int, lanes: int) -> np.ndarray:
    """(L - 1,) int64: the batches that each lane but the first begins with."""
    order = lane_order(num_batches, lanes)
    return np.sort(order[:lanes])[1:]


def _in_vain(ends: Ends, cuts: np.ndarray, stretches: np.ndarray) -> int:
    """How many pictures are decoded from the last keyframe on, which one lane would have decoded anyway."""
    first, before = ends.first[cuts], ends.last[cuts - 1]
    begins = stretches[np.searchsorted(stretches, first, side="right") - 1]
    goes_on = (before >= begins) & (before <= first)
    return int((first - begins)[goes_on].sum())
