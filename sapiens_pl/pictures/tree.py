"""The search for pictures below a folder: each one once, under a stable name, and nothing missed silently."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections import deque
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple

from sapiens_pl.core.columns import Names, NamesBuilder
from sapiens_pl.core.errors import UnreadableFolderError
from sapiens_pl.core.left_out import LeftOut
from sapiens_pl.core.structures import Failure
from sapiens_pl.core.wording import shortened
from sapiens_pl.pictures.left_out import is_no_picture, kind_of, looks_like_picture, not_read_here
from sapiens_pl.pictures.run_folders import SWEEP, is_passed_over, results_among

ANYWHERE = "**"
# A network mount may have been away for a moment.
_PASSING = frozenset([errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR])
_PAUSE_SECONDS = 0.5
_MOST_LOOKED_INTO = 1000
"""Files of unknown suffix whose first bytes are read; a folder may hold a million, on a slow disk."""
_Entries = dict[str, os.DirEntry | None]
"""What a folder holds, by name; None for an ordinary file that looks like a picture, as most of a million are."""


class Found(NamedTuple):
    """Names below the root in the order of the search, a failure for each folder that could not be listed, the rest."""

    names: Names
    failures: list[Failure]
    left_out: LeftOut


def find_pictures(root: str, pattern: list[str] | None = None) -> Found:
    """Walks through the folders below `root`: the files of each by name, then its folders.

    Folders come before links: a link to what is listed anyway is left out, one that leads elsewhere is followed once,
    in the end. Hidden files and folders are passed over, and so are the folders of runs.

    Args:
        root: an absolute path.
        pattern: only files whose path below the root matches these parts of a glob; None for all.
    """
    search = _Search(root, pattern or [ANYWHERE])
    search.run()
    return Found(search.found(), search.failures, search.left_out)


class _Search:
    def __init__(self, root: str, pattern: list[str]) -> None:
        self.failures: list[Failure] = []
        self.left_out = LeftOut()
        self._names = NamesBuilder()
        self._looked_into = 0
        self._root, self._pattern = root, pattern
        self._seen: dict[tuple[int, int], str] = {}  # a link back up must not send the search round in circles
        self._folder_links: deque[tuple[str, frozenset[int]]] = deque()
        self._file_links: list[str] = []

    def run(self) -> None:
        self._walk("", _closure(frozenset([0]), self._pattern))
        while self._folder_links:
            name, states = self._folder_links.popleft()
            first = self._seen.get(_identity(self._path(name)))
            if first is None:
                self.left_out.followed[name] = os.readlink(self._path(name))
                self._walk(name, states)
            else:
                self.left_out.links[name] = first or os.curdir

    def found(self) -> Names:
        """The names, without links to pictures that are listed under their own; links to hidden or suffixless files
        stay.
        """
        names = self._names.build()
        if not self._file_links:
            return names
        real_root, links = os.path.realpath(self._root), set(self._file_links)
        own = {name for name in names if name not in links}
        for name in self._file_links:
            target = os.path.relpath(os.path.realpath(self._path(name)), real_root)
            if target in own:
                self.left_out.links[name] = target
        return Names.of(name for name in names if name not in self.left_out.links)

    def _path(self, name: str) -> str:
        return os.path.join(self._root, name) if name else self._root

    def _walk(self, start: str, start_states: frozenset[int]) -> None:
        waiting = [(start, start_states)]
        while waiting:
            folder, states = waiting.pop()
            try:
                identity = _identity(self._path(folder))
                entries = _entries(self._path(folder))
            except OSError as error:
                self._fail(folder, error)
                continue
            if identity in self._seen:  # through a link from elsewhere
                continue
            self._seen[identity] = folder
            folders: list[tuple[str, frozenset[int]]] = []
            prefix, end = os.path.join(folder, ""), len(self._pattern)
            for name, entry in self._not_ours(folder, entries):
                reached = _next_states(states, name, self._pattern)
                if entry is None:
                    if end in reached:
                        self._names.add(prefix + name)
                elif reached and not name.startswith("."):
                    self._take(prefix + name, entry, reached, folders)
            waiting += reversed(folders)

    def _not_ours(self, folder: str, entries: _Entries) -> Iterator[tuple[str, os.DirEntry | None]]:
        """By name, without the results of a run. Its folder is passed over, unless photographs lie there as well."""
        names, ours = entries.keys(), results_among(entries.keys())
        if folder and is_passed_over(names):
            self.left_out.run_folders[folder] = None
            return
        for name in sorted(names & ours - SWEEP):
            self.left_out.run_folders[os.path.join(folder, name)] = None
        for name in sorted(entries):
            if name not in ours:
                yield name, entries[name]

    def _take(
        self, name: str, entry: os.DirEntry, reached: frozenset[int], folders: list[tuple[str, frozenset[int]]]
    ) -> None:
        try:
            is_link = entry.is_symlink()
            mode = os.stat(entry.path).st_mode if is_link else 0
            is_folder = stat.S_ISDIR(mode) if is_link else entry.is_dir(follow_symlinks=False)
        except OSError as error:  # a link that leads nowhere, or in circles
            if looks_like_picture(entry.name):
                is_link = is_folder = False  # reading it will fail with the reason
            elif is_no_picture(entry.name):
                return
            else:
                return self._fail(name, error)
        if is_folder:
            if any(state < len(self._pattern) for state in reached):
                (self._folder_links if is_link else folders).append((name, reached))
        elif len(self._pattern) not in reached:
            return
        elif looks_like_picture(entry.name):
            self._names.add(name)
            if is_link:
                self._file_links.append(name)
        else:
            self._note(name, entry.path)

    def _note(self, name: str, path: str) -> None:
        """Takes a file that has no suffix of a picture, if it may be one."""
        kind = kind_of(path, self._looked_into < _MOST_LOOKED_INTO)
        self._looked_into += not is_no_picture(path) and not_read_here(path) is None
        if kind is not None:
            self.left_out.files[name] = kind

    def _fail(self, folder: str, error: OSError) -> None:
        name, reason = folder or os.curdir, error.strerror or str(error)
        self.left_out.folders[name] = reason
        message = (
            f"{shortened(self._path(folder))} cannot be listed ({reason}), so the pictures in it are missing; "
            "fix that and run the same command again."
        )
        self.failures.append(Failure(name, None, UnreadableFolderError.__name__, message))


def _entries(path: str) -> _Entries:
    for last in (False, True):
        try:
            with os.scandir(path) as entries:
                return {entry.name: None if _is_picture_file(entry) else entry for entry in entries}
        except OSError as error:
            if last or error.errno not in _PASSING:
                raise
            time.sleep(_PAUSE_SECONDS)
    raise AssertionError("one of the two returns or raises")


def _is_picture_file(entry: os.DirEntry) -> bool:
    try:
        return looks_like_picture(entry.name) and entry.is_file(follow_symlinks=False)
    except OSError:  # where the listing does not tell
        return False


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _next_states(states: frozenset[int], part: str, pattern: list[str]) -> frozenset[int]:
    """How many parts of the pattern may be matched after one more part of a path; empty where it cannot match."""
    if pattern == [ANYWHERE]:
        return states
    after = set()
    for state in states:
        if state < len(pattern):
            if pattern[state] == ANYWHERE:
                after.add(state)
            elif fnmatchcase(part, pattern[state]):
                after.add(state + 1)
    return _closure(frozenset(after), pattern)


def _closure(states: frozenset[int], pattern: list[str]) -> frozenset[int]:
    """`**` also stands for no folder at all."""
    reached = set(states)
    for state in sorted(states):
        while state < len(pattern) and pattern[state] == ANYWHERE:
            state += 1
            reached.add(state)
    return frozenset(reached)
