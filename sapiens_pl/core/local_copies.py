"""Copies of single files from behind URLs, kept in `~/.cache/sapiens_pl/remote`: checkpoints, box files."""

from __future__ import annotations

import fcntl
import filecmp
import hashlib
import os
import posixpath
from pathlib import Path
from urllib.parse import urlsplit

from sapiens_pl.core.bar import watched
from sapiens_pl.core.errors import ConfigError, SapiensError
from sapiens_pl.core.remote import fetch, hidden, look


def local_copy(url: str) -> Path:
    """A file of the same name on the disk, with the same bytes: fetched, or as it was fetched before.

    It is kept in `~/.cache/sapiens_pl/remote` (or below `$XDG_CACHE_HOME`) as long as its store says that it is the
    same, by ETag, size or time; a file of which the store says nothing is fetched each time, and replaces the copy if
    its bytes are others: a network may be reading it.

    Raises:
        ConfigError: for every error, as nothing has started yet.
    """
    try:
        return _local_copy(url)
    except ConfigError:
        raise
    except SapiensError as error:
        raise ConfigError(str(error)) from None
    except OSError as error:
        raise ConfigError(
            f"{hidden(url)} cannot be kept in {_cache_folder()} ({error.strerror}); set XDG_CACHE_HOME, or fetch it "
            "by hand and name the file."
        ) from None


def _local_copy(url: str) -> Path:
    entry = look(url)
    folder = _cache_folder() / _digest(hidden(url))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _digest(f"{entry.stamp} {entry.num_bytes}") / posixpath.basename(urlsplit(url).path)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several ranks ask for it at once
        if entry.stamp and path.is_file():
            return path
        for old in folder.glob("*/*"):
            if old != path:
                old.unlink()  # a process that has it open can still read it
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_name(f".{path.name}")
        with watched(f"fetching {path.name}", "B", entry.num_bytes, lambda: temporary.stat().st_size, patient=True):
            fetch(url, temporary, entry)
        if path.is_file() and filecmp.cmp(temporary, path, shallow=False):
            temporary.unlink()
        else:
            os.replace(temporary, path)
    return path


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sapiens_pl" / "remote"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
