"""What stores have recently said about files: size and stamp, asked for many at a time and only once."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence

from sapiens_pl.core.errors import SapiensError
from sapiens_pl.core.remote import Entry, list_below, look_at

_SECONDS = 120.0
"""Seconds: a run asks for the same several times before it begins; later it may have changed."""
_MOST = 100_000
_said: dict[str, tuple[float, Entry | SapiensError]] = {}
_listed: dict[str, tuple[float, list[Entry]]] = {}


def entry_of(url: str) -> Entry:
    """Raises SapiensError."""
    (found,) = entries_of([url])
    if isinstance(found, SapiensError):
        raise type(found)(str(found))
    return found


def entries_of(urls: Sequence[str]) -> list[Entry | SapiensError]:
    """The entry of each, or the error."""
    now = time.monotonic()
    asked = [url for url in urls if url not in _said or now - _said[url][0] > _SECONDS]
    for url, found in zip(asked, look_at(asked)):
        _keep(url, found)
    return [_said[url][1] for url in urls]


def known_size(url: str) -> int | None:
    """The size in bytes, if a store has said it before; no request is made."""
    held = _said.get(url)
    return held[1].num_bytes if held is not None and isinstance(held[1], Entry) else None


def listing(folder: str) -> list[Entry]:
    """All files below a URL; raises SapiensError."""
    held = _listed.get(folder)
    if held is None or time.monotonic() - held[0] > _SECONDS:
        _listed.clear()
        held = _listed[folder] = time.monotonic(), list_below(folder)
        keep(held[1][:_MOST])
    return held[1]


def keep(entries: Iterable[Entry]) -> None:
    """Keeps the entries of a listing."""
    for entry in entries:
        if entry.num_bytes is not None and entry.stamp:
            _keep(entry.url, entry)


def forget() -> None:
    """Everything will be asked for again."""
    _said.clear()
    _listed.clear()


def _keep(url: str, found: Entry | SapiensError) -> None:
    if len(_said) > _MOST:
        _said.clear()
    _said[url] = time.monotonic(), found


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_listed.clear)  # it may be large
