"""Braces that stand for several names, as shells and WebDataset read them: `{00000..00099}`, `{a,b}`."""

from __future__ import annotations

import re
from itertools import product

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.wording import shortened

_RANGE = re.compile(r"(-?\d+|[A-Za-z])\.\.(-?\d+|[A-Za-z])(?:\.\.(-?\d+))?")
_MOST = 10_000_000
"""The most shards that braces may stand for; more are a typing error."""


def expand_braces(text: str) -> list[str]:
    """All texts that one with braces stands for, as shells and WebDataset read them: ranges and lists, also nested.

    Raises:
        ConfigError: there are too many.
    """
    found = [each for part in text.split("::") for each in _expanded(part)]
    if len(found) > _MOST:
        raise ConfigError(f"data.images={shortened(text)} stands for {len(found)} files; shorten the range.")
    return found


def _expanded(text: str) -> list[str]:
    pieces: list[list[str]] = []
    position = begin = 0
    while position < len(text):
        end = _closing(text, position) if text[position] == "{" else -1
        choices = _choices(text[position + 1 : end]) if end > 0 else None
        if choices is None:
            position += 1
            continue
        pieces += [[text[begin:position]], choices]
        position = begin = end + 1
    return list(map("".join, product(*pieces, [text[begin:]])))


def _closing(text: str, start: int) -> int:
    """Where the brace that opens at `start` closes, or -1."""
    depth = 0
    for position in range(start, len(text)):
        depth += (text[position] == "{") - (text[position] == "}")
        if depth == 0:
            return position
    return -1


def _choices(inside: str) -> list[str] | None:
    """What a pair of braces stands for; None where they are part of a name."""
    numbers = _RANGE.fullmatch(inside)
    if numbers:
        return _range(*numbers.groups())
    parts, depth, begin = [], 0, 0
    for position, sign in enumerate(inside):
        depth += (sign == "{") - (sign == "}")
        if sign == "," and depth == 0:
            parts.append(inside[begin:position])
            begin = position + 1
    if not parts:
        return None
    return [each for part in (*parts, inside[begin:]) for each in _expanded(part)]


def _range(first: str, last: str, step: str | None) -> list[str] | None:
    letters = first.isalpha(), last.isalpha()
    if any(letters):
        if not all(letters):
            return None
        start, stop = ord(first), ord(last)
    else:
        start, stop = int(first), int(last)
    stride = abs(int(step)) if step and int(step) else 1
    if abs(stop - start) // stride > _MOST:
        raise ConfigError(f"data.images: {{{first}..{last}}} stands for too many files; shorten the range.")
    values = range(start, stop + 1, stride) if start <= stop else range(start, stop - 1, -stride)
    if all(letters):
        return list(map(chr, values))
    is_padded = any(text.lstrip("-")[:1] == "0" and len(text.lstrip("-")) > 1 for text in (first, last))
    width = max(len(first), len(last)) if is_padded else 0
    return [f"{value:0{width}d}" for value in values]
