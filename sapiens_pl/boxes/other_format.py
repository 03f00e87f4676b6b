"""Whether boxes look as another `boxes.format` would write them, by the sizes of a few of their pictures.

The numbers alone say little: of corners taken for corner and size most leave their pictures, and of sizes taken for
corners many are inverted; but a file of close-ups looks the same. So pictures are looked at only where the numbers are
suspicious, and their headers decide.

Legend: N boxes.
"""

from __future__ import annotations

import os
from contextlib import suppress

import numpy as np

from sapiens_pl.boxes.rules import BoxRules, corners_of
from sapiens_pl.core.errors import ConfigError, SapiensError
from sapiens_pl.core.plan import Pictures
from sapiens_pl.pictures.header import read_header
from sapiens_pl.pictures.orientation import TURNED_ORIENTATIONS

_IN_PX = ("xyxy", "xywh", "cxcywh")
_PICTURES = 24
"""How many headers are read at most."""
_HEADER_BYTES = 1 << 18
_LEAST, _ENOUGH = 3, 12
"""Boxes: of fewer than the first nothing can be said; from the second on the run is refused."""
_SLACK = 0.02
"""Of a picture's width and height: how far beyond its edges boxes of detectors may reach."""
_FITS, _MANY = 0.98, 0.1


def check_format(path: str, source: Pictures, whose: np.ndarray, boxes: np.ndarray, rules: BoxRules) -> str:
    """The setting that would fix it, if the boxes look like another format's; else "".

    Args:
        path: the box file, for the sentence.
        whose: (N,) int64 the boxes' pictures, ascending.
        boxes: (N, 4) as in the file.

    Raises:
        ConfigError: it is sure that they are of another format.
    """
    wonder = _makes_one_wonder(boxes, rules)
    if not wonder.any():
        return ""
    seen, sizes = _with_sizes(source, whose, np.flatnonzero(wonder), rules.exif == "raw")
    if len(seen) < _LEAST:
        return ""
    own = _fit(boxes[seen], sizes, rules.format)
    others = [
        format for format in _IN_PX if format != rules.format and _fit(boxes[seen], sizes, format).mean() >= _FITS
    ]
    if not others or own.mean() > 1 - _MANY:
        return ""
    meant = f"boxes.format={' or '.join(others)}"
    if len(seen) >= _ENOUGH:
        box = ", ".join(f"{value:g}" for value in boxes[seen[np.flatnonzero(~own)[0]]])
        raise ConfigError(
            f"{path}: {int((~own).sum())} of {len(seen)} boxes looked at, such as {box}, do not lie in their images as "
            f"boxes.format={rules.format} has them, and all do otherwise: was {meant} meant?"
        )
    return meant


def _makes_one_wonder(boxes: np.ndarray, rules: BoxRules) -> np.ndarray:
    """(N,) bool: boxes that are odd in this format and not in another; none where these are few."""
    none = np.zeros(len(boxes), bool)
    if rules.format not in _IN_PX:
        return none
    corners = corners_of(boxes, rules.format, 0.0)
    if rules.format == "xyxy":
        odd, least = _are_inverted(corners), _MANY
    elif rules.format == "xywh":
        odd, least = ~_are_inverted(boxes), 0.5
    else:
        odd, least = np.asarray((corners[:, :2] < 0).any(axis=1)), 0.5
    odd = np.asarray(odd & ~np.isnan(boxes).any(axis=1))
    return odd if len(boxes) >= _LEAST and odd.mean() >= least else none


def _are_inverted(corners: np.ndarray) -> np.ndarray:
    return (corners[:, 2] < corners[:, 0]) | (corners[:, 3] < corners[:, 1])


def _with_sizes(source: Pictures, whose: np.ndarray, odd: np.ndarray, is_raw: bool) -> tuple[np.ndarray, np.ndarray]:
    """Some of the boxes, positions (n,) int64, and the (n, 2) widths and heights of their pictures."""
    pictures = {*_spread(np.unique(whose[odd])), *_spread(np.unique(whose))}
    sizes = {index: size for index in pictures if (size := _size(source, index, is_raw)) is not None}
    seen = np.flatnonzero(np.isin(whose, list(sizes)))
    return seen, np.array([sizes[index] for index in whose[seen].tolist()], np.float64).reshape(-1, 2)


def _spread(pictures: np.ndarray) -> list[int]:
    """Half of those that are looked at."""
    chosen: list[int] = pictures[:: -(-2 * len(pictures) // _PICTURES)].tolist()
    return chosen


def _size(source: Pictures, index: int, is_raw: bool) -> tuple[int, int] | None:
    """Of a file on the disk; None where that is not known at once."""
    path = source.path(index)
    if (source.frames is not None and source.frames.video[index] >= 0) or not os.path.isfile(path):
        return None
    with suppress(OSError, SapiensError):
        with open(path, "rb") as file:
            header = read_header(file.read(_HEADER_BYTES), float("inf"))
        return header.wh[::-1] if header.orientation in TURNED_ORIENTATIONS and not is_raw else header.wh
    return None


def _fit(boxes: np.ndarray, sizes: np.ndarray, format: str) -> np.ndarray:
    """(n,) bool: boxes that have an area and lie in their pictures."""
    corners, slack = corners_of(boxes, format, 0.0), _SLACK * sizes
    is_inside = (corners[:, :2] >= -slack).all(axis=1) & (corners[:, 2:] <= sizes + slack).all(axis=1)
    return np.asarray(is_inside & (corners[:, 2:] > corners[:, :2]).all(axis=1))
