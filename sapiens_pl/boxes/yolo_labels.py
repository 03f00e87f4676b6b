"""What the columns of YOLO's label files are: a box, and behind it keypoints, a score, a track id.

The columns have no names, and programs fill them differently; so all files of a folder together decide what they are.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from sapiens_pl.boxes.classes import ClassId
from sapiens_pl.boxes.files import whole
from sapiens_pl.core.errors import ConfigError

log = logging.getLogger(__name__)

_COCO_KEYPOINTS = 17
_BOX = 4
_VISIBILITY = {0.0, 1.0, 2.0}
_OUTLINE_STEP = 0.4
"""Of an outline's extent, the most between neighbours; with a pose's box taken for two points it is more."""


class Label(NamedTuple):
    """One line: the position of its image, its file and number, its class, and the columns behind the class."""

    image: int
    file: str
    number: int
    kind: ClassId | None
    values: list[str]


class Columns(NamedTuple):
    """Behind the box: the count of keypoint numbers, then a score and an id (`swapped`: an id and a score), or one."""

    num_keypoint_values: int
    one_is_score: bool
    swapped: bool = False


def parse_line(line: str) -> tuple[ClassId | None, list[str]]:
    """The class, a number or a name of several words, and the columns behind it."""
    fields = line.split() if "," not in line else line.replace(",", " ").split()
    number = whole(fields[0]) if fields else None  # a line of commas alone has none
    if number is not None:
        return number, fields[1:]
    words = next((place for place, field in enumerate(fields) if _number(field) is not None), len(fields))
    return " ".join(fields[:words]) or None, fields[words:]


def columns_of(labels: Sequence[Label], keypoints: tuple[int, int] | None, folder: str) -> Columns:
    """What the columns of these lines are; the caller names the lines that do not fit.

    Args:
        keypoints: of a pose, if that is known: how many, and how many numbers each has.

    Raises:
        ConfigError: no line has a box, or the column behind the boxes is neither a score nor an id.
    """
    num_values = _keypoint_values([label for label in labels if len(label.values) > _BOX + 2], keypoints)
    tails = [(label, tail) for label in labels if (tail := _tail(label, num_values)) is not None]
    if labels and (not tails or all(map(_is_triangle, labels))):
        raise ConfigError(
            f"{folder}: no line has a box (class cx cy w h): {labels[0].file}, line {labels[0].number}, is "
            f"{what_is_wrong(labels[0])}; give labels with boxes."
        )
    tails = [(label, tail) for label, tail in tails if all(map(_is_number, tail))]  # others are named with their line
    two = [(label, tail) for label, tail in tails if len(tail) == 2]
    swapped = bool(two) and not _are_scores([tail[0] for _, tail in two])
    scores, ids = [tail[swapped] for _, tail in two], [tail[not swapped] for _, tail in two]
    if two and not (_are_scores(scores) and _are_ids(ids)):
        raise _neither(two[0][0])
    one = [(label, tail[0]) for label, tail in tails if len(tail) == 1]
    texts = [text for _, text in one]
    may_be_ids = _are_ids(texts) and not _are_repeated(one)
    if _are_scores(texts) and (two or not may_be_ids or any("." in text for text in texts)):
        return Columns(num_values, True, swapped)
    if one and not may_be_ids:
        raise _neither(one[0][0])
    if one:
        log.info("%s: the column behind the boxes has track ids (whole numbers), no scores.", folder)
    return Columns(num_values, False, swapped)


def score_and_id(label: Label, columns: Columns) -> tuple[str | None, str | None] | None:
    """None where the line has another number of columns."""
    tail = _tail(label, columns.num_keypoint_values)
    if tail is None:
        return None
    for text in tail:
        if not _is_number(text):
            return text, None
    score: str | None = None
    identity: str | None = None
    if len(tail) == 2:
        score, identity = tail[columns.swapped], tail[not columns.swapped]
    elif tail:
        score, identity = (tail[0], None) if columns.one_is_score else (None, tail[0])
    return score, None if identity is None or whole(identity) == -1 else identity


def _tail(label: Label, num_values: int) -> list[str] | None:
    """What stands behind the box and its keypoints, at most two columns; None if this is no such line."""
    num_extra = len(label.values) - _BOX
    if num_extra > 2 and num_extra >= num_values > 0:
        return label.values[_BOX + num_values :] if num_extra - num_values <= 2 else None
    return label.values[_BOX:] if 0 <= num_extra <= 2 else None


def _keypoint_values(long: Sequence[Label], keypoints: tuple[int, int] | None) -> int:
    """How many numbers of keypoints each of the long lines has; 0 if they are no poses."""
    if keypoints is not None:
        return keypoints[0] * keypoints[1]
    lengths = {len(label.values) - _BOX for label in long}
    if not lengths or max(lengths) - min(lengths) > 1:  # outlines have as many points as they need
        return 0
    for num_tail in (0, 1, 2):
        num_values = min(lengths) - num_tail
        if num_tail == 2 and not all(whole(label.values[-1]) is not None for label in long):
            continue
        if num_values >= 9 and num_values % 3 == 0 and all(_has_visibility(label, num_values) for label in long):
            return num_values
        if num_values in (2 * _COCO_KEYPOINTS, 3 * _COCO_KEYPOINTS) and not all(map(_is_outline, long)):
            return num_values
    return 0


def _has_visibility(label: Label, num_values: int) -> bool:
    """Whether every third number is one of COCO's marks: not labelled, hidden, visible."""
    marks = label.values[_BOX + 2 : _BOX + num_values : 3]
    return num_values > 0 and all(_number(mark) in _VISIBILITY for mark in marks)


def _is_outline(label: Label) -> bool:
    """Whether each point is near the one before, as on an outline; a pose begins with a box's centre and size."""
    numbers = [_number(text) or 0.0 for text in label.values[: len(label.values) // 2 * 2]]
    points = list(zip(numbers[::2], numbers[1::2]))
    extent = math.hypot(*(max(axis) - min(axis) for axis in zip(*points)))
    return all(math.dist(one, next_one) <= _OUTLINE_STEP * extent for one, next_one in pairwise(points))


def _is_triangle(label: Label) -> bool:
    numbers = [_number(text) for text in label.values]
    return len(numbers) == 6 and all(number is not None and 0 < number < 1 for number in numbers)


def what_is_wrong(label: Label) -> str:
    """Instead of a box, for a sentence."""
    num_columns = 1 + len(label.values)
    kind = "no label"
    if _is_triangle(label) or (num_columns > 7 and num_columns % 2):
        kind = "a segmentation label (class, then x and y of an outline)"
    if num_columns == 9:
        kind = "a turned box (OBB) or a segmentation label"
    if num_columns > 9:
        kind += ", or a pose whose form only a data.yaml with kpt_shape could tell"
    return f"{kind} ({num_columns} columns)"


def _neither(label: Label) -> ConfigError:
    return ConfigError(
        f"{label.file}, line {label.number}: the column after the box is neither a score from 0 to 1 in all lines of "
        "the folder, nor a track id in all; correct or remove it."
    )


def _are_scores(texts: Sequence[str]) -> bool:
    return all((number := _number(text)) is not None and 0 <= number <= 1 for text in texts)


def _are_ids(texts: Sequence[str]) -> bool:
    return all((number := whole(text)) is not None and number >= -1 for text in texts)


def _are_repeated(one: Sequence[tuple[Label, str]]) -> bool:
    """Whether one file has the same number twice, as no two tracks in a picture have."""
    counts = Counter((label.image, text) for label, text in one if whole(text) != -1)
    return any(count > 1 for count in counts.values())


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
