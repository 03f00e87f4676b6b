"""Files beside the pictures that the run does not use, and why: nothing is left out silently."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator
from itertools import islice
from typing import Any, NamedTuple

from sapiens_pl.core.not_counted import FIRST_NAMES, FilesNotCounted, most_frequent
from sapiens_pl.core.wording import shortened

_MOST_RUN_FOLDERS = 100


class Kind(NamedTuple):
    """Why a file is left out: `label` to count by, and `why`, which completes the sentence "NAME ..."."""

    label: str
    why: str


class LeftOut:
    """Filled in by the search for pictures.

    Attributes:
        files: by name, the files that look like pictures or videos and are not read.
        run_folders: names of run folders below the root, which are not searched (an ordered set).
        links: by name, the links to what lies below the root anyway, and the name that this has.
        followed: by name, the links that lead elsewhere, and what stands in each; they are not left out, but another
            time they may lead to other pictures.
        folders: by name, the folders that cannot be listed, and what the operating system says of them.
    """

    def __init__(self) -> None:
        self.files: dict[str, Kind] = {}
        self.run_folders: dict[str, None] = {}
        self.links: dict[str, str] = {}
        self.followed: dict[str, str] = {}
        self.folders: dict[str, str] = {}
        self._by_base: dict[str, list[str]] | None = None

    def why(self, key: str, root: str) -> str | None:
        """Why a requested name or path is not a picture of the run, to complete "NAME ...".

        None if nothing of the kind is known.
        """
        name = os.path.relpath(key, root) if os.path.isabs(key) else os.path.normpath(key)
        if name not in self.files:
            name = self._name_that_ends_alike(name) or name
        if name in self.files:
            return self.files[name].why
        parts = name.split(os.sep)
        if any(part.startswith(".") and part != os.pardir for part in parts):
            return "is hidden (a name that begins with a dot), and hidden files are not read"
        for above in _and_above(name):
            path = shortened(os.path.join(root, above))
            if above in self.run_folders:
                return f"lies in the folder of a run ({path}), which is not searched for pictures"
            if above in self.folders:
                return f"lies in {path}, which cannot be listed ({self.folders[above]})"
        return None

    def _name_that_ends_alike(self, name: str) -> str | None:
        if self._by_base is None:
            self._by_base = {}
            for each in self.files:
                self._by_base.setdefault(os.path.basename(each), []).append(each)
        alike = [each for each in self._by_base.get(os.path.basename(name), []) if f"/{each}".endswith(f"/{name}")]
        return alike[0] if len(alike) == 1 else None

    def through_links(self, name: str) -> str:
        """The name without the links that are left out: what `latest/a.jpg` is called where `latest` leads."""
        for above in _and_above(name):
            if above in self.links:
                return os.path.normpath(f"{self.links[above]}{name[len(above) :]}")
        return name

    def sentences(self) -> list[str]:
        """What the user should know about it."""
        said = []
        if self.files:
            counts = Counter(kind.label for kind in self.files.values()).most_common()
            first, kind = next(iter(self.files.items()))
            kinds = ", ".join(f"{count} {label}" for label, count in counts)
            said.append(f"Left out: {_first_few(self.files)} ({kinds}). {shortened(first)} {kind.why}.")
        if self.run_folders:
            said.append(f"Folders of runs are not searched for pictures: {_first_few(self.run_folders)}.")
        if self.links:
            links = _first_few([f"{link} (to {target})" for link, target in self.links.items()])
            said.append(f"Links to what is listed under its own name are left out: {links}.")
        return said

    def not_counted(self) -> FilesNotCounted | None:
        """The files for `run.json`; None if there are none."""
        if not self.files:
            return None
        counts = Counter(kind.label for kind in self.files.values())
        why = next(iter(self.files.values())).why
        return FilesNotCounted(len(self.files), most_frequent(counts), list(self.files)[:FIRST_NAMES], why)

    def account(self) -> dict[str, Any]:
        """What lies there for `run.json`, with what another run must find again."""
        counts = Counter(kind.label for kind in self.files.values())
        return {
            "files": dict(counts.most_common()),
            "first_files": list(self.files)[:FIRST_NAMES],
            "run_folders": list(self.run_folders)[:_MOST_RUN_FOLDERS],
            "links": len(self.links),
            "links_followed": self.followed,
            "folders_not_listed": len(self.folders),
        }


def sum_of_accounts(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """What two searches have left out, as `account` says it of one."""
    total = dict(one)
    for key, value in other.items():
        before = total.get(key)
        if before is None:
            total[key] = value
        elif isinstance(value, dict):
            total[key] = {name: _sum(before.get(name), value.get(name)) for name in {**before, **value}}
        elif isinstance(value, list):
            total[key] = [*before, *value][: max(len(before), FIRST_NAMES)]
        else:
            total[key] = _sum(before, value)
    return total


def _sum(one: Any, other: Any) -> Any:
    """The sum of numbers; else the later of two values, if there are two."""
    if isinstance(one, int) and isinstance(other, int):
        return one + other
    return one if other is None else other


def _first_few(names: Collection[str]) -> str:
    few = ", ".join(map(shortened, islice(names, FIRST_NAMES)))
    return few if len(names) <= FIRST_NAMES else f"{few}, ... ({len(names)} in all)"


def _and_above(name: str) -> Iterator[str]:
    """The name and those of the folders that it lies in."""
    while name:
        yield name
        name = name.rpartition(os.sep)[0]
