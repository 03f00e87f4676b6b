"""The run's own files in its folder, without foreign ones; and its small JSON files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.wording import one_line


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
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, TypeError, RecursionError) as error:
        reason = one_line(getattr(error, "strerror", None) or error)
        raise ConfigError(
            f"{path} is damaged ({reason}); restore the original file, or remove it: the results stay."
        ) from None
    return content


def section(content: dict[str, Any], *keys: str) -> dict[str, Any]:
    """An object inside an object; an empty one where there is none."""
    for key in keys:
        inner = content.get(key)
        content = inner if isinstance(inner, dict) else {}
    return content
