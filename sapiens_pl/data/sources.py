"""Which images: a folder, a glob, a list file or one file, as names below a common root."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import NamedTuple

from sapiens_pl.errors import ConfigError
from sapiens_pl.images import IMAGE_SUFFIXES
from sapiens_pl.structures import ImageFile

LIST_SUFFIXES = (".txt", ".lst", ".list")
_OUTSIDE = "_outside"


class ImageSource(NamedTuple):
    """`files` in a fixed order without repetitions, named relative to `root`.

    `complete` says that the source is everything below `root`, not a choice from it.
    """

    root: str
    files: list[ImageFile]
    complete: bool


def check_images(images: str | Path) -> None:
    """Raises ConfigError if there is nothing of that name: at once, before anything large is loaded."""
    given = os.path.expanduser(str(images))
    if not os.path.exists(given) and not any(sign in given for sign in "*?["):
        raise ConfigError(f"data.images={images} does not exist; give a folder, a glob, a list file or an image.")


def list_images(images: str | Path) -> ImageSource:
    """Finds the images that `data.images` asks for.

    Args:
        images: a folder (searched to the bottom), a glob pattern, a list file with a path a line
            (relative to the list's folder, or else to the working directory), or one image.

    Raises:
        ConfigError: there is no such thing, or no image in it.
    """
    check_images(images)
    given = os.path.expanduser(str(images))
    if os.path.isdir(given):
        source = _from_folder(given)
    elif given.lower().endswith(LIST_SUFFIXES) and os.path.isfile(given):
        source = _from_list(given)
    elif os.path.exists(given):
        source = _named(os.path.dirname(os.path.abspath(given)), [given])
    else:
        source = _from_glob(given)
    if not source.files:
        raise ConfigError(f"data.images={images} holds no images; give a folder, a glob, a list file or an image.")
    return source


def _from_folder(folder: str) -> ImageSource:
    root = os.path.abspath(folder)
    paths: list[str] = []
    seen: set[tuple[int, int]] = set()  # a link back up must not send the search round in circles
    for parent, folders, names in os.walk(root, followlinks=True):
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths += [os.path.join(parent, name) for name in sorted(names) if _looks_like_image(name)]
    return _named(root, paths)._replace(complete=True)


def _from_glob(pattern: str) -> ImageSource:
    fixed = os.path.abspath(pattern)
    while any(sign in fixed for sign in "*?["):
        fixed = os.path.dirname(fixed)
    paths = sorted(path for path in glob.glob(pattern, recursive=True) if not os.path.isdir(path))
    return _named(fixed, [path for path in paths if _looks_like_image(path)])


def _from_list(list_file: str) -> ImageSource:
    root = os.path.dirname(os.path.abspath(list_file))
    with open(list_file, encoding="utf-8-sig", errors="surrogateescape") as file:
        lines = [line.rstrip("\r\n") for line in file]
    paths = []
    for line in lines:
        if line.strip():
            path = os.path.join(root, os.path.expanduser(line))
            if not os.path.exists(path) and os.path.exists(line):
                path = line
            paths.append(path)
    return _named(root, paths)


def _looks_like_image(name: str) -> bool:
    base = os.path.basename(name)
    return not base.startswith(".") and os.path.splitext(base)[1].lower() in IMAGE_SUFFIXES


def _named(root: str, paths: list[str]) -> ImageSource:
    """Names each path below the root; what lies elsewhere goes below a folder of its own, never above."""
    files: dict[str, ImageFile] = {}
    for path in map(os.path.abspath, paths):
        inside = path.startswith(os.path.join(root, ""))
        name = os.path.relpath(path, root) if inside else os.path.join(_OUTSIDE, path.lstrip(os.sep))
        files.setdefault(name, ImageFile(name, path))
    return ImageSource(root, list(files.values()), complete=False)
