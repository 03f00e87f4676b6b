"""Which rows of a box file are people, where the file has other classes too."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sapiens_pl.boxes.image_finder import plain_id
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.not_counted import most_frequent

log = logging.getLogger(__name__)

COCO_PERSON = 1
_PERSON_WORDS = {
    *("person", "persons", "people", "pedestrian", "pedestrians", "human", "humans", "human body", "full body"),
    *("man", "men", "woman", "women", "boy", "boys", "girl", "girls", "child", "children", "adult", "adults"),
    *("person sitting", "sitting person", "standing person"),
}
OFTEN_OTHERS = ("name", "names", "type", "types", "object", "objects", "tag", "tags", "kind", "kinds")
"""Column names that may mean the class, or something else."""
_SHOWN = 30
"""How many characters of a file's text are quoted in a sentence."""
_NAMED_AT_MOST = 10
ClassId = int | str
Wanted = ClassId | Sequence[ClassId] | None
"""The person's class, a number or a name, or several; None: found by the classes' names."""


class People(NamedTuple):
    """Which classes of a file are people; `classes` are the rows of each class by its name, `num_others` those of the
    others.
    """

    kinds: set[ClassId | None]
    classes: dict[str, int]
    num_others: int


class ClassRule:
    """Which classes of one file are people.

    Args:
        path: the file, for sentences.
        wanted: the person's class as `boxes.category_id` has it, or several.
        names: the classes' names by number, where the file has them.
        usual: the person's number where nothing is named, of a numbering that is generally followed; None if there is
        none.
        first: the smallest number of that numbering; a smaller one shows that the file has another.
    """

    def __init__(
        self,
        path: str,
        wanted: Wanted = None,
        names: Mapping[ClassId, str] | None = None,
        usual: int | None = None,
        first: int = 0,
    ) -> None:
        self.path, self.names, self.usual, self.first = path, names or {}, usual, first
        self.wanted = wanted_classes(wanted)

    def people(self, kinds: Iterable[ClassId | None] | Counter[ClassId | None]) -> People:
        """The people among these classes, one a row or counted; a row without a class (None) is one.

        Raises:
            ConfigError: none of them is, or it is not clear which.
        """
        counts = Counter(kinds)
        given = {kind for kind in counts if kind is not None}
        people = self._among(given)
        if given and not people and None not in counts:
            raise ConfigError(
                f"{self.path} has rows of the classes {self._listed(counts)}, and none of them is {self._sought()} "
                "(its number or its name)."
            )
        left = {kind: count for kind, count in counts.items() if kind is not None and kind not in people}
        others: Counter[ClassId | None] = Counter(left)
        if others:
            log.info("%s: left out %d rows of other classes (%s).", self.path, others.total(), self._listed(others))
        by_name = Counter[str]()
        for kind, count in counts.items():
            if kind is not None:
                by_name[str(self.names.get(kind, kind))[:_SHOWN]] += count
        return People(people | {None}, most_frequent(by_name), others.total())

    def _sought(self) -> str:
        if self.wanted is None:
            return "known for people; say which one is with boxes.category_id="
        wanted = list(self.wanted) if len(self.wanted) > 1 else self.wanted[0]
        return f"boxes.category_id={wanted}; say which one is a person"

    def _among(self, given: set[ClassId]) -> set[ClassId]:
        if self.wanted is not None:
            names = set(map(_plain, self.wanted))
            return {kind for kind in given if kind in self.wanted or self._name(kind) in names}
        if self.names or any(isinstance(kind, str) for kind in given):
            return {kind for kind in given if is_person_name(self._name(kind))}
        if self.usual is not None:
            known = all(int(kind) >= self.first for kind in given)
            return {kind for kind in given if kind == self.usual and known}
        return given if len(given) == 1 and given <= {0, 1} else set()  # of a detector of people alone

    def _name(self, kind: ClassId) -> str:
        return _plain(self.names.get(kind, kind))

    def _listed(self, counts: Counter[ClassId | None]) -> str:
        given = [(kind, count) for kind, count in counts.most_common(_NAMED_AT_MOST + 1) if kind is not None]
        names = {kind: f" {str(self.names[kind])[:_SHOWN]!r}" for kind, _ in given if kind in self.names}
        texts = [f"{str(kind)[:_SHOWN]}{names.get(kind, '')} ({count})" for kind, count in given]
        return ", ".join(texts[:_NAMED_AT_MOST]) + (", ..." if len(texts) > _NAMED_AT_MOST else "")


def wanted_classes(wanted: Wanted) -> tuple[ClassId, ...] | None:
    """The person's classes as a setting has them, by their values.

    Raises:
        ConfigError: the list has none.
    """
    if wanted is None:
        return None
    listed: list[Any] = [wanted] if isinstance(wanted, int | float | str) else list(wanted)
    if not listed:
        raise ConfigError("boxes.category_id=[] names no class; give the person's, or null.")
    return tuple(map(plain_id, listed))


def is_person_name(name: Any) -> bool:
    """Whether a class of this name has people."""
    return _plain(name) in _PERSON_WORDS


def _plain(name: Any) -> str:
    return " ".join(str(name).casefold().replace("_", " ").replace("-", " ").split())


def class_id(value: Any) -> ClassId | None:
    """A row's class by its value, however it is written; None where it has none."""
    if type(value) is int:
        return value
    if isinstance(value, Mapping):  # an object that describes the class
        value = value.get("name", value.get("id"))
    return None if value is None or value == "" else plain_id(value)


class ClassColumn(NamedTuple):
    """A column that may be the class: `codes` (N,) int64 into `kinds`, what its values mean; None is not a class."""

    codes: np.ndarray
    kinds: list[ClassId | None]

    @classmethod
    def of(cls, values: Iterable[Any]) -> ClassColumn:
        places: dict[ClassId | None, int] = {}
        codes = [places.setdefault(class_id(value), len(places)) for value in values]
        return cls(np.array(codes, np.int64), list(places))

    @property
    def counts(self) -> Counter[ClassId | None]:
        """How many rows each class has."""
        counts: Counter[ClassId | None] = Counter()
        for kind, count in zip(self.kinds, np.bincount(self.codes, minlength=len(self.kinds)).tolist()):
            counts[kind] += count
        return +counts


def people_in(
    path: str, num_rows: int, columns: Mapping[str, ClassColumn], wanted: Wanted
) -> tuple[np.ndarray, People]:
    """(N,) bool: the people of a table whose columns may have any names; and the classes that it has.

    Args:
        columns: the columns that may be the class, by their names.
        wanted: as in `ClassRule`.
    """
    by_name = {name: column for name, column in columns.items() if any(kind is not None for kind in column.counts)}
    given = {name: set(column.counts) for name, column in by_name.items()}
    for name in [name for name in by_name if not _has_classes(name, given)]:
        log.warning("%s: the column %s was not looked at, as no class in it is a person.", path, name)
        del by_name[name], given[name]
    if not by_name:
        return np.ones(num_rows, bool), People({None}, {}, 0)
    in_words = {name for name, kinds in given.items() if any(isinstance(kind, str) for kind in kinds)}
    in_numbers = set(by_name) - in_words
    are_numbers = all(isinstance(kind, int) for kind in wanted_classes(wanted) or [""])
    preferred = in_numbers if are_numbers and in_numbers else in_words or in_numbers
    chosen = next(name for name in by_name if name in preferred)
    coco = chosen in ("category_id", "category_ids")
    rule = ClassRule(f"{path} ({chosen})", wanted, usual=COCO_PERSON if coco else None, first=int(coco))
    column = by_name[chosen]
    people = rule.people(column.counts)
    return np.array([kind in people.kinds for kind in column.kinds], bool)[column.codes], people


def _has_classes(name: str, by_name: Mapping[str, set[ClassId | None]]) -> bool:
    """Whether a column is the class's; one that often is something else must have people, or `name` a number beside."""
    if name in ("name", "names") and len(by_name) > 1:
        return True
    return name not in OFTEN_OTHERS or any(map(is_person_name, by_name[name]))
