"""Values that stand beside pictures and are carried along to the rows of their people (`data.carry`)."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sapiens_pl.core.errors import ConfigError

_OURS = frozenset(
    [
        "name",
        "image",
        "image_id",
        "image_width",
        "image_height",
        "instance_id",
        "bbox",
        "bbox_score",
        "score",
        "keypoint",
        "keypoints_x",
        "keypoints_y",
        "keypoint_scores",
        "x",
        "y",
        "track_id",
        "shard",
        "__key__",
        "video",
        "frame",
        "pts",
        "seconds",
        "bridged",
        "keypoints_x_smoothed",
        "keypoints_y_smoothed",
        "x_smoothed",
        "y_smoothed",
    ]
)


def carry_of(value: Any) -> tuple[str, ...]:
    """The columns that `data.carry` asks for.

    Raises:
        ConfigError: it is not a list of different names.
    """
    if value is None:
        return ()
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, Sequence) or not all(isinstance(name, str) and name for name in names):
        raise ConfigError(f"data.carry={value} is not a list of columns; give their names: data.carry=[url,caption].")
    columns = list(map(carried_column, names))
    twice = next((name for name, column in zip(names, columns) if columns.count(column) > 1), None)
    if twice is not None:
        raise ConfigError(f"data.carry names {twice} more than once; give each column once.")
    return tuple(names)


def carried_column(name: str) -> str:
    """What a carried column is called in tables of people: `image` and the like have their meaning there already."""
    return f"carried_{name}" if name in _OURS else name


def carried_value(values: Mapping[str, Any], name: str) -> str | None:
    """The value of a field as text, None where there is none: what is not text as JSON, bytes as UTF-8 or as base64.

    Args:
        values: of a sample.
        name: a field, or fields in fields with dots between (`meta.url`).
    """
    value = values[name] if name in values else drilled(values, name)
    if value is None or isinstance(value, str):
        return value
    return _text_of(value) if isinstance(value, bytes) else json.dumps(value, ensure_ascii=False, default=_text_of)


def _text_of(value: Any) -> str:
    if not isinstance(value, bytes):
        return str(value)  # a date, a decimal
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()


def drilled(values: Any, field: str) -> Any:
    """The value of a field, whose dots lead from object to object; None where it is not there."""
    for part in field.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values
