"""Which shards: files that hold many pictures each, by one name, a glob, braces, a folder or a list."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

from sapiens_pl.core.errors import ConfigError, RemoteError, UnreadableShardError
from sapiens_pl.core.remote import Entry, hidden, is_url
from sapiens_pl.core.structures import Failure
from sapiens_pl.core.text_files import open_text
from sapiens_pl.core.wording import one_line, shortened
from sapiens_pl.pictures.addresses import is_list_of_urls, list_addresses
from sapiens_pl.pictures.braces import expand_braces
from sapiens_pl.pictures.looks import entries_of
from sapiens_pl.pictures.run_folders import is_passed_over

_LISTS = (".txt", ".lst", ".list")
_MAGIC = "*?[{"
_OUTSIDE = "_outside"
_LOOKED_AT = 64
"""How many URLs a store is asked about together."""


class ShardFiles(NamedTuple):
    """`names` are the paths below `root`, in a fixed order; `complete`: they are all that the folder holds."""

    root: str
    names: list[str]
    paths: list[str]
    complete: bool

    def stamp(self, number: int) -> str | None:
        """A string that changes when the file changes; None if unknown."""
        if is_url(self.paths[number]):
            entry = entries_of(self.paths[number : number + _LOOKED_AT])[0]
            return f"{entry.num_bytes} bytes, {entry.stamp}" if isinstance(entry, Entry) and entry.stamp else None
        try:
            status = os.stat(self.paths[number])
        except OSError:
            return None
        return f"{status.st_size} bytes, {status.st_mtime_ns} ns"

    def bytes_at_urls(self) -> int | None:
        """The size of all that lie behind URLs, as far as their stores tell it; None if no store does."""
        urls = list(filter(is_url, self.paths))
        found = [entry for begin in range(0, len(urls), _LOOKED_AT) for entry in entries_of(urls[begin:][:_LOOKED_AT])]
        return sum(entry.num_bytes or 0 for entry in found if isinstance(entry, Entry)) if urls else None

    def some(self, numbers: Sequence[int]) -> ShardFiles:
        """Some of the shards; `complete` stays as it is: the others are not counted as left out."""
        names, paths = ([column[number] for number in numbers] for column in (self.names, self.paths))
        return self._replace(names=names, paths=paths)


def list_shards(images: str, suffixes: tuple[str, ...], kind: str) -> ShardFiles:
    """The shards that `data.images` asks for; those that braces or a list name need not be there.

    Args:
        images: a file, a glob, braces as in `{00000..00099}` or `{a,b}`, several of these between `::`, a folder
            (searched to the bottom), or a list file with a path a line; or URLs.
        suffixes: of shards, in small letters.
        kind: what they are called, for sentences.

    Raises:
        ConfigError: there is no such thing.
    """
    if not isinstance(images, str | os.PathLike):
        raise ConfigError(f"data.images={images} is not text; give {kind} files.")
    if is_url(str(images)) or is_list_of_urls(str(images)):
        found = list_addresses(str(images), lambda url: _path_of_url(url).endswith(suffixes), f"{kind} files")
        return ShardFiles(found.root.rstrip("/"), found.names, found.urls, found.complete)
    given = os.path.expanduser(str(images))
    if os.path.isdir(given):
        root = os.path.abspath(given)
        paths = [path for path in _walk(root) if path.lower().endswith(suffixes)]
    elif given.lower().endswith(_LISTS):
        root = os.path.dirname(os.path.abspath(given))
        paths = _listed(given, root)
    elif os.path.lexists(given):
        root, paths = os.path.dirname(os.path.abspath(given)), [given]
    else:
        root, paths = _fixed_part(given), list(chain.from_iterable(map(_globbed, expand_braces(given))))
    paths = list(dict.fromkeys(map(os.path.abspath, paths)))
    if not paths:
        raise ConfigError(f"data.images={shortened(str(images))} names no {kind} files; correct it.")
    return ShardFiles(root, [_name(path, root) for path in paths], paths, os.path.isdir(given))


def _path_of_url(url: str) -> str:
    return hidden(url).lower().removesuffix("?...")


def _walk(root: str) -> list[str]:
    found = []
    for folder, folders, files in os.walk(root):
        if folder != root and is_passed_over({*folders, *files}):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [os.path.join(folder, name) for name in sorted(files) if not name.startswith(".")]
    return found


def _listed(list_file: str, root: str) -> list[str]:
    with open_text(list_file) as file:
        lines = [line.strip().strip("\"'") for line in file]
    return [_listed_path(line, root) for line in lines if line]


def _listed_path(line: str, root: str) -> str:
    path = os.path.join(root, os.path.expanduser(line))
    return line if os.path.exists(line) and not os.path.lexists(path) else path


def _globbed(pattern: str) -> list[str]:
    if os.path.lexists(pattern) or not any(sign in pattern for sign in "*?["):
        return [pattern]
    return sorted(glob.glob(pattern, recursive=True))


def _fixed_part(pattern: str) -> str:
    """The folder above the first part that stands for several."""
    first = pattern.split("::")[0]
    parts = os.path.abspath(first).split(os.sep)
    fixed = next((place for place, part in enumerate(parts) if any(sign in part for sign in _MAGIC)), len(parts) - 1)
    return os.sep.join(parts[:fixed]) or os.sep


def _name(path: str, root: str) -> str:
    if path.startswith(os.path.join(root, "")):
        return os.path.relpath(path, root)
    return os.path.join(_OUTSIDE, path.lstrip(os.sep))


def shard_failure(name: str, path: str, why: object) -> Failure:
    """A shard of which pictures are missing; what a store says of one has a subject already.

    Args:
        why: an OSError, or a sentence without its subject.
    """
    if isinstance(why, RemoteError):
        return Failure(name, None, UnreadableShardError.__name__, str(why))
    if isinstance(why, OSError):
        is_missing = isinstance(why, FileNotFoundError | NotADirectoryError)
        reason = why.strerror or one_line(why)
        why = (
            "does not exist; correct the name." if is_missing else f"cannot be read ({reason}); fix that and run again."
        )
    return Failure(name, None, UnreadableShardError.__name__, f"{hidden(path)} {why}")
