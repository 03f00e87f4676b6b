"""Boxes of the annotation file of a run (`products/coco_annotations.py`), which people may have corrected.

Its entries say in `attributes` in which box a person was posed, with all its digits. Where the `bbox` is still that box, it
is taken as it was, with its score and its place among the others, so that only pictures whose boxes were changed are
posed again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sapiens_pl.boxes.table import four_numbers, number, whole_number

_SAME_PX = 0.02
"""As near as programs keep: both corners of the file's box are rounded to 0.01 px, and so may be its size."""


class PosedBox(NamedTuple):
    """`bbox` x, y, width, height as in the file, or xyxy if `is_as_posed`; `score` None for a box that has none."""

    bbox: Any
    score: Any
    instance_id: int
    is_as_posed: bool


def attribute(entry: dict[str, Any], name: str) -> Any:
    """What an entry says among its attributes, or beside them."""
    attributes = entry.get("attributes")
    found = attributes.get(name) if isinstance(attributes, dict) else None
    return entry.get(name) if found is None else found
