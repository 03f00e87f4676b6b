"""From rows of a box file to each image's usable boxes.

A box source is called with an `ImageSource` and returns `BoxedImages`; those that read files are in
`box_json`, `box_coco`, `box_csv`, `box_mot` and `box_yolo`.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

import numpy as np

from sapiens_pl.data.box_rules import BoxRow, BoxRules, strict_error
from sapiens_pl.data.image_finder import ImageFinder
from sapiens_pl.data.sources import ImageSource
from sapiens_pl.errors import BoxError, MissingImageError, UnreadableImageError
from sapiens_pl.structures import Failure, ImageTask

log = logging.getLogger(__name__)


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
    """

    file: str
    unit: str
    rows: list[BoxRow]
    images: dict[str, int | None]
    bad_rows: list[tuple[int, str]]


class WholeImage:
    """One box an image: all of it (`boxes=whole_image`)."""

    def __call__(self, source: ImageSource) -> BoxedImages:
        one, first = np.ones(1), np.zeros(1, np.int64)
        return BoxedImages([ImageTask(file.name, file.path, None, one, first) for file in source.files], [])


def assign_boxes(source: ImageSource, listing: BoxListing, rules: BoxRules) -> BoxedImages:
    """Brings rows and images together; every name without an image is accounted for.

    Raises:
        ConfigError: a row cannot be used, and the rules are strict.
    """
    finder = ImageFinder(source)
    rows_of: dict[int, list[BoxRow]] = {}
    ids: dict[int, int | None] = {}
    lost: dict[str, None] = {}
    for row in listing.rows:
        index = finder.find(row.image)
        if index is None:
            lost[row.image] = None
        else:
            rows_of.setdefault(index, []).append(row)
    for name, image_id in listing.images.items():
        index = finder.find(name)
        if index is None:
            lost[name] = None
        else:
            ids[index] = image_id
    tasks: list[ImageTask] = []
    failures = _without_image(listing, rules)
    left_out = 0
    origin = f"{listing.file}, {listing.unit}"
    for index, file in enumerate(source.files):
        task, complaints = rules.apply(file, rows_of.get(index, []), origin)
        tasks.append(task._replace(image_id=ids.get(index)))
        failures += complaints
        left_out += len(rows_of.get(index, [])) - task.num_boxes - len(complaints)
    if left_out:
        log.info("%s: %s.", listing.file, rules.left_out_sentence(left_out, sum(map(len, rows_of.values()))))
    told = [name for name in lost if source.complete or source.why_left_out(name)]
    failures += [_missing(name, source, listing.file) for name in told]
    if len(told) < len(lost):
        log.warning("%s also names %d images that data.images leaves out.", listing.file, len(lost) - len(told))
    return BoxedImages(tasks, failures)


def _without_image(listing: BoxListing, rules: BoxRules) -> list[Failure]:
    """The rows of which not even the image can be told, by the file that they stand in and their number."""
    failures = []
    for number, reason in listing.bad_rows:
        message = f"{listing.file}, {listing.unit} {number}: {reason}; correct it."
        if rules.strict:
            raise strict_error(message)
        failures.append(Failure(listing.file, number, BoxError.__name__, message))
    return failures


def _missing(name: str, source: ImageSource, box_file: str) -> Failure:
    reason = source.why_left_out(name)
    if reason is not None:
        return Failure(name, None, UnreadableImageError.__name__, f"{box_file} names {name}, which {reason}.")
    message = f"{box_file} names {name}, which is not below {source.root}; add it or correct the box file."
    return Failure(name, None, MissingImageError.__name__, message)
