"""Which shards: files that hold many pictures each, by one name, a glob, braces, a folder or a list."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from itertools import chain, product
from typing import NamedTuple

from sapiens_pl.core.errors import ConfigError, UnreadableShardError
from sapiens_pl.core.structures import Failure
from sapiens_pl.core.text_files import open_text
from sapiens_pl.core.wording import one_line, shortened

_LISTS = (".txt", ".lst", ".list")
_MAGIC = "*?[{"
_OUTSIDE = "_outside"
_RANGE = re.compile(r"(-?\d+|[A-Za-z])\.\.(-?\d+|[A-Za-z])(?:\.\.(-?\d+))?")
_MOST = 10_000_000
"""Shards that braces may stand for; more are a slip of the pen."""


class ShardFiles(NamedTuple):
    """`names` are the paths below `root`, in a fixed order; `complete`: they are all that the folder holds."""

    root: str
    names: list[str]
    paths: list[str]
    complete: bool

    def stamp(self, number: int) -> str | None:
        """Another text where the file is another; None where nobody knows."""
        try:
            status = os.stat(self.paths[number])
        except OSError:
            return None
        return f"{status.st_size} bytes, {status.st_mtime_ns} ns"

    def some(self, numbers: Sequence[int]) -> ShardFiles:
        """Those at some places; `complete` stays: nobody says of the others that they are left out."""
        names, paths = ([column[number] for number in numbers] for column in (self.names, self.paths))
        return self._replace(names=names, paths=paths)


def list_shards(images: str, suffixes: tuple[str, ...], kind: str) -> ShardFiles:
    """The shards that `data.images` asks for; those that braces or a list name need not be there.

    Args:
        images: a file, a glob, braces as in `{00000..00099}` or `{a,b}`, several of these between `::`, a folder
            (searched to the bottom), or a list file with a path a line.
        suffixes: of shards, in small letters.
        kind: what they are called, for sentences.

    Raises:
        ConfigError: there is no such thing.
    """
    if not isinstance(images, str | os.PathLike):
        raise ConfigError(f"data.images={images} is no text; give {kind} files.")
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


def _walk(root: str) -> list[str]:
    found = []
    for folder, folders, files in os.walk(root):
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


def expand_braces(text: str) -> list[str]:
    """All texts that one with braces stands for, as shells and WebDataset read them: ranges and lists, also nested.

    Raises:
        ConfigError: they are too many.
    """
    found = [each for part in text.split("::") for each in _expanded(part)]
    if len(found) > _MOST:
        raise ConfigError(f"data.images={shortened(text)} stands for {len(found)} files; shorten the range.")
    return found


def _expanded(text: str) -> list[str]:
    pieces: list[list[str]] = []
    position = begin = 0
    while position < len(text):
        end = _closing(text, position) if text[position] == "{" else -1
        choices = _choices(text[position + 1 : end]) if end > 0 else None
        if choices is None:
            position += 1
            continue
        pieces += [[text[begin:position]], choices]
        position = begin = end + 1
    return list(map("".join, product(*pieces, [text[begin:]])))


def _closing(text: str, start: int) -> int:
    """Where the brace that opens at `start` closes, or -1."""
    depth = 0
    for position in range(start, len(text)):
        depth += (text[position] == "{") - (text[position] == "}")
        if depth == 0:
            return position
    return -1


def _choices(inside: str) -> list[str] | None:
    """What a pair of braces stands for; None where they are part of a name."""
    numbers = _RANGE.fullmatch(inside)
    if numbers:
        return _range(*numbers.groups())
    parts, depth, begin = [], 0, 0
    for position, sign in enumerate(inside):
        depth += (sign == "{") - (sign == "}")
        if sign == "," and depth == 0:
            parts.append(inside[begin:position])
            begin = position + 1
    if not parts:
        return None
    return [each for part in (*parts, inside[begin:]) for each in _expanded(part)]


def _range(first: str, last: str, step: str | None) -> list[str] | None:
    letters = first.isalpha(), last.isalpha()
    if any(letters):
        if not all(letters):
            return None
        start, stop = ord(first), ord(last)
    else:
        start, stop = int(first), int(last)
    stride = abs(int(step)) if step and int(step) else 1
    if abs(stop - start) // stride > _MOST:
        raise ConfigError(f"data.images: {{{first}..{last}}} stands for too many files; shorten the range.")
    values = range(start, stop + 1, stride) if start <= stop else range(start, stop - 1, -stride)
    if all(letters):
        return list(map(chr, values))
    is_padded = any(text.lstrip("-")[:1] == "0" and len(text.lstrip("-")) > 1 for text in (first, last))
    width = max(len(first), len(last)) if is_padded else 0
    return [f"{value:0{width}d}" for value in values]


def shard_failure(name: str, path: str, why: object) -> Failure:
    """A shard of which pictures are missing.

    Args:
        why: an OSError, or a sentence without its subject.
    """
    if isinstance(why, OSError):
        is_missing = isinstance(why, FileNotFoundError | NotADirectoryError)
        reason = why.strerror or one_line(why)
        why = (
            "does not exist; correct the name."
            if is_missing
            else f"cannot be read ({reason}); mend that and run again."
        )
    return Failure(name, None, UnreadableShardError.__name__, f"{path} {why}")
