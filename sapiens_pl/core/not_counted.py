"""What a run was given and did not count: for `run.json` (`not_counted`), the closing table and the report.

Whatever else is filled in, the numbers of `RowsNotCounted` add up: `rows` is `used` and all that became of the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from sapiens_pl.core.wording import shortened

FIRST_NAMES = 3
_MOST_KINDS = 50
"""How many classes and suffixes are kept with their counts: the most frequent ones."""
_COUNTS_OF_ROWS = (
    *("rows", "used", "other_classes", "ignored", "below_score", "overlapping", "too_small", "not_largest"),
    *("unusable", "inverted", "repeated", "without_picture"),
)


class Some(NamedTuple):
    """How many there are, and the names of the first ones."""

    num: int = 0
    first: list[str] = []

    @classmethod
    def of(cls, names: Iterable[str], num: int) -> Some:
        return cls(num, list(islice(names, FIRST_NAMES)))

    def plus(self, other: Some) -> Some:
        return Some(self.num + other.num, [*self.first, *other.first][:FIRST_NAMES])

    def text(self) -> str:
        """The names, and how many there are where these are not all."""
        few = ", ".join(map(shortened, self.first))
        return few if self.num <= len(self.first) else f"{few}, ... ({self.num} in all)"


class FilesNotCounted(NamedTuple):
    """Files that look like pictures or videos and are none of the run's.

    Attributes:
        num: how many; `kinds` are their numbers by kind (a suffix, mostly), most first; `first` are some names.
        why: of the first one, to complete the sentence "NAME ...".
    """

    num: int = 0
    kinds: dict[str, int] = {}
    first: list[str] = []
    why: str = ""

    def plus(self, other: FilesNotCounted) -> FilesNotCounted:
        """Both together, of different tars."""
        kinds = most_frequent(Counter(self.kinds) + Counter(other.kinds))
        first = [*self.first, *other.first][:FIRST_NAMES]
        return FilesNotCounted(self.num + other.num, kinds, first, self.why or other.why)


class RowsNotCounted(NamedTuple):
    """What became of the rows of a box file, or of what a detector has found.

    Attributes:
        file: the box file; "" where boxes come from elsewhere.
        rows: all that there are; `used` became boxes.
        classes: the file's classes with their rows, most first; empty if it has none.
        other_classes: rows that are no people.
        ignored: crowds, people without a labelled keypoint, boxes that ground truth marks to be ignored.
        below_score, overlapping: left out by `boxes.score_threshold` and `boxes.nms_threshold`.
        too_small, not_largest: left out by a detector's `boxes.min_size` and `boxes.largest_n`.
        unusable: no boxes (no numbers, no area); each has its line in `failures.jsonl`. `inverted`: how many of them
            have their right or lower side before the left or upper one.
        repeated: the same box of the same picture under a second name.
        without_picture: rows of pictures that are none of the run's.
        unknown: the names of such pictures.
        unnamed: pictures of the run that the file does not name; nobody is looked for in them.
        unnamed_videos: the same of videos.
        remedy: the setting that would fix it, if the boxes look like another format's.
    """

    file: str = ""
    rows: int = 0
    used: int = 0
    classes: dict[str, int] = {}
    other_classes: int = 0
    ignored: int = 0
    below_score: int = 0
    overlapping: int = 0
    too_small: int = 0
    not_largest: int = 0
    unusable: int = 0
    inverted: int = 0
    repeated: int = 0
    without_picture: int = 0
    unknown: Some = Some()
    unnamed: Some = Some()
    unnamed_videos: Some = Some()
    remedy: str = ""

    @property
    def num_left_out(self) -> int:
        """Rows that are accounted for and did not become boxes."""
        chosen = self.other_classes + self.ignored + self.below_score + self.overlapping
        return chosen + self.too_small + self.not_largest + self.unusable + self.repeated + self.without_picture

    def plus(self, other: RowsNotCounted) -> RowsNotCounted:
        """Both together, of different pictures."""
        sums: dict[str, Any] = {name: getattr(self, name) + getattr(other, name) for name in _COUNTS_OF_ROWS}
        return RowsNotCounted(
            file=self.file or other.file,
            classes=most_frequent(Counter(self.classes) + Counter(other.classes)),
            unknown=self.unknown.plus(other.unknown),
            unnamed=self.unnamed.plus(other.unnamed),
            unnamed_videos=self.unnamed_videos.plus(other.unnamed_videos),
            remedy=self.remedy or other.remedy,
            **sums,
        )


class NotCounted(NamedTuple):
    """`not_counted` in `run.json`; what is None is not known, or there is nothing of the kind.

    `boxes` are of all pictures where `whole`, else of those of one process; `files` where `files_whole`.
    """

    files: FilesNotCounted | None = None
    boxes: RowsNotCounted | None = None
    whole: bool = True
    files_whole: bool = True


Part = TypeVar("Part", FilesNotCounted, RowsNotCounted)


def plus(one: Part | None, other: Part | None) -> Part | None:
    """Both together, if there are two."""
    if one is None or other is None:
        return one if other is None else other
    return one.plus(other)


def most_frequent(counts: Mapping[str, int]) -> dict[str, int]:
    """The most frequent ones, most first."""
    return dict(Counter(counts).most_common(_MOST_KINDS))


def sum_of(parts: Sequence[NotCounted], earlier: NotCounted | None = None) -> NotCounted | None:
    """The sum over all processes of a run; what all of them have seen counts once.

    Args:
        earlier: what was said before, which stays true of what none of them has looked at.
    """
    files = None if any(part.files for part in parts) or earlier is None else earlier.files
    boxes: RowsNotCounted | None = None
    for part in parts:
        files = files or part.files if part.files_whole else plus(files, part.files)
        if part.boxes is not None:
            boxes = part.boxes if boxes is None or part.whole else boxes.plus(part.boxes)
    whole = all(part.whole for part in parts if part.boxes is not None)
    if boxes is None and earlier is not None:
        boxes, whole = earlier.boxes, earlier.whole
    files_whole = all(part.files_whole for part in parts)
    return None if files is None and boxes is None else NotCounted(files, boxes, whole, files_whole)
