"""Which image a name or a number in a box file means."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote

import numpy as np

from sapiens_pl.core.columns import Names, encoded, names_of_arrow
from sapiens_pl.core.errors import AmbiguousNameError, MissingImageError, UnreadableImageError
from sapiens_pl.core.plan import Pictures
from sapiens_pl.pictures import IMAGE_SUFFIXES
from sapiens_pl.pictures.heif import HEIF_SUFFIXES

AMBIGUOUS = AmbiguousNameError.__name__
_NAMED_AT_MOST = 3
"""How many of the images that one name could mean are kept: enough to say that it is not clear."""

_COCO_2014 = re.compile(r"COCO_(?:train|val|test)20\d\d_(\d{12})")
"""How COCO named its images of 2014 and 2015; later ones are named by the bare number."""

_Key = TypeVar("_Key")


class NoImage(NamedTuple):
    """Why a box file's name means no image.

    `here`: what it means does lie here, but cannot be told from others or is not read. `error` is the failure's class.
    """

    reason: str
    here: bool = False
    error: str = MissingImageError.__name__


class ImageFinder:
    """Finds the image that a box file means, if just one can be meant.

    First by name or path as given, then by the only one that ends in it; then the same regardless of how it is
    written (backslashes, drive letters, `file:`, composed letters), last without regard to case and `%20`. Pictures of
    tars and tables also by their key, without a suffix.

    Frames of videos are found by `find_all`, by their names as they stand; what else may be said of them,
    `video_frames.VideoFrames` knows.
    """

    def __init__(self, source: Pictures) -> None:
        self._names, self._root, self._source = source.names, source.root, source
        self._photographs = photographs_of(source)
        self._indexes: dict[Callable[[str], str], _Index] = {}
        self._answers: dict[str, tuple[int, ...]] = {}

    @cached_property
    def _exact(self) -> dict[str, int]:
        exact = {self._source.path(index): index for index in self._photographs}
        return exact | {name: index for index, name in _named(self._names, self._photographs)}

    def find_all(self, keys: Names) -> np.ndarray:
        """(n,) int64: for each key what `find` gives, -1 for None; for many that stand as they are without an index.

        Where there are videos, those that do not stand so are left to the caller: most are frames.
        """
        found = self._names.positions(keys)
        if self._source.frames is not None:
            photographs = np.array(self._photographs, np.int64)
            _fill_in(found, keys, Names.of(map(self._source.path, self._photographs)), places=photographs)
            return found
        elif self._source.paths is not None:
            _fill_in(found, keys, self._source.paths)
        elif self._root:
            _fill_in(found, keys, self._names, os.path.join(self._root, ""))
        for place in np.flatnonzero(found < 0).tolist():
            index = self.find(keys[place])
            found[place] = -1 if index is None else index
        return found

    def find(self, key: str) -> int | None:
        """The image's position in the source, or None if none or more than one can be meant."""
        found = self._exact.get(key)
        if found is not None:
            return found
        alike = self._alike(key)
        return alike[0] if len(alike) == 1 else None

    def why_not(self, key: str) -> NoImage:
        """The reason that `find` gave None for this key."""
        names = [self._names[index] for index in self._alike(key)]
        if names:
            return NoImage(
                f"could be {either(names)}; write its folder, or its name as it is on the disk", True, AMBIGUOUS
            )
        for name in (key, one_spelling(key)):
            reason = self._source.why_left_out(name)
            if reason is not None:
                return NoImage(reason, True, UnreadableImageError.__name__)
        return NoImage(f"is not below {self._root}; add it or correct the box file")

    def _alike(self, key: str) -> tuple[int, ...]:
        if key not in self._answers:
            self._answers[key] = self._look_for(key)
        return self._answers[key]

    def _look_for(self, key: str) -> tuple[int, ...]:
        name = os.path.normpath(key)
        linked = self._source.left_out.through_links(name)
        for whole in (name, linked, os.path.abspath(key)):
            if whole in self._exact:
                return (self._exact[whole],)
        key = linked if linked != name else key
        is_bare = self._source.shards is not None and one_spelling(key) == _as_key(key)
        for spell in (one_spelling, _any_spelling, *((_as_key,) if is_bare else ())):
            if spell not in self._indexes:
                self._indexes[spell] = _Index(self._names, self._photographs, self._root, spell)
            alike = self._indexes[spell].find(key)
            if len(alike) > 1:  # one of them may be written in exactly this way
                alike = self._written_so(alike, key) or alike
            if alike:
                return tuple(alike)
        return ()

    def _written_so(self, alike: Sequence[int], key: str) -> list[int]:
        same = [index for index in alike if _same_ending(self._names[index], os.path.normpath(key))]
        return same if len(same) == 1 else []


def photographs_of(source: Pictures) -> Sequence[int]:
    """The positions of the pictures that are not frames of videos."""
    if source.frames is None:
        return range(len(source.names))
    photographs: list[int] = np.flatnonzero(source.frames.video < 0).tolist()
    return photographs


def _named(names: Names, places: Sequence[int]) -> Iterator[tuple[int, str]]:
    """The places with the names there; all are read in one go."""
    return zip(places, names if len(places) == len(names) else map(names.__getitem__, places))


def _fill_in(found: np.ndarray, keys: Names, names: Names, prefix: str = "", places: np.ndarray | None = None) -> None:
    """Looks for the keys that are not found yet, without a prefix, among the names, which are of these places."""
    import pyarrow.compute as pc

    missing = np.flatnonzero(found < 0)
    if not len(missing):
        return
    start, some = encoded(prefix), keys.select(missing).arrow()
    has_prefix = pc.starts_with(some, start).to_numpy(zero_copy_only=False).astype(bool)
    bare = pc.binary_replace_slice(some.filter(has_prefix), 0, len(start), b"")
    positions = names.positions(names_of_arrow(bare))
    found[missing[has_prefix]] = positions if places is None else np.append(places, -1)[positions]


class _Index:
    """Images by their names in one spelling, and by all that such a name can end in."""

    def __init__(self, names: Names, places: Sequence[int], root: str, spell: Callable[[str], str]) -> None:
        self._spell, self._root = spell, spell(root).rstrip("/")
        self._names: dict[str, list[int]] = {}
        self._endings: dict[str, list[int]] = {}
        for index, name in _named(names, places):
            name = spell(name)
            _add(self._names, name, index)
            slash = name.find("/")
            while slash >= 0:
                _add(self._endings, name[slash + 1 :], index)
                slash = name.find("/", slash + 1)

    def find(self, key: str) -> list[int]:
        """The images that a key can mean: those that fit where they lie, or else those whose whole name it ends in."""
        name = self._spell(key)
        while name.startswith("../"):
            name = name[3:]
        for whole in (name, name.removeprefix(f"{self._root}/")):
            if whole in self._names:
                return self._names[whole]
        fit = list(self._endings.get(name, []))
        moved: list[int] = []
        slash = name.find("/")
        while slash >= 0:
            inside = self._names.get(name[slash + 1 :], [])
            moved += inside
            if f"/{self._root}".endswith(f"/{name[:slash].lstrip('/')}"):
                fit += inside
            slash = name.find("/", slash + 1)
        return sorted(set(fit or moved))[:_NAMED_AT_MOST]


def _add(index: dict[_Key, list[int]], key: _Key, value: int) -> None:
    found = index.setdefault(key, [])
    if len(found) < _NAMED_AT_MOST:
        found.append(value)


def _same_ending(one: str, other: str) -> bool:
    """Whether one path is the other's end."""
    one, other = f"/{one.lstrip('/')}", f"/{other.lstrip('/')}"
    return one.endswith(other) or other.endswith(one)


def one_spelling(name: str) -> str:
    """A name as this system would write it: slashes, no drive, no `file:`, composed letters, nothing of `a/../`."""
    if name[:5].lower() == "file:":
        name = unquote(re.sub("^//(localhost)?(?=/)", "", name[5:], flags=re.IGNORECASE))
    if not name.isascii():
        if any("\udc80" <= letter <= "\udcff" for letter in name):  # not UTF-8; Windows' is likeliest
            name = name.encode("utf-8", "surrogateescape").decode("cp1252", "replace")
        name = unicodedata.normalize("NFC", name)
    name = os.path.normpath(name.replace("\\", "/"))
    return re.sub("^/?[A-Za-z]:/", "/", name)


def _any_spelling(name: str) -> str:
    return unicodedata.normalize("NFC", unquote(one_spelling(name)).casefold())


def _as_key(name: str) -> str:
    """The key that names a tar's sample or a table's row elsewhere: `a/0` for `a/0.jpg`."""
    spelled = one_spelling(name)
    stem, suffix = os.path.splitext(spelled)
    return stem if suffix.lower() in (*IMAGE_SUFFIXES, *HEIF_SUFFIXES) else spelled


class ImageNumbers:
    """Finds the image that a number means: 785 for `000000000785.jpg` or `COCO_val2014_000000000785.jpg`; text also by
    all of the name but its suffix.
    """

    def __init__(self, source: Pictures) -> None:
        self._stems: dict[int | str, list[int]] = {}
        self._numbers: dict[int | str, list[int]] = {}
        self._names = source.names
        for index, name in _named(source.names, photographs_of(source)):
            stem = os.path.splitext(os.path.basename(name))[0]
            _add(self._stems, stem, index)
            coco2014 = _COCO_2014.fullmatch(stem)
            _add(self._numbers, plain_id(coco2014[1] if coco2014 else stem), index)

    def find(self, image_id: Any) -> str | NoImage:
        """The image's name; text that no image is named by comes back, as it may be a path."""
        number = plain_id(image_id)
        text = image_id.strip() if isinstance(image_id, str) else ""
        padded = isinstance(number, str) or text.startswith("0")
        found = (self._stems.get(text) if padded else None) or self._numbers.get(number, [])
        if len(found) == 1:
            return self._names[found[0]]
        if found:
            names = either([self._names[index] for index in found])
            return NoImage(
                f"could be {names}; say which with paths, or with a list of images and their ids", True, AMBIGUOUS
            )
        if isinstance(number, str):
            return number
        return NoImage("is the number of no image; add it or correct the box file")


def plain_id(value: Any) -> int | str:
    """An id by its value, however it is written: 785 for `785.0`, `"000785"` and `"785.0"`; else its text."""
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    text = str(value).strip()
    if text.isdecimal():
        return int(text) if len(text) <= 40 else text  # Python refuses thousands of digits
    return int(float(text)) if re.fullmatch(r"\d{1,15}\.0*", text) else text


def either(names: Sequence[str]) -> str:
    """Names for a sentence; of many only two."""
    return " or ".join(names[:2]) + (" (or others)" if len(names) > 2 else "")
