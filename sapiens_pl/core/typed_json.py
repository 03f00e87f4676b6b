"""NamedTuples as JSON objects and back: values must have the types of the definition, or the file is refused."""

from __future__ import annotations

import types
from collections.abc import Collection
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

_Typed = TypeVar("_Typed", bound=tuple)


def plain(value: Any, side_by_side: Collection[str] = ()) -> Any:
    """For `json.dumps`: fields that are None are left out.

    Args:
        side_by_side: fields whose own fields stand in their place.
    """
    if hasattr(value, "_asdict"):
        content = {key: plain(inner, side_by_side) for key, inner in value._asdict().items() if inner is not None}
        for key in side_by_side:
            content |= content.pop(key, {})
        return content
    return [plain(inner, side_by_side) for inner in value] if isinstance(value, (list, tuple)) else value


def typed(kind: type[_Typed], content: dict[str, Any], side_by_side: Collection[str] = ()) -> _Typed:
    """The NamedTuple, each field of which has a default, from a JSON object: what is unknown there is passed over.

    Raises:
        TypeError: a value is of another type than its field; the message names it.
    """
    values: dict[str, Any] = {}
    for name, hint in get_type_hints(kind).items():
        hint = _without_none(hint)
        if name in side_by_side:
            if content.keys() & set(hint._fields):
                values[name] = typed(hint, content, side_by_side)
        elif content.get(name) is not None:
            values[name] = _value(hint, content[name], name, side_by_side)
    return kind(**values)


def _value(hint: Any, value: Any, name: str, side_by_side: Collection[str]) -> Any:
    if hasattr(hint, "_fields") and isinstance(value, dict):
        return typed(hint, value, side_by_side)
    if get_origin(hint) is list and isinstance(value, list):
        return [_value(get_args(hint)[0], one, name, side_by_side) for one in value]
    kinds: Any = (int, float) if hint is float else get_origin(hint) or hint
    if not isinstance(value, kinds) or isinstance(value, bool) != (hint is bool):
        raise TypeError(f"{name} is a {type(value).__name__}")
    return value


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        return next(one for one in get_args(hint) if one is not type(None))
    return hint
