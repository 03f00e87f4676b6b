"""The tables of videos that were scanned before, so that ranks, restarts and second readers need not scan again.

They are kept in `~/.cache/sapiens_pl/videos` (or below `$XDG_CACHE_HOME`), by path, size and time of change.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from sapiens_pl.core.columns import encoded
from sapiens_pl.pictures.video_table import VideoTable, scan

_FORM = 3
"""To be raised when the form of the tables, or how they are made, changes."""
_LEAST_PACKETS = 500
"""Shorter videos are scanned again as fast."""
_MOST_KEPT = 2000


def remembered_scan(path: str) -> VideoTable:
    """As `scan`."""
    path = os.path.realpath(path)
    table = _remembered(path)
    if table is None:
        table = scan(path)
        _remember(path, table)
    return table


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sapiens_pl" / "videos"


def _file(path: str) -> Path:
    return _folder() / f"{hashlib.sha256(encoded(path)).hexdigest()[:32]}-{_FORM}.npz"


def _remembered(path: str) -> VideoTable | None:
    try:
        status = os.stat(path)
        with np.load(_file(path)) as kept:
            arrays = {name: kept[name] for name in VideoTable._fields}
    except Exception:  # there is none, or it is broken in some way
        return None
    table = VideoTable(**{name: value if value.ndim else value.item() for name, value in arrays.items()})
    return table if (table.size, table.mtime_ns) == (status.st_size, status.st_mtime_ns) else None


def _remember(path: str, table: VideoTable) -> None:
    if len(table.flags) < _LEAST_PACKETS:
        return
    with suppress(OSError, RuntimeError):  # RuntimeError: there is no home; then it is scanned again
        file = _file(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(f".{os.getpid()}")
        arrays: dict[str, Any] = {name: np.asarray(value) for name, value in table._asdict().items()}
        with open(temporary, "wb") as output:
            np.savez_compressed(output, **arrays)
        os.replace(temporary, file)
        _forget_the_oldest()


def _forget_the_oldest() -> None:
    files = list(_folder().iterdir())
    if len(files) > _MOST_KEPT:
        files.sort(key=lambda file: file.stat().st_mtime)
        for file in files[: len(files) - _MOST_KEPT]:
            file.unlink(missing_ok=True)
