"""Boxes that stand beside the pictures themselves: in the `.json` of a tar's sample, in other columns of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np

from sapiens_pl.boxes.matching import BoxListing, assign_boxes
from sapiens_pl.boxes.rules import BoxRules, strict_error
from sapiens_pl.boxes.table import BoxRow
from sapiens_pl.boxes.table_parts import TableBuilder, TablePart, part_of_rows
from sapiens_pl.core.carried import drilled
from sapiens_pl.core.errors import BoxError, ConfigError
from sapiens_pl.core.not_counted import Some
from sapiens_pl.core.plan import Pictures, Samples, Tasks
from sapiens_pl.core.protocols import BoxedImages
from sapiens_pl.core.structures import Failure
from sapiens_pl.core.wording import shown

_SAMPLES_AT_A_TIME = 4096
_Told = tuple[int, list[BoxRow] | str]


class SampleBoxes:
    """Boxes from each picture's own sample (`boxes=sample`).

    A picture without a sample, or whose sample has no boxes, has no people. A picture whose sample
    cannot be read has failed: who is in it is not known.

    Args:
        bboxes, scores, ids: fields with a list each, of equal lengths; `objects.bbox` is the field `bbox` in the field
            `objects`. Only the first has to be there.
        rules: as in `BoxRules`.

    Raises:
        ConfigError: the pictures are files without samples, or no sample has such a field; of pictures that are asked
            for some at a time, none of the first ones.
    """

    of_each_picture = True

    def __init__(
        self,
        bboxes: str = "bboxes",
        scores: str | None = "scores",
        ids: str | None = "ids",
        *,
        format: str = "xyxy",
        **rules: Any,
    ) -> None:
        self.is_tried = False
        """Whether these fields have given boxes before: then pictures without them have no people."""
        if not isinstance(bboxes, str) or not bboxes:
            raise ConfigError(f"boxes.bboxes={bboxes} names no field; give that with the boxes.")
        self.bboxes, self.scores, self.ids = bboxes, scores, ids
        self.rules = BoxRules(format, **rules)

    def __call__(self, source: Pictures) -> BoxedImages:
        if source.samples is None:
            raise ConfigError(
                f"boxes=sample is for pictures from tars and tables; those of {source.root} have nothing beside them. "
                "Give boxes=json boxes.file=FILE, or boxes=detector."
            )
        builder, failures, unknown = TableBuilder(len(source.names)), list[Failure](), list[int]()
        count = 0
        for part, broken in _parts(source, self._told(source.samples)):
            builder.add(part)
            count += len(part.images)
            for index, reason in broken:
                failures.append(self._failure(source, index, reason))
                unknown.append(index)
        if not count and not self.is_tried:
            self._refuse(source, failures)
        self.is_tried = True
        listing = BoxListing(source.root, "sample", builder.build()[0], None, [])
        boxed = assign_boxes(source, listing, self.rules)
        known = np.delete(np.arange(len(source.names)), unknown)
        tasks = Tasks(source, boxed.tasks.boxes, known)
        not_counted = boxed.not_counted and boxed.not_counted._replace(file="", unnamed=Some())
        return BoxedImages(tasks, [*boxed.failures, *failures], not_counted)

    def _told(self, samples: Samples) -> Iterator[_Told]:
        """Pictures with the rows that their samples give, or why these give none."""
        fields = [field for field in (self.bboxes, self.scores, self.ids) if field]
        for index, values in samples.values({field.split(".")[0] for field in fields}):
            if isinstance(values, str):
                yield index, values
            elif drilled(values, self.bboxes) is not None:
                yield index, self._rows(index, values)

    def _rows(self, index: int, values: Mapping[str, Any]) -> list[BoxRow] | str:
        boxes = drilled(values, self.bboxes)
        if not isinstance(boxes, list):
            return f"has no list under {self.bboxes} but {shown(boxes)}"
        if len(boxes) == 4 and all(isinstance(value, int | float) for value in boxes):
            boxes = [boxes]
        others = []
        for field in (self.scores, self.ids):
            column = drilled(values, field) if field else None
            column = [column] if isinstance(column, int | float) else column
            if isinstance(column, list) and len(column) != len(boxes):
                return f"has {len(boxes)} {self.bboxes} and {len(column)} {field}"
            others.append(column if isinstance(column, list) else [None] * len(boxes))
        return [BoxRow("", box, score, identity, index) for box, score, identity in zip(boxes, *others)]

    def _failure(self, source: Pictures, index: int, reason: str) -> Failure:
        message = f"What stands beside {source.path(index)} {reason}, so it is not known who is in it; correct it."
        if self.rules.strict:
            raise strict_error(message)
        return Failure(source.names[index], None, BoxError.__name__, message)

    def _refuse(self, source: Pictures, failures: list[Failure]) -> None:
        assert source.samples is not None
        seen = _fields_of(source.samples, self.bboxes)
        said = f"their fields are {', '.join(seen)}"
        if not seen:
            said = "nothing stands beside the pictures that could have them"
        if failures:
            said = f"{len(failures)} samples cannot be read; {failures[0].message.rstrip('.')}"
        raise ConfigError(
            f"No sample of {source.root} has boxes under {self.bboxes}: {said}; name the field that has them "
            "(boxes.bboxes=FIELD), or set boxes=detector or boxes=whole_image."
        )


def _fields_of(samples: Samples, bboxes: str) -> list[str]:
    """What stands beside the first pictures; of a table, its columns."""
    columns: Callable[[], list[str]] | None = getattr(samples, "columns", None)
    if columns is not None:
        return columns()
    seen: set[str] = set()
    for _, values in islice(samples.values([bboxes]), _SAMPLES_AT_A_TIME):
        seen |= values.keys() if isinstance(values, Mapping) else set()
    return sorted(seen)


def _parts(source: Pictures, told: Iterator[_Told]) -> Iterator[tuple[TablePart, list[tuple[int, str]]]]:
    """Some samples at a time: their rows, and those that give none."""
    while True:
        some = list(islice(told, _SAMPLES_AT_A_TIME))
        good = [(source.names[index], rows) for index, rows in some if not isinstance(rows, str)]
        rows = [row._replace(image=name) for name, of_one in good for row in of_one]
        nobody = [name for name, of_one in good if not of_one]
        yield part_of_rows(rows, nobody, {}), [(index, why) for index, why in some if isinstance(why, str)]
        if len(some) < _SAMPLES_AT_A_TIME:
            return
