"""Which image a name in a box file means."""

from __future__ import annotations

import os

from sapiens_pl.data.sources import ImageSource


class ImageFinder:
    """Finds the image that a box file means: by name, by path, or by the only path that ends alike."""

    def __init__(self, source: ImageSource) -> None:
        self._names = {file.name: index for index, file in enumerate(source.files)}
        self._paths = {file.path: index for index, file in enumerate(source.files)}
        self._bases: dict[str, list[int]] = {}
        for index, file in enumerate(source.files):
            self._bases.setdefault(os.path.basename(file.name), []).append(index)
        self._files = source.files
        self._through_links = source.left_out.through_links

    def find(self, key: str) -> int | None:
        name = self._through_links(os.path.normpath(key))
        found = self._names.get(name)
        if found is None:
            found = self._paths.get(os.path.abspath(key))
        if found is not None:
            return found
        parts = name.split(os.sep)
        alike = [
            index
            for index in self._bases.get(parts[-1], [])
            if _same_ending(parts, self._files[index].name.split(os.sep))
        ]
        return alike[0] if len(alike) == 1 else None


def _same_ending(one: list[str], other: list[str]) -> bool:
    shorter = min(len(one), len(other))
    return one[-shorter:] == other[-shorter:]


def names_by_number(source: ImageSource) -> dict[str, str]:
    """Images by the number that they are named by: 785 for `000000000785.jpg`, or by the name itself."""
    names: dict[str, str] = {}
    for file in source.files:
        stem = os.path.splitext(os.path.basename(file.name))[0]
        names[str(int(stem)) if stem.isdecimal() else stem] = file.name
    return names
