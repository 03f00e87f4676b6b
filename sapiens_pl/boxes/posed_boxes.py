"""Boxes of the annotation file of a run (`products/coco_annotations.py`), which people may have corrected.

Its entries say in `attributes` in which box a person was posed, with all its digits. Where `bbox` is still that box,
it is taken as it was, with its score and its id, so that only those pictures are posed again whose boxes changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from copy import copy
from typing import Any

from sapiens_pl.boxes.rules import BoxRules
from sapiens_pl.boxes.table import BoxRow, four_numbers, number, whole_number
from sapiens_pl.core.errors import ConfigError

SOME_ONLY = "worst"
"""The attribute by which entries of a file with some people only give the number of all."""
_SAME_PX = 0.025
"""The precision to which programs keep a box: its corners and its size are each rounded to 0.01 px."""


def is_of_run(entries: Sequence[dict[str, Any]]) -> bool:
    """True if one says who it is in the run that made the file."""
    return any(_attribute(entry, "posed_id") is not None for entry in entries)


def check_is_of_all(file: str, entries: Sequence[dict[str, Any]]) -> None:
    """Refuses a file that holds some people of a run only: all others would have no box and lose their poses.

    Raises:
        ConfigError: it is one.
    """
    count = next((number for number in (_attribute(entry, SOME_ONLY) for entry in entries) if number is not None), None)
    if count is not None:
        raise ConfigError(
            f"{file} holds some people of its run only (output.worst={count}), so that all others would lose their "
            "poses; give it as annotations=FILE, or correct a file made with output.worst=null."
        )


def is_posed(entry: dict[str, Any]) -> bool:
    return _attribute(entry, "posed_id") is not None


def rules_of_run(rules: BoxRules) -> BoxRules:
    """People in an annotation file are kept, whatever their score; `posed_rows` gives corners."""
    rules = copy(rules)
    rules.format, rules.score_threshold, rules.nms_threshold = "xyxy", None, None
    return rules


def posed_rows(rows: Sequence[tuple[BoxRow, dict[str, Any]]]) -> list[BoxRow]:
    """The rows as they were when they were posed, those of changed boxes with the new corners.

    Args:
        rows: each with the entry of the file that it is of.

    Returns:
        With `bbox` as xyxy. People who were added get an id that is new in the picture.
    """
    ids: dict[str, set[int]] = defaultdict(set)
    for row, entry in rows:
        identity = _posed_id(entry)
        if identity is not None:
            ids[row.image].add(identity)
    return [_posed_row(row, entry, ids[row.image]) for row, entry in rows]


def _posed_row(row: BoxRow, entry: dict[str, Any], taken: set[int]) -> BoxRow:
    identity, posed = _posed_id(entry), four_numbers(str(_attribute(entry, "posed_bbox")).split())
    box = four_numbers(row.bbox)
    corners = row.bbox if box is None else [box[0], box[1], box[0] + box[2], box[1] + box[3]]
    if identity is None:
        identity = max(taken, default=-1) + 1
        taken.add(identity)
        return row._replace(bbox=corners, score=None, instance_id=identity)
    if box is not None and posed is not None and all(abs(a - b) <= _SAME_PX for a, b in zip(corners, posed)):
        corners = posed
    return row._replace(bbox=corners, score=number(_attribute(entry, "posed_score")), instance_id=identity)


def _posed_id(entry: dict[str, Any]) -> int | None:
    value = _attribute(entry, "posed_id")
    return int(value) if isinstance(value, str) and value.isdecimal() else whole_number(value)


def _attribute(entry: dict[str, Any], name: str) -> Any:
    """What an entry says among its attributes, or beside them."""
    attributes = entry.get("attributes")
    found = attributes.get(name) if isinstance(attributes, dict) else None
    return entry.get(name) if found is None else found
