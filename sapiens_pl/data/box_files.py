"""What the readers of box files share."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sapiens_pl.errors import ConfigError


def existing_file(file: str | None, key: str = "boxes.file") -> str:
    """The path of a file that a setting names.

    Raises:
        ConfigError: it names none, or none that is there.
    """
    if not file:
        raise ConfigError(f"{key} is not set; give the file with the boxes.")
    path = os.path.expanduser(str(file))
    if not os.path.isfile(path):
        raise ConfigError(f"{key}={file} does not exist; give the file with the boxes.")
    return path


def load_json(path: str) -> Any:
    """Raises ConfigError if the file is no JSON."""
    try:
        return json.loads(Path(path).read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no JSON file ({error}); correct it.") from None


def shortened(entry: Any) -> str:
    """What stands there, for a sentence."""
    text = json.dumps(entry, default=str)
    return text if len(text) <= 80 else f"{text[:80]}..."


def lines_of(path: str) -> Iterator[tuple[int, str]]:
    """The lines that say something, with their numbers."""
    with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line


def whole(text: str) -> int | None:
    """Also of "3.0", as some trackers write it."""
    try:
        return int(float(text)) if float(text).is_integer() else None
    except (ValueError, OverflowError):
        return None
