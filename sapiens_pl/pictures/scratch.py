"""Copies of whole files from behind URLs, on the disk only as long as their pictures are read.

A tar's headers are as far apart as its members, so a tar is fetched once, whole, and read here. The process that opens
the source has a folder for such files (below `$TMPDIR`), which its children, also those that it starts later, find by
an environment variable. Files appear in it when they are whole. The folder goes when the process ends; those of
processes that were killed go when the next one begins.
"""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.remote import Entry, fetch, hidden, is_url
from sapiens_pl.pictures.looks import entries_of, entry_of

_VARIABLE = "SAPIENS_SCRATCH_FOLDER"
_PREFIX = "sapiens_pl_scratch_"
_PART_OF_WHAT_IS_FREE = 0.5
_AT_A_TIME = 3
_YOUNG_SECONDS = 60


class _Coming(NamedTuple):
    num_bytes: int
    fetched: Future[None]


class _Scratch:
    """This process's folder."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._lock_file = open(self.folder / "lock", "w")  # noqa: SIM115
        fcntl.flock(self._lock_file, fcntl.LOCK_EX)
        self.most_bytes = 0
        self._threads = ThreadPoolExecutor(_AT_A_TIME, "scratch")
        self.files: dict[str, _Coming] = {}
        self._turn = threading.Lock()
        os.environ[_VARIABLE] = str(self.folder)
        atexit.register(self.remove)

    def remove(self) -> None:
        if os.getpid() == self.process:
            self._threads.shutdown(wait=False, cancel_futures=True)
            shutil.rmtree(self.folder, ignore_errors=True)

    def want(self, entry: Entry, even_so: bool) -> bool:
        with self._turn:
            if entry.url in self.files:
                return True
            used = sum(coming.num_bytes for coming in self.files.values())
            num_bytes = entry.num_bytes or 0
            room = shutil.disk_usage(self.folder).free
            if num_bytes > room or (used + num_bytes > self.most_bytes and not even_so):
                return False
            self.files[entry.url] = _Coming(num_bytes, self._threads.submit(self._fetch, entry))
            return True

    def wait(self, url: str) -> None:
        coming = self.files.get(url)
        if coming is not None:
            try:
                coming.fetched.result()
            except BaseException:
                self.drop([url])
                raise

    def drop(self, urls: Iterable[str]) -> None:
        for url in urls:
            with self._turn:
                coming = self.files.pop(url, None)
            if coming is not None and not coming.fetched.cancel():
                coming.fetched.add_done_callback(lambda _, url=url: self._unlink(url))  # type: ignore[misc]

    def _unlink(self, url: str) -> None:
        if url not in self.files:
            for path in self.folder.glob(f"{_digest(url)}-*"):
                path.unlink(missing_ok=True)

    def _fetch(self, entry: Entry) -> None:
        path = _path(self.folder, entry.url, version_of(entry))
        temporary = path.with_name(f".{path.name}")
        try:
            fetch(entry.url, temporary, entry)
            os.replace(temporary, path)
        except OSError as error:
            raise ConfigError(
                f"{hidden(entry.url)} cannot be copied to {self.folder} ({error.strerror}); make room, set TMPDIR to "
                "another folder or lower data.scratch_gib."
            ) from None
        finally:
            temporary.unlink(missing_ok=True)


_mine: _Scratch | None = None


def begin(most_gib: float | None = None) -> None:
    """Makes this process's folder, if it has none yet.

    Args:
        most_gib: the most that it may hold; None for half of what is free, divided by the processes of this machine.
    """
    global _mine
    if _mine is None or _mine.process != os.getpid():
        _remove_left_behind()
        _mine = _Scratch()
    if most_gib is not None:
        _mine.most_bytes = int(most_gib * 2**30)
    elif not _mine.most_bytes:
        ranks = max(int(os.environ.get("LOCAL_WORLD_SIZE") or 1), 1)
        _mine.most_bytes = int(shutil.disk_usage(_mine.folder).free * _PART_OF_WHAT_IS_FREE / ranks)


def room() -> tuple[Path, int]:
    """This process's folder, which it must have, and the bytes that it may hold."""
    assert _mine is not None
    return _mine.folder.parent, _mine.most_bytes


def want(entries: Iterable[Entry], even_so: bool = False) -> bool:
    """Begins to fetch files, in their order, as long as they fit, and says whether all of them do.

    Args:
        even_so: also where the folder holds as much as it may; the disk must have room.
    """
    mine = _mine
    return mine is not None and _is_here(mine) and all(mine.want(entry, even_so) for entry in entries)


def wait(url: str) -> None:
    """Returns when a file that is wanted is there; raises SapiensError where it cannot be fetched."""
    if _mine is not None and _is_here(_mine):
        _mine.wait(url)


def want_all(paths: Iterable[str]) -> None:
    """The same for paths and URLs, as far as they are there and fit."""
    urls = list(filter(is_url, paths))
    if urls:
        want([entry for entry in entries_of(urls) if isinstance(entry, Entry)])


@contextmanager
def at_hand(path: str, even_so: bool) -> Iterator[None]:
    """Waits for a file that is wanted; with `even_so` any other is fetched too, and removed afterwards.

    Raises:
        SapiensError: it cannot be fetched.
    """
    if not is_url(path):
        yield
        return
    entry = entry_of(path)
    stays = _mine is None or path in _mine.files
    if not stays and even_so:
        want([entry], even_so=True)
    wait(path)
    yield
    if not stays:
        drop([path])


def drop(urls: Iterable[str]) -> None:
    """Removes files; a process that has one open can still read it."""
    if _mine is not None and _is_here(_mine):
        _mine.drop(urls)


def version_of(entry: Entry) -> int:
    """A number for the stamp of a file."""
    return int.from_bytes(hashlib.blake2b(entry.stamp.encode(), digest_size=7).digest(), "big")


def copy_of(url: str, version: int) -> Path | None:
    """The whole file, if it is here; in any process of the run."""
    folder = os.environ.get(_VARIABLE)
    if not folder:
        return None
    path = _path(Path(folder), url, version)
    return path if path.exists() else None


def _is_here(scratch: _Scratch) -> bool:
    """False in forked processes, which only read."""
    return scratch.process == os.getpid()


def _path(folder: Path, url: str, version: int) -> Path:
    return folder / f"{_digest(url)}-{version:x}"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _remove_left_behind() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            if time.time() - folder.stat().st_mtime < _YOUNG_SECONDS:  # it may not be locked yet
                continue
            with open(folder / "lock") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # another process uses it, or another user owns it
            continue
