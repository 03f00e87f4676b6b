"""What the readers of box files share."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from sapiens_pl.boxes.table import LARGEST_ID
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.local_copies import local_copy
from sapiens_pl.core.remote import is_url
from sapiens_pl.core.text_files import open_text, read_text


class RepeatedKeys(dict[str, Any]):
    """A JSON object that has a key more than once: `pairs` are all its keys and values."""

    pairs: list[tuple[str, Any]]


class JsonReader:
    """Reads JSON, and knows the first key that an object had twice (JSON lets the last one win)."""

    def __init__(self) -> None:
        self.repeated: str | None = None

    def parse(self, text: str) -> Any:
        """Raises ValueError or RecursionError if it is not JSON."""
        return json.loads(text, object_pairs_hook=self._object)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) == len(pairs):
            return found
        keys = [key for key, _ in pairs]
        self.repeated = self.repeated or next(key for key in keys if keys.count(key) > 1)
        repeated = RepeatedKeys(found)
        repeated.pairs = pairs
        return repeated


def existing_file(file: str | None, key: str = "boxes.file") -> str:
    """The path of a file that a setting names; of one behind a URL that of its copy.

    Raises:
        ConfigError: it names none, or none that is there.
    """
    if not file:
        raise ConfigError(f"{key} is not set; give the file with the boxes.")
    if is_url(file):
        return str(local_copy(file))
    path = os.path.expanduser(str(file))
    if os.path.isfile(path):
        return path
    if os.path.isdir(path):
        raise ConfigError(f"{key}={file} is a folder; name the file in it (boxes=yolo reads folders of label files).")
    if os.path.exists(path):
        raise ConfigError(f"{key}={file} is a pipe or a device, which is not read; save what it gives as a file.")
    raise ConfigError(f"{key}={file} does not exist; correct the name.")


def filled_text(path: str) -> str:
    """The text of a box file; an empty file is an error, it does not mean that there are no people.

    Raises:
        ConfigError: it is empty, or cannot be read.
    """
    text = read_text(path)
    if not text.strip(" \t\r\n\0\ufeff"):
        raise empty_error(path)
    return text


def empty_error(path: str) -> ConfigError:
    return ConfigError(f"{path} is empty, as if its writer was stopped; write it again.")


def lines_of(path: str) -> Iterator[tuple[int, str]]:
    """The lines that are not empty, with their numbers."""
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line


def whole(text: str) -> int | None:
    """The whole number that a text spells, also as "3.0", as some trackers write it; None if it fits into no column."""
    if text.isdecimal() and len(text) < 16:
        return int(text)
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if number.is_integer() and abs(number) < LARGEST_ID else None
