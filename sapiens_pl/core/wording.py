"""Shortens text from files, errors and people so that it fits into a sentence."""

from __future__ import annotations

import json
from typing import Any


def one_line(said: object, most: int = 200) -> str:
    """An error's text, or any other, in one line of at most `most` characters; without text its class name."""
    return " ".join(str(said).split())[:most] or type(said).__name__


def shown(value: Any, most: int = 80) -> str:
    """A value as JSON; of a long one only the beginning."""
    text = json.dumps(value, default=str, ensure_ascii=False, skipkeys=True)
    return text if len(text) <= most else f"{text[:most]}..."


def shortened(name: str, most: int = 200) -> str:
    """A name or a path; of a very long one the middle is omitted."""
    return name if len(name) <= most else f"{name[: most // 2]}...{name[-most // 2 :]}"


def counted(number: int, one: str, many: str) -> str:
    """A number with its noun: "1 box", "1,200 boxes"."""
    return f"{number:,} {one if number == 1 else many}"
