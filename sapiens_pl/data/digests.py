"""A digest of 64 bits for the boxes of each picture: if it has changed, the result may have changed.

Plain arithmetic on whole numbers, so that a digest is the same on every machine and in every version of numpy. It tells
changes apart, not forgeries.

Legend: P pictures, N boxes.
"""

from __future__ import annotations

import hashlib

import numpy as np

from sapiens_pl.core.columns import BoxColumns, Names
from sapiens_pl.core.plan import FrameColumns

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
"""The constants of SplitMix64 (Steele, Lea and Flood, 2014), whose last step scatters the bits of a number."""
_NAN_BITS = np.uint64(0x7FF8000000000000)
_GIVEN = np.uint64(0xD1B54A32D192ED03)
"""Any odd number that no other step uses."""


def digests(boxes: BoxColumns, frames: FrameColumns | None = None) -> np.ndarray:
    """(P,) uint64, a digest for each picture: of its boxes, their scores, ids and order, and how they are meant.

    In frames of videos, an id that is given is a track's. One that equals the place of its box would be there without
    having been given, too: only of such is noted that it was, so that all other digests are what they always were.

    Args:
        boxes: of all pictures.
        frames: which of these are frames of videos; None: none.
    """
    rows = np.zeros(len(boxes.bboxes_xyxy), np.uint64)
    for column in (*boxes.bboxes_xyxy.T, boxes.bbox_scores):
        rows = _scattered(rows ^ _bits(column))
    rows = _scattered(rows ^ boxes.instance_ids.astype(np.int64).view(np.uint64))
    counts = boxes.num_boxes
    positions = np.arange(len(rows)) - np.repeat(boxes.offsets[:-1], counts)
    rows[_tracks_like_places(boxes, frames, positions)] ^= _GIVEN
    rows = _scattered(rows + (positions.astype(np.uint64) + np.uint64(1)) * _STEP)
    # Sums that wrap around; between two of them lie the rows of one picture.
    sums = np.zeros(len(rows) + 1, np.uint64)
    np.cumsum(rows, out=sums[1:])
    of_pictures = sums[boxes.offsets[1:]] - sums[boxes.offsets[:-1]]
    meaning = np.uint64(2 * boxes.raw_exif + boxes.normalised)
    return _scattered(of_pictures ^ _scattered(counts.astype(np.uint64) * np.uint64(4) + meaning))


def _tracks_like_places(boxes: BoxColumns, frames: FrameColumns | None, positions: np.ndarray) -> np.ndarray:
    """(N,) bool: given ids of people in videos that are also the box's number among those of its picture."""
    if boxes.has_given_id is None or frames is None:
        return np.zeros(len(positions), bool)
    of_frames = np.repeat(frames.video >= 0, boxes.num_boxes)
    return boxes.has_given_id & of_frames & (boxes.instance_ids == positions)


def digest_of_plan(names: Names, of_boxes: np.ndarray | None) -> str:
    """One string for all pictures and (P,) digests of their boxes; None where each process has only its own."""
    digest = hashlib.blake2b(names.data[names.offsets[0] : names.offsets[-1]].tobytes(), digest_size=8)
    digest.update(np.diff(names.offsets).tobytes())
    digest.update(b"" if of_boxes is None else of_boxes.tobytes())
    return digest.hexdigest()


def _bits(column: np.ndarray) -> np.ndarray:
    """The numbers' 64 bits; equal numbers have equal ones, and so have all NaNs."""
    bits = (column.astype(np.float64) + 0.0).view(np.uint64)  # -0.0 becomes 0.0
    return np.where(np.isnan(column), _NAN_BITS, bits)


def _scattered(values: np.ndarray) -> np.ndarray:
    values = values + _STEP
    for shift, multiplier in zip((30, 27), _MULTIPLIERS):
        values = (values ^ (values >> np.uint64(shift))) * multiplier
    return values ^ (values >> np.uint64(31))
