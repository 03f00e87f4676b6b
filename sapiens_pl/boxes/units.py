"""Whether boxes have another format than `boxes.format` says: most would lie outside their images, or be inverted."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from sapiens_pl.boxes.rules import INVERTED, BoxRules
from sapiens_pl.boxes.table import BoxTable, UnreadIds
from sapiens_pl.core.columns import BoxColumns, Names
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.structures import Failure
from sapiens_pl.core.terminal import printable

log = logging.getLogger(__name__)

_LOOKED_AT = 1000
"""How many boxes suffice to see that a file is in px."""
_MOST_OF = 3
"""Of fewer boxes "most" or "all" says nothing."""
_SLACK = 1.02
"""Boxes of detectors may reach a little over the edge."""
_SHOWN = 60
"""How many characters of a file's text are quoted in a sentence."""
_BEYOND = 2.0
"""No part of an image's width or height is so large, not even of a person who stands half outside."""


def check_units(path: str, table: BoxTable, rules: BoxRules) -> None:
    """Raises ConfigError if parts of the image's size are given as px, or px as parts."""
    boxes = table.boxes if not table.odd else table.boxes[~np.isnan(table.boxes).all(axis=1)]
    if rules.normalised:
        seen = boxes[:_LOOKED_AT]
        in_px = seen[(np.abs(seen) > _BEYOND).any(axis=1)]
        if len(seen) >= _MOST_OF and 2 * len(in_px) > len(seen):
            raise ConfigError(
                f"{path} has boxes such as {_text(in_px[0])}, which are px, not parts of an image's width and height; "
                "say boxes.format=xyxy, xywh or cxcywh, as they are meant."
            )
        return
    if not ((boxes >= 0) & (boxes <= 1)).all():
        return
    fractions = boxes[(boxes % 1 != 0).any(axis=1)]
    if len(fractions):
        raise ConfigError(
            f"All boxes of {path} lie between 0 and 1, such as {_text(fractions[0])}: they are parts of the images' "
            "width and height, not px; say boxes.format=cxcywhn if they are centre and size, else multiply them."
        )


def check_within(path: str, table: BoxTable, sizes: Mapping[str, tuple[float, float]], rules: BoxRules) -> None:
    """Raises ConfigError if corners are given as corner and size: most boxes leave their images, and would not so.

    Args:
        sizes: width and height of the images, by name, where the file tells them.
    """
    if rules.format != "xywh":
        return
    rows = [
        (table.names[int(whose)], box)
        for whose, box in zip(table.whose[:_LOOKED_AT], table.boxes[:_LOOKED_AT].tolist())
    ]
    seen = [(box, sizes[name]) for name, box in rows if name in sizes and box[0] == box[0]]
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
    """Raises ConfigError if not one of a file's boxes can be used: it has another format than assumed."""
    if num_rows >= _MOST_OF and len(failures) == num_rows:
        raise ConfigError(f"{path}: none of its {num_rows} boxes can be used. {failures[0].message}")


def note_high_scores(path: str, scores: np.ndarray) -> None:
    """Says that there are scores above 1, which are rarely meant: percents, or a column that is not a score."""
    if len(scores) and (highest := scores.max()) > 1:
        log.warning(
            "%s: %d of %d scores are above 1 (up to %g); thresholds and the poses' scores take them as they are.",
            path, (scores > 1).sum(), len(scores), highest,
        )  # fmt: skip


def note_ids(path: str, unread: UnreadIds, boxes: BoxColumns, names: Names) -> None:
    """Says which ids of people cannot be kept, and which do not tell the people of a picture apart."""
    if unread.num:
        log.warning(
            "%s: %d ids are no whole numbers (%s the first), so these people have others here.",
            path, unread.num, printable(unread.first[:_SHOWN]),
        )  # fmt: skip
    if boxes.has_given_id is None or not boxes.has_given_id.any():
        return
    whose = np.repeat(np.arange(len(names)), boxes.num_boxes)
    order = np.lexsort((boxes.instance_ids, whose))
    ids, whose = boxes.instance_ids[order], whose[order]
    alike = np.flatnonzero((ids[1:] == ids[:-1]) & (whose[1:] == whose[:-1]))
    if len(alike):
        log.warning(
            "%s: %d people have the id of another one in the same picture (%d in %s the first); ids do not tell these "
            "apart.",
            path, len(alike), ids[alike[0]], printable(names[int(whose[alike[0]])]),
        )  # fmt: skip


def _text(box: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in box)
