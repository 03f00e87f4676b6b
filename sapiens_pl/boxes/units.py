"""Whether boxes are of another form than `boxes.format` says: most of them would be nowhere, or inside out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import islice

import numpy as np

from sapiens_pl.boxes.rules import INVERTED, BoxRow, BoxRules
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.structures import Failure, ImageTask

log = logging.getLogger(__name__)

_LOOKED_AT = 1000
"""Boxes that are enough to see that a file is in px."""
_MOST_OF = 3
"""Of fewer boxes "most" or "all" says nothing."""
_SLACK = 1.02
"""Boxes of detectors may reach a little over the edge."""
_BEYOND = 2.0
"""No part of an image's width or height is so large, not even of a person who stands half outside."""


def check_units(path: str, rows: Sequence[BoxRow], rules: BoxRules) -> None:
    """Raises ConfigError if parts of the image's size are given as px, or px as parts."""
    if rules.normalised:
        seen = [box for row in islice(rows, _LOOKED_AT) if (box := _numbers(row))]
        in_px = [box for box in seen if max(map(abs, box)) > _BEYOND]
        if len(seen) >= _MOST_OF and 2 * len(in_px) > len(seen):
            raise ConfigError(
                f"{path} has boxes such as {_text(in_px[0])}, which are px and no parts of an image's width and "
                "height; say boxes.format=xyxy, xywh or cxcywh, as they are meant."
            )
        return
    fraction = None
    for row in rows:
        box = _numbers(row)
        if box is None:
            continue
        if not all(0 <= value <= 1 for value in box):
            return
        fraction = fraction or next((box for value in box if value % 1), None)
    if fraction:
        raise ConfigError(
            f"All boxes of {path} lie between 0 and 1, such as {_text(fraction)}: they are parts of the images' width "
            "and height, not px; say boxes.format=cxcywhn if they are centre and size, else multiply them."
        )


def check_within(path: str, rows: Sequence[BoxRow], sizes: Mapping[str, tuple[float, float]], rules: BoxRules) -> None:
    """Raises ConfigError if corners are given as corner and size: most boxes leave their images, and would not so.

    Args:
        sizes: width and height of the images, by name, where the file tells them.
    """
    if rules.format != "xywh":
        return
    seen = [
        (box, sizes[row.image]) for row in islice(rows, _LOOKED_AT) if row.image in sizes and (box := _numbers(row))
    ]
    corners = [
        (box, size)
        for box, size in seen
        if (box[0] + box[2] > _SLACK * size[0] or box[1] + box[3] > _SLACK * size[1])
        and all(low < high <= _SLACK * most for low, high, most in zip(box[:2], box[2:], size))
    ]
    if len(seen) >= _MOST_OF and 2 * len(corners) > len(seen):
        box, (width, height) = corners[0]
        raise ConfigError(
            f"{path}: {len(corners)} of {len(seen)} boxes reach beyond their images, such as {_text(box)} in one of "
            f"{width:g}x{height:g} px: was boxes.format=xyxy meant?"
        )


def check_inverted(path: str, failures: Sequence[Failure], num_rows: int, rules: BoxRules) -> None:
    """Raises ConfigError if more than half of a file's boxes are inverted."""
    inverted = [failure for failure in failures if INVERTED in failure.message]
    if num_rows >= _MOST_OF and 2 * len(inverted) > num_rows:
        raise ConfigError(
            f"{path}: {len(inverted)} of {num_rows} boxes are inverted{rules.if_inverted or '.'} {inverted[0].message}"
        )


def check_usable(path: str, failures: Sequence[Failure], num_rows: int) -> None:
    """Raises ConfigError if not one of a file's boxes can be used: it is written otherwise than it is read."""
    if num_rows >= _MOST_OF and len(failures) == num_rows:
        raise ConfigError(f"{path}: none of its {num_rows} boxes can be used. {failures[0].message}")


def note_high_scores(path: str, tasks: Sequence[ImageTask]) -> None:
    """Says that there are scores above 1, which are rarely meant: percents, or a column that is no score."""
    scores = np.concatenate([task.bbox_scores for task in tasks]) if tasks else np.zeros(0)
    if len(scores) and (highest := scores.max()) > 1:
        log.warning(
            "%s: %d of %d scores are above 1 (up to %g); thresholds and the poses' scores take them as they are.",
            path, (scores > 1).sum(), len(scores), highest,
        )  # fmt: skip


def _numbers(row: BoxRow) -> list[float] | None:
    if isinstance(row.bbox, (str, dict)):
        return None
    try:
        box = [float(value) for value in row.bbox]
    except (TypeError, ValueError, OverflowError):
        return None
    return box if len(box) == 4 else None


def _text(box: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in box)
