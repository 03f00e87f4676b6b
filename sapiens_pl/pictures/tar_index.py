"""What a tar holds, indexed once: its pictures with their places, and what belongs to each by WebDataset's rule.

Members that share their path up to the first dot of the base name are one sample: `a/0.jpg`, `a/0.json`, `a/0.txt`.

Legend: n pictures.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import DamagedImageError, SapiensError, UnreadableImageError
from sapiens_pl.core.left_out import Kind
from sapiens_pl.core.plan import key_of
from sapiens_pl.pictures.left_out import looks_like_picture, not_read_here
from sapiens_pl.pictures.stored import RemoteFile, Stamp, StoredFile, open_stored
from sapiens_pl.pictures.tar_headers import FILE, FOLDER, LINK, SPARSE, Member, TarDamage, members

NO_NOTE, SHARED_NOTE = -1, -2
"""In place of where a picture's `.json` begins: there is none; it is that of several pictures."""
_NOTES = ("json", "txt", "caption", "cls")
"""Suffixes that belong to a picture; where there is none, it is missing."""
_WHY_NOT = {
    LINK: "is a link inside the tar, not the picture itself; pack it with tar -h --hard-dereference.",
    SPARSE: "is packed as a sparse file, which is not read here; pack it without tar -S.",
}


class TarIndex(NamedTuple):
    """The pictures of a tar in its order.

    Attributes:
        stamp: of the tar that was looked at.
        names: paths inside the tar, without repetitions.
        starts, sizes: (n,) int64, bytes of their content. A picture that cannot be read has the size -1, and its start
            is the place of its reason.
        notes: (n, 2) int64, start and size of the sample's `.json`; or `NO_NOTE`, `SHARED_NOTE`.
        reasons: class and sentence without subject, with a blank between them.
        left_out: members that are not pictures; `kinds` has for each its label and why, with a line break between.
        damage: what is wrong with the tar as a whole, or "".
    """

    stamp: Stamp
    names: Names
    starts: np.ndarray
    sizes: np.ndarray
    notes: np.ndarray
    reasons: Names
    left_out: Names
    kinds: Names
    damage: str

    def why_not(self, picture: int) -> SapiensError | None:
        """Why a picture cannot be read, as far as that is known before; a sentence without its subject."""
        if self.sizes[picture] >= 0:
            return None
        kind, _, sentence = self.reasons[int(self.starts[picture])].partition(" ")
        return {"DamagedImageError": DamagedImageError}.get(kind, UnreadableImageError)(sentence)

    def all_left_out(self) -> Iterable[tuple[str, Kind]]:
        for name, told in zip(self.left_out, self.kinds):
            label, _, why = told.partition("\n")
            yield name, Kind(label, why)


def index_of_tar(path: str, earlier: TarIndex | None = None) -> TarIndex:
    """Walks through a tar.

    Args:
        path: where it is.
        earlier: the index of the tar at this path before: it names the pictures that the tar has lost since.

    Raises:
        OSError, RemoteError: it cannot be read.
        UnreadableImageError: it is not a regular file; a sentence without its subject.
    """
    file = open_stored(path)
    try:
        return _Indexer().index(file, earlier)
    finally:
        file.close()


class _Indexer:
    def __init__(self) -> None:
        self._names: dict[str, None] = {}
        self._keys: list[str] = []
        self._places: list[tuple[int, int]] = []
        self._reasons: list[str] = []
        self._notes: dict[str, Member] = {}
        self._left_out: dict[str, Kind] = {}
        self._others: dict[str, list[str]] = {}

    def index(self, file: StoredFile | RemoteFile, earlier: TarIndex | None) -> TarIndex:
        damage = ""
        try:
            for member in members(file):
                self._take(member)
        except TarDamage as error:
            damage = str(error)
            if earlier is not None:
                self._add_lost(earlier)
        has_picture = set(self._keys)
        for key, names in self._others.items():
            if key not in has_picture:
                self._take_alone(key, names)
        places = np.array(self._places, np.int64).reshape(-1, 2)
        kinds = Names.of(f"{kind.label}\n{kind.why}" for kind in self._left_out.values())
        return TarIndex(
            file.stamp,
            Names.of(self._names),
            places[:, 0],
            places[:, 1],
            self._notes_of_pictures(),
            Names.of(self._reasons),
            Names.of(self._left_out),
            kinds,
            damage,
        )

    def _take(self, member: Member) -> None:
        if member.kind == FOLDER:
            return
        name = os.path.normpath(member.name)
        parts = name.split("/")
        is_picture = looks_like_picture(parts[-1])
        if ".." in parts or name.startswith("/"):
            if is_picture:
                self._fail(name.replace("..", "__").lstrip("/"), "has a name that leads out of the tar; rename it.")
        elif any(part.startswith(".") for part in parts):
            self._left_out[name] = Kind("hidden", "is hidden (a name that begins with a dot)")
        elif not is_picture:
            self._take_other(name, member)
        elif name in self._names:
            self._fail(name, "stands in the tar once more; only the first one is read. Rename one of them.")
        elif not member.is_whole:
            self._fail(name, "is cut off with the end of its tar; fetch that again.", DamagedImageError)
        elif member.kind != FILE:
            self._fail(name, _WHY_NOT.get(member.kind, "is not a file; remove it from the tar."))
        else:
            self._add(name, (member.start, member.size))

    def _take_other(self, name: str, member: Member) -> None:
        key, suffix = key_of(name)
        if suffix == "json" and member.kind == FILE and member.is_whole:
            self._notes.setdefault(key, member)
        self._others.setdefault(key, []).append(name)

    def _take_alone(self, key: str, names: list[str]) -> None:
        """A sample in which no picture was found."""
        notes = [name for name in names if key_of(name)[1] in _NOTES]
        others = [name for name in names if name not in notes]
        if notes:
            held = " and ".join(sorted({f".{key_of(name)[1]}" for name in names}))
            self._fail(key, f"has no picture in its tar, only {held}; fetch the tar again.")
        for name in others:
            kind = not_read_here(name)
            suffix = os.path.splitext(name)[1].lower()
            self._left_out[name] = kind or Kind(suffix or "no suffix", "has no suffix of a picture that is read here")

    def _add_lost(self, earlier: TarIndex) -> None:
        for name in earlier.names:
            if name not in self._names:
                self._fail(name, "is missing, as its tar is damaged or cut off; fetch that again.", DamagedImageError)

    def _add(self, name: str, place: tuple[int, int]) -> None:
        self._names[name] = None
        self._keys.append(key_of(name)[0])
        self._places.append(place)

    def _fail(self, name: str, sentence: str, error: type[SapiensError] = UnreadableImageError) -> None:
        name, count = name or "_", 1
        given = name
        while given in self._names:
            count += 1
            given = f"{name} ({count})"
        self._add(given, (len(self._reasons), -1))
        self._reasons.append(f"{error.__name__} {sentence}")

    def _notes_of_pictures(self) -> np.ndarray:
        """Of several pictures of a sample those with a single suffix have the note: `0.jpg`, not `0.mask.png`."""
        notes = np.full((len(self._names), 2), NO_NOTE, np.int64)
        if not self._notes:
            return notes
        plain = {key for name, key in zip(self._names, self._keys) if "." not in key_of(name)[1]}
        num_pictures: dict[str, int] = {}
        for key in self._keys:
            num_pictures[key] = num_pictures.get(key, 0) + 1
        for picture, (name, key) in enumerate(zip(self._names, self._keys)):
            note = self._notes.get(key)
            if note is None:
                continue
            if "." not in key_of(name)[1] or num_pictures[key] == 1:
                notes[picture] = note.start, note.size
            elif key not in plain:
                notes[picture] = SHARED_NOTE
        return notes
