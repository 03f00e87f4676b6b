"""Which images and videos: a folder, a glob, a list file or one file, as names below a common root."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError, UnreadableImageError
from sapiens_pl.core.plan import Pictures
from sapiens_pl.core.structures import LoadedImage
from sapiens_pl.core.text_files import open_text
from sapiens_pl.core.wording import shortened
from sapiens_pl.pictures import MAX_MEGAPIXELS, read_image
from sapiens_pl.pictures.films import Films, FrameReader, frame_of_name, with_frames
from sapiens_pl.pictures.left_out import not_read_here
from sapiens_pl.pictures.tree import find_pictures
from sapiens_pl.pictures.video_choice import frame_choice

LIST_SUFFIXES = (".txt", ".lst", ".list")
_MAGIC = "*?["
_OUTSIDE = "_outside"
_WAYS = "give a folder, a glob, a list file, an image or a video."


class ImageFiles:
    """Image files of a disk, and the frames of videos, as a picture source (`conf/sources/files.yaml`).

    Args:
        images: a folder, a glob, a list file, one image or one video, as for `list_images`.
        max_megapixels: larger pictures are refused.
        video: which frames of videos (`data.video`).

    Raises:
        ConfigError: there is nothing of that name.
    """

    def __init__(
        self,
        images: str | Path,
        max_megapixels: float = MAX_MEGAPIXELS,
        video: Mapping[str, Any] | None = None,
    ) -> None:
        self._choice = frame_choice(video)
        check_images(images)
        self._images, self._max_megapixels = images, max_megapixels
        self._pictures: Pictures | None = None
        self._films: Films | None = None
        self._frames = FrameReader(max_megapixels)

    def pictures(self) -> Pictures:
        """The pictures at the time of the first call; ConfigError if there are none."""
        if self._pictures is None:
            self._pictures, self._films = with_frames(list_images(self._images), self._choice)
        return self._pictures

    def read(self, index: int) -> LoadedImage:
        """The picture at this position; SapiensError with a sentence if it cannot be read."""
        path = self.pictures().path(index)
        assert self._films is not None
        if self._films.film[index] < 0:
            return read_image(path, self._max_megapixels)
        film, frame = self._films.films[self._films.film[index]], int(self._films.frame[index])
        if frame < 0 or film.table is None:
            raise UnreadableImageError(film.trouble)
        return self._frames.read(path, film.table, frame)

    @property
    def num_decoded(self) -> int:
        """Frames of videos that this process has decoded; one that was decoded twice is counted twice."""
        return self._frames.num_decoded

    @staticmethod
    def open_again(max_megapixels: float) -> Callable[[str, str], LoadedImage]:
        """What reads single pictures by name and path, wherever they were found."""
        frames = FrameReader(max_megapixels)

        def read(name: str, path: str) -> LoadedImage:
            frame = frame_of_name(name, path)
            return read_image(path, max_megapixels) if frame is None else frames.read_by_index(path, frame)

        return read


def check_images(images: str | Path) -> None:
    """Raises ConfigError if there is nothing of that name: at once, before anything large is loaded."""
    if not isinstance(images, str | Path):
        raise ConfigError(
            f"data.images={images} is not text but a value of type {type(images).__name__}; a name that looks like one "
            f"is quoted for Hydra too: \"data.images='NAME'\"."
        )
    given = os.path.expanduser(str(images))
    if "\0" in given:
        raise ConfigError(f"data.images={given!r} holds a zero byte, which no path can; {_WAYS}")
    try:
        os.lstat(given)
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            if any(sign in given for sign in _MAGIC):
                return
            raise ConfigError(f"data.images={images} does not exist; {_WAYS}") from None
        raise ConfigError(f"data.images={shortened(given)} cannot be looked at ({error.strerror}); {_WAYS}") from None


def list_images(images: str | Path) -> Pictures:
    """Finds the images that `data.images` asks for.

    Args:
        images: a folder (searched to the bottom), a glob pattern, a list file with a path a line
            (relative to the list's folder, or else to the working directory), or one image.

    Raises:
        ConfigError: it does not exist, or there is no image in it.
    """
    check_images(images)
    given = os.path.expanduser(str(images))
    if os.path.isdir(given):
        source = _search(os.path.abspath(given), None)
    elif given.lower().endswith(LIST_SUFFIXES) and os.path.isfile(given):
        source = _from_list(given)
    elif os.path.lexists(given):
        _check_one(given)
        source = _named(os.path.dirname(os.path.abspath(given)), [given])
    else:
        source = _from_glob(given)
    if not source.names:
        raise ConfigError(_nothing_found(str(images), source))
    return source


def _nothing_found(images: str, source: Pictures) -> str:
    said = [failure.message for failure in source.failures[:1]] + source.left_out.sentences()
    if any(sign in images for sign in _MAGIC) and "[" in images:
        said.append("In a glob [...] stands for one of the letters between the brackets; write [[] for the letter [.")
    return " ".join([f"data.images={shortened(images)} holds no images; {_WAYS}", *said])


def _check_one(path: str) -> None:
    kind = not_read_here(path)
    if kind is not None:
        raise ConfigError(f"data.images={path} {kind.why}.")


def _search(root: str, pattern: list[str] | None) -> Pictures:
    found = find_pictures(root, pattern)
    if os.curdir in found.left_out.folders:
        raise ConfigError(f"data.images: {found.failures[0].message}")
    return Pictures(root, found.names, pattern is None, tuple(found.failures), found.left_out)


def _from_glob(pattern: str) -> Pictures:
    root = os.path.abspath(pattern)
    parts: list[str] = []
    while any(sign in root for sign in _MAGIC):
        root, part = os.path.split(root)
        parts.insert(0, part)
    if not os.path.isdir(root):
        raise ConfigError(f"data.images={shortened(pattern)}: there is no folder {shortened(root)}; {_WAYS}")
    return _search(root, parts)


def _from_list(list_file: str) -> Pictures:
    root = os.path.dirname(os.path.abspath(list_file))
    paths = []
    with open_text(list_file) as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip("\r\n")
            if "\0" in line:
                raise ConfigError(
                    f"{list_file}, line {number} holds a zero byte, so it is not a list of paths; {_WAYS}"
                )
            if line.strip():
                paths.append(_listed(root, line))
    return _named(root, paths)


def _listed(root: str, line: str) -> str:
    """The path in a line, as it is or as other systems write it: with blanks or quotes around it, with backslashes."""
    bare = line.strip().strip("\"'").replace("\\", "/")
    for text in (line, bare or line):
        path = os.path.join(root, os.path.expanduser(text))
        if os.path.lexists(path):
            return path
        if os.path.exists(text):
            return text
    return os.path.join(root, os.path.expanduser(line))


def _named(root: str, paths: list[str]) -> Pictures:
    """Names each path below the root; what lies elsewhere gets a folder of its own below the root."""
    files: dict[str, str] = {}
    for path in map(os.path.abspath, paths):
        inside = path.startswith(os.path.join(root, ""))
        name = os.path.relpath(path, root) if inside else os.path.join(_OUTSIDE, path.lstrip(os.sep))
        files.setdefault(name, path)
    return Pictures(root, Names.of(files), complete=False, paths=Names.of(files.values()))
