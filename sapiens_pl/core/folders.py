"""Nested folders, however deep: `os.walk` before Python 3.12, and `os.makedirs`, give up at a thousand."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path


def walk(
    top: str | Path, onerror: Callable[[OSError], object] | None = None
) -> Iterator[tuple[str, list[str], list[str]]]:
    """As `os.walk(top, onerror=onerror)`: a folder, the names of those in it, its files; links are not followed."""
    waiting = [str(top)]
    while waiting:
        folder = waiting.pop()
        for parent, folders, files in os.walk(folder, onerror=onerror):
            links = {name for name in folders if os.path.islink(os.path.join(parent, name))}
            yield parent, folders, files
            waiting += [os.path.join(parent, name) for name in reversed(folders) if name not in links]
            break  # only the first level is asked for


def make_folders(path: str | Path) -> None:
    """Makes a folder and those above it that are not there."""
    missing = [str(path)]
    while not os.path.isdir(os.path.dirname(missing[-1])):
        missing.append(os.path.dirname(missing[-1]))
    for folder in reversed(missing):
        with suppress(FileExistsError):
            os.mkdir(folder)
