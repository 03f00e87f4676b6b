"""What lies in a run's folder, told from what others have put there; and the small files that say how it came about."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.folders import walk

_OTHERWISE = "choose another output.dir, or set output.overwrite=true to start over"


def json_names(root: Path, planned: Callable[[], Collection[str]]) -> Iterator[str]:
    """Names of the images whose JSON files lie below a folder; no file is opened.

    Hidden files, and all in hidden folders, are nobody's results (`._a.jpg.json`, `.ipynb_checkpoints/`), unless an
    image of the run has that very name: a list file may name hidden ones.

    Args:
        planned: gives the names of all images of the run; called where something hidden lies.
    """
    top = os.path.join(root, "")
    names: Collection[str] | None = None
    for parent, _, files in walk(top):
        below = os.path.join(parent, "")[len(top) :]
        in_hidden = is_hidden(below)
        for file in files:
            if not file.endswith(".json"):
                continue
            name = below + file[: -len(".json")]
            if in_hidden or file.startswith("."):
                names = planned() if names is None else names
                if name not in names:
                    continue
            yield name


def is_hidden(name: str) -> bool:
    """True if a part of the path begins with a dot."""
    return name.startswith(".") or "/." in name


def visible(paths: Iterable[Path]) -> list[Path]:
    """Those that are not hidden, in a fixed order."""
    return sorted(path for path in paths if not path.name.startswith("."))


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file's object; an empty one where there is no file.

    Raises:
        ConfigError: it cannot be read, or is something else.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        if not isinstance(content, dict):
            raise TypeError(f"a {type(content).__name__} instead of an object")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, RecursionError) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:200]
        raise ConfigError(f"{path} is damaged ({reason}); put back what was written there, {_OTHERWISE}.") from None
    return content


def section(content: dict[str, Any], *keys: str) -> dict[str, Any]:
    """An object inside an object; an empty one where there is none."""
    for key in keys:
        inner = content.get(key)
        content = inner if isinstance(inner, dict) else {}
    return content


def read_digests(path: Path) -> dict[str, str]:
    """The digest of the boxes that each image was last planned with, by name; empty where there is no file.

    Raises:
        ConfigError: a line is not whole: its image's boxes are not known any more.
    """
    digests: dict[str, str] = {}
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                digest, _, quoted = line.rstrip("\n").partition(" ")
                digests[_unquoted(quoted)] = digest
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or f"after {len(digests)} lines"
        raise ConfigError(
            f"{path} is damaged ({reason}), so it is not known with which boxes the results there were made; put back "
            f"what was written there, {_OTHERWISE}."
        ) from None
    return digests


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] == '"' and "\\" not in text and '"' not in text[1:-1]:
        return text[1:-1]  # most names; there may be millions
    name = json.loads(text)
    if not isinstance(name, str):
        raise ValueError("no name")
    return name
