"""Indexes of tars, kept in `~/.cache/sapiens_pl/tars` (or below `$XDG_CACHE_HOME`), a file for each path.

An index counts as long as the tar has the size and the time that it had. Several processes may write one: each file
appears whole, and all of them have the same content.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from sapiens_pl.core.columns import Names
from sapiens_pl.core.remote import hidden, is_url
from sapiens_pl.pictures.stored import Stamp, stamp_at
from sapiens_pl.pictures.tar_index import TarIndex, index_of_tar

_FORM = 1
"""To be raised when the form of these files changes."""
_COLUMNS = ("names", "reasons", "left_out", "kinds")


def tar_index(path: str) -> TarIndex:
    """The index of a tar, from the cache or from the tar.

    Raises:
        OSError, RemoteError: it cannot be read.
        UnreadableImageError: it is not a regular file; a sentence without its subject.
    """
    stamp = stamp_at(path)
    file = _file_of(path)
    kept = _load(file)
    if kept is not None and kept.stamp == stamp:
        return kept
    index = index_of_tar(path, kept)
    _save(file, index)
    return index


def has_index(path: str) -> bool:
    """Whether the index of a tar is in the cache; raises as `tar_index`."""
    kept = _load(_file_of(path))
    return kept is not None and kept.stamp == stamp_at(path)


@lru_cache(maxsize=4)
def places_in_tar(path: str, stamp: Stamp) -> tuple[TarIndex, dict[str, int]]:
    """The index of a tar whose stamp is this, and each picture's place by its name."""
    index = tar_index(path)
    return index, {name: place for place, name in enumerate(index.names)}


def _file_of(path: str) -> Path | None:
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sapiens_pl" / "tars"
    except RuntimeError:  # there is no home
        return None
    where = hidden(path) if is_url(path) else os.path.abspath(path)
    digest = hashlib.blake2b(os.fsencode(where), digest_size=16).hexdigest()
    return folder / f"{digest}.npz"


def _load(file: Path | None) -> TarIndex | None:
    """None where there is none, or one that is damaged."""
    if file is None:
        return None
    try:
        with np.load(file, allow_pickle=False) as held:
            if int(held["form"]) != _FORM:
                return None
            columns: dict[str, Any] = {name: Names(held[name], held[f"{name}_offsets"]) for name in _COLUMNS}
            stamp = Stamp(*map(int, held["stamp"]))
            read = columns | {name: held[name] for name in ("starts", "sizes", "notes")}
            return TarIndex(stamp, **read, damage=str(held["damage"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _save(file: Path | None, index: TarIndex) -> None:
    if file is None:
        return
    columns = {name: getattr(index, name) for name in _COLUMNS}
    arrays = {name: column.data for name, column in columns.items()}
    arrays |= {f"{name}_offsets": column.offsets for name, column in columns.items()}
    arrays |= {name: getattr(index, name) for name in ("starts", "sizes", "notes")}
    temporary = file.with_suffix(f".{os.getpid()}")
    with suppress(OSError):  # then the next process looks again
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as target:
            np.savez(target, form=np.array(_FORM), stamp=np.array(index.stamp), damage=np.array(index.damage), **arrays)
        os.replace(temporary, file)
