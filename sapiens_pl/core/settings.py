"""What the value of a setting may be, and one sentence for any other.

A room says once, beside its code, what its settings may be: a `Kind` by name. It is checked twice. A Python caller is
told the argument's name; the user of a command is told Hydra's key, before anything large is imported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple

from sapiens_pl.core.errors import SettingError

_LONGEST_SHOWN = 80
_PYTHONS_WORDS = {"null": "None", "true": "True", "false": "False"}


class Kind(NamedTuple):
    """`words` complete the sentence "NAME=VALUE must be ..." in the words of YAML; `holds` knows such a value."""

    words: str
    holds: Callable[[Any], bool]


def whole_number(least: int) -> Kind:
    return Kind(f"a whole number of at least {least}", lambda value: is_whole(value) and value >= least)


def number(least: float | None = None, above: float | None = None, below: float | None = None) -> Kind:
    """Infinity is accepted unless a limit excludes it; NaN never is."""
    limits = {"of at least": least, "above": above, "below": below}
    given = [f"{words} {limit:g}" for words, limit in limits.items() if limit not in (None, math.inf)]

    def holds(value: Any) -> bool:
        return (
            is_number(value)
            and (least is None or value >= least)
            and (above is None or value > above)
            and (below is None or value < below)
        )

    return Kind(" ".join(["a number", " and ".join(given)]).strip(), holds)


def numbers(count: int, words: str) -> Kind:
    return Kind(words, lambda value: is_list(value) and len(value) == count and all(map(is_number, value)))


def one_of(*choices: str) -> Kind:
    if len(choices) == 2:
        return Kind(" or ".join(choices), lambda value: value in choices)
    return Kind(f"one of {', '.join(choices)}", lambda value: value in choices)


SWITCH = Kind("true or false", lambda value: isinstance(value, bool))


def either(kind: Kind, other: str | None) -> Kind:
    """A kind, or one value besides: a word such as "auto", or None (`null` in YAML)."""
    return Kind(
        f"{kind.words}, or {'null' if other is None else other}",
        lambda value: (
            (value is None if other is None else isinstance(value, str) and value == other) or kind.holds(value)
        ),
    )


def is_whole(value: Any) -> bool:
    """NumPy's integers count too, booleans do not."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and value == value


def is_list(value: Any) -> bool:
    """Lists, tuples, and those of a configuration."""
    return isinstance(value, Sequence) and not isinstance(value, str)


def check(kinds: Mapping[str, Kind], values: Mapping[str, Any], group: str | None = None) -> None:
    """Raises SettingError for the first value that is not of its kind.

    Args:
        kinds: by name; names that are not among `values` are passed over.
        values: by name.
        group: Hydra's, as in `group.name`; None for a Python caller, who knows the bare names.
    """
    for name, kind in kinds.items():
        if name in values and not kind.holds(values[name]):
            shown = str(values[name]) if group is not None else repr(values[name])
            shown = shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}..."
            key, words = (name, _in_python(kind.words)) if group is None else (f"{group}.{name}", kind.words)
            raise SettingError(f"{key.removeprefix('.')}={shown} must be {words}.")


def _in_python(words: str) -> str:
    return " ".join(_PYTHONS_WORDS.get(word, word) for word in words.split(" "))
