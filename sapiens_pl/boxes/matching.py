"""From rows of a box file to each image's usable boxes.

A box source is called with an `ImageSource` and returns `BoxedImages`; those that read files are in
`box_json`, `box_coco`, `box_csv`, `box_mot` and `box_yolo`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from itertools import islice
from typing import NamedTuple

import numpy as np

from sapiens_pl.boxes.image_finder import ImageFinder, NoImage
from sapiens_pl.boxes.rules import BoxRow, BoxRules, strict_error
from sapiens_pl.boxes.units import check_inverted, check_units, check_usable, note_high_scores
from sapiens_pl.core.errors import BoxError, ConfigError
from sapiens_pl.core.structures import Failure, ImageTask
from sapiens_pl.pictures.folder import ImageSource

log = logging.getLogger(__name__)

_LOOKED_UP_AT_MOST = 100
"""So many of the names that no image has are looked for on the disk."""


class BoxedImages(NamedTuple):
    """The images with their usable boxes, and the boxes and images that cannot be used."""

    tasks: list[ImageTask]
    failures: list[Failure]


class DealtImages(NamedTuple):
    """The same from a box source that has dealt the images itself: only those that are left for this process.

    Of those it does not name, `num_done_before` and `num_failed_before` are of earlier runs; `num_without_boxes` are
    this process's, but nobody knows their boxes yet.
    """

    tasks: list[ImageTask]
    failures: list[Failure]
    num_done_before: int
    num_failed_before: int
    num_without_boxes: int


class BoxListing(NamedTuple):
    """What a box file says.

    `images` has every image that it speaks of, with the number that it calls it by, if it does; `bad_rows` the
    rows of which not even the image can be told, with the reason. `unit` is what the rows' numbers count: line, entry.
    `lost` has the numbers and names that mean no image, which have no rows here. `lists_others`: its `images` may be
    those of a whole data set, so that what is not below `data.images` is not missed.
    """

    file: str
    unit: str
    rows: list[BoxRow]
    images: dict[str, int | None]
    bad_rows: list[tuple[int, str]]
    lost: Mapping[str, NoImage] = {}
    lists_others: bool = False


class WholeImage:
    """One box an image: all of it (`boxes=whole_image`)."""

    def __call__(self, source: ImageSource) -> BoxedImages:
        one, first = np.ones(1), np.zeros(1, np.int64)
        return BoxedImages([ImageTask(file.name, file.path, None, one, first) for file in source.files], [])


def assign_boxes(source: ImageSource, listing: BoxListing, rules: BoxRules) -> BoxedImages:
    """Brings rows and images together; every name without an image is accounted for.

    Raises:
        ConfigError: a row cannot be used, and the rules are strict; the file means none of the images, or its boxes
            are of another form than `boxes.format` says.
    """
    check_units(listing.file, listing.rows, rules)
    finder = ImageFinder(source)
    rows_of: dict[int, list[BoxRow]] = {}
    ids: dict[int, int | None] = {}
    lost = dict(listing.lost)
    for row in listing.rows:
        index = finder.find(row.image)
        if index is None:
            lost.setdefault(row.image, finder.why_not(row.image))
        else:
            rows_of.setdefault(index, []).append(row)
    for name, image_id in listing.images.items():
        index = finder.find(name)
        if index is not None:
            ids[index] = image_id
        elif not listing.lists_others:
            lost.setdefault(name, finder.why_not(name))
    if lost and not rows_of and not ids:
        _check_some_image_is_meant(listing.file, lost, source)
    tasks: list[ImageTask] = []
    failures = _without_image(listing, rules)
    unusable: list[Failure] = []
    num_rows = left_out = 0
    origin = f"{listing.file}, {listing.unit}"
    for index, file in enumerate(source.files):
        rows = _once(rows_of.get(index, []))
        task, complaints = rules.apply(file, rows, origin)
        tasks.append(task._replace(image_id=ids.get(index)))
        unusable += complaints
        num_rows += len(rows)
        left_out += len(rows) - task.num_boxes - len(complaints)
    check_inverted(listing.file, unusable, num_rows, rules)
    check_usable(listing.file, unusable, num_rows)
    note_high_scores(listing.file, tasks)
    if left_out:
        log.info("%s: %s.", listing.file, rules.left_out_sentence(left_out, num_rows))
    return BoxedImages(tasks, failures + unusable + _without_an_image(listing.file, lost, source))


def _once(rows: list[BoxRow]) -> list[BoxRow]:
    """A picture's rows, without those that a second name of it (a link, say) only repeats: nobody is there twice."""
    if len({row.image for row in rows}) < 2:
        return rows
    names: dict[str, str] = {}
    return [
        row for row in rows if names.setdefault(repr((row.bbox, row.score, row.instance_id)), row.image) == row.image
    ]


def _without_image(listing: BoxListing, rules: BoxRules) -> list[Failure]:
    """The rows of which not even the image can be told, by the file that they stand in and their number."""
    failures = []
    for number, reason in listing.bad_rows:
        message = f"{listing.file}, {listing.unit} {number}: {reason}; correct it."
        if rules.strict:
            raise strict_error(message)
        failures.append(Failure(listing.file, number, BoxError.__name__, message))
    return failures


def _without_an_image(path: str, lost: Mapping[str, NoImage], source: ImageSource) -> list[Failure]:
    """The names that mean no image; where `data.images` is a choice, only those that lie here."""
    told = {name: why for name, why in lost.items() if why.here or source.complete}
    if len(lost) > len(told):
        log.warning("%s also names %d images that data.images leaves out.", path, len(lost) - len(told))
    return [Failure(name, None, why.error, f"{path} names {name}, which {why.reason}.") for name, why in told.items()]


def _check_some_image_is_meant(path: str, lost: Mapping[str, NoImage], source: ImageSource) -> None:
    """Raises ConfigError where a box file is about other images, or calls them something else."""
    if any(why.here for why in lost.values()):
        return
    if not source.complete and any(_is_near(name, source) for name in islice(lost, _LOOKED_UP_AT_MOST)):
        return  # of images that data.images leaves out
    name, why = next(iter(lost.items()))
    raise ConfigError(
        f"{path} means none of the {len(source.files)} images of data.images: it names {name} "
        f"({len(lost)} such names), which {why.reason}; data.images has {source.files[0].name}."
    )


def _is_near(name: str, source: ImageSource) -> bool:
    """Whether there is such a file below the root or a folder above it; numbers may well be of others."""
    if not os.path.splitext(name)[1]:
        return True
    folder = source.root
    while not os.path.exists(os.path.join(folder, name)):
        if folder == os.path.dirname(folder):
            return False
        folder = os.path.dirname(folder)
    return True
