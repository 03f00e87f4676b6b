"""From rows of a box file to each image's usable boxes.

`core.protocols` defines what a box source is; those that read files are in the other modules of this room.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from sapiens_pl.boxes.image_finder import ImageFinder, NoImage, either
from sapiens_pl.boxes.other_format import check_format
from sapiens_pl.boxes.rules import BoxRules, Ruled, strict_error
from sapiens_pl.boxes.table import BoxRow, BoxTable, table_of
from sapiens_pl.boxes.units import check_inverted, check_units, check_usable, note_high_scores, note_ids
from sapiens_pl.boxes.video_frames import NOT_CHOSEN, VideoFrames
from sapiens_pl.core.columns import NO_IMAGE_ID, Names, whole_pictures
from sapiens_pl.core.errors import BoxError, ConfigError
from sapiens_pl.core.not_counted import FIRST_NAMES, RowsNotCounted, Some
from sapiens_pl.core.plan import Pictures, Tasks
from sapiens_pl.core.protocols import BoxedImages
from sapiens_pl.core.structures import Failure

log = logging.getLogger(__name__)

_LOOKED_UP_AT_MOST = 100
"""How many of the names that no image has are looked for on the disk."""


class DealtImages(NamedTuple):
    """The same from a box source that has dealt the images itself: only those that are left for this process.

    Of those it does not name, `num_done_before` and `num_failed_before` are of earlier runs; `num_without_boxes` are
    this process's, but their boxes are not known yet.
    """

    tasks: Tasks
    failures: list[Failure]
    num_done_before: int
    num_failed_before: int
    num_without_boxes: int
    not_counted: RowsNotCounted | None = None


class BoxListing(NamedTuple):
    """What a box file says.

    `table` has its rows, and every name that it has for a picture; `image_ids` (U,) int64 are the numbers that it calls
    these by, or `NO_IMAGE_ID`; None: it has no numbers. `bad_rows` are the rows of which not even the picture can be
    told, with the reason. `unit` is what the rows' numbers count: line, entry. `lost` has the numbers and names that
    mean no picture, which have no rows here. `lists_others`: names without a row may be those of a whole data set, so
    that what is not below `data.images` is not missed. `spoken_of` (V,) bool: the videos that it is about, besides
    those of its rows. `origin` says where a picture's rows are from, if not all are from `file`. `not_counted` says how
    many rows the file has, and what of them is not in the table; `rows` of 0: those of the table and `bad_rows`.
    """

    file: str
    unit: str
    table: BoxTable
    image_ids: np.ndarray | None
    bad_rows: list[tuple[int, str]]
    lost: Mapping[str, NoImage] = {}
    lists_others: bool = False
    spoken_of: np.ndarray | None = None
    origin: Callable[[int], str] | None = None
    not_counted: RowsNotCounted = RowsNotCounted()


def listing_of(
    file: str,
    unit: str,
    rows: Sequence[BoxRow],
    images: Mapping[str, int | None],
    bad_rows: list[tuple[int, str]],
    lost: Mapping[str, NoImage] = {},
    lists_others: bool = False,
) -> BoxListing:
    """The same from single rows; `images` are all that the file speaks of, and their numbers."""
    table = table_of(rows, images)
    ids = [images.get(name) for name in table.names]
    image_ids = np.array([NO_IMAGE_ID if number is None else number for number in ids], np.int64)
    return BoxListing(file, unit, table, image_ids, bad_rows, lost, lists_others)


class WholeImage:
    """One box an image: all of it (`boxes=whole_image`)."""

    of_each_picture = True

    def __call__(self, source: Pictures) -> BoxedImages:
        return BoxedImages(Tasks(source, whole_pictures(len(source.names))), [])


def assign_boxes(source: Pictures, listing: BoxListing, rules: BoxRules) -> BoxedImages:
    """Assigns rows to images; every name without an image is accounted for.

    Raises:
        ConfigError: a row cannot be used, and the rules are strict; the file means none of the images, or its boxes
            are of another form than `boxes.format` says.
    """
    table = listing.table
    check_units(listing.file, table, rules)
    finder = ImageFinder(source)
    meant = finder.find_all(table.names)
    frames = None if source.frames is None else VideoFrames(source)
    of_videos = {} if frames is None else _fill_in_frames(listing, meant, frames, finder)
    lost = _lost(listing, meant, finder, of_videos)
    if lost and not (meant >= 0).any():
        _check_some_image_is_meant(listing.file, lost, source)
    failures = _without_image(listing, rules)
    whose, table, num_repeated = _by_image(table, meant, len(source.names))
    origin = listing.origin or (lambda index: f"{listing.file}, {listing.unit}")
    remedy = check_format(listing.file, source, whose, table.boxes, rules)
    ruled = rules.apply(source, whose, table, origin)
    check_inverted(listing.file, ruled.failures, table.num_rows, rules)
    check_usable(listing.file, ruled.failures, table.num_rows)
    note_high_scores(listing.file, ruled.boxes.bbox_scores)
    note_ids(listing.file, table.unread_ids, ruled.boxes, source.names)
    if ruled.num_left_out:
        log.info("%s: %s.", listing.file, rules.left_out_sentence(ruled.num_left_out, table.num_rows))
    if listing.image_ids is not None:
        ruled.boxes.image_ids[meant[meant >= 0]] = listing.image_ids[meant >= 0]
    unusable = failures + ruled.failures + _without_an_image(listing.file, lost, source)
    unnamed_videos = Some() if frames is None else _some(frames.videos, _silent(listing, meant, frames))
    not_counted = _not_counted(listing, ruled, num_repeated, lost)._replace(
        unnamed=_some(source.names, _unnamed(source, meant)), unnamed_videos=unnamed_videos, remedy=remedy
    )
    return BoxedImages(Tasks(source, ruled.boxes), unusable, not_counted)


def _not_counted(listing: BoxListing, ruled: Ruled, num_repeated: int, lost: Mapping[str, NoImage]) -> RowsNotCounted:
    """What became of each row; those of which nothing else is known have no picture here."""
    known, bad = listing.not_counted, len(listing.bad_rows)
    counts = known._replace(
        file=listing.file,
        rows=known.rows or listing.table.num_rows + bad,
        used=len(ruled.boxes.bboxes_xyxy),
        below_score=ruled.num_below,
        overlapping=ruled.num_overlapping,
        unusable=len(ruled.failures) + bad,
        inverted=ruled.num_inverted,
        repeated=num_repeated,
        unknown=Some.of(lost, len(lost)),
    )
    return counts._replace(without_picture=counts.rows - counts.used - counts.num_left_out)


def _unnamed(source: Pictures, meant: np.ndarray) -> np.ndarray:
    """(n,) int64: photographs that the file does not name."""
    is_unnamed = np.ones(len(source.names), bool) if source.frames is None else source.frames.video < 0
    is_unnamed[meant[meant >= 0]] = False
    return np.flatnonzero(is_unnamed)


def _some(names: Names, places: np.ndarray) -> Some:
    return Some(len(places), list(names.select(places[:FIRST_NAMES])))


def _fill_in_frames(
    listing: BoxListing, meant: np.ndarray, frames: VideoFrames, finder: ImageFinder
) -> dict[int, NoImage]:
    """Fills in what is not called as it stands; gives names of videos that mean no frame, by their places.

    Says how many frames the run leaves out, and which videos the file says nothing of.
    """
    of_videos: dict[int, NoImage] = {}
    missing = np.flatnonzero(meant < 0)
    names = list(listing.table.names.select(missing))
    for place, name, found in zip(missing.tolist(), names, frames.of_names(names)):
        picture = finder.find(name) if found is None else found
        if isinstance(picture, NoImage):
            of_videos[place] = picture
        elif picture is not None:
            meant[place] = picture
    num_not_chosen = int((meant == NOT_CHOSEN).sum())
    if num_not_chosen:
        log.info("%s also names %d frames that data.video leaves out.", listing.file, num_not_chosen)
    silent = _silent(listing, meant, frames)
    if len(silent):
        videos = [frames.videos[video] for video in silent[:3].tolist()]
        log.warning(
            "%s says nothing about %d of the %d videos, so they get no people: %s.",
            listing.file, len(silent), frames.num_videos, either(videos),
        )  # fmt: skip
    return of_videos


def _silent(listing: BoxListing, meant: np.ndarray, frames: VideoFrames) -> np.ndarray:
    """(n,) int64: videos that the file says nothing of."""
    silent = ~frames.any_of(meant[meant >= 0]) & (frames.num_frames > 0)
    silent &= True if listing.spoken_of is None else ~listing.spoken_of
    return np.flatnonzero(silent)


def _lost(
    listing: BoxListing, meant: np.ndarray, finder: ImageFinder, of_videos: Mapping[int, NoImage]
) -> dict[str, NoImage]:
    """The names that mean no image, those that have rows first."""
    has_row = np.zeros(len(meant), bool)
    has_row[listing.table.whose] = True
    missing = (meant < 0) & (meant != NOT_CHOSEN)
    with_row, without = np.flatnonzero(missing & has_row), np.flatnonzero(missing & ~has_row)
    lost = dict(listing.lost)
    for place in (*with_row.tolist(), *(() if listing.lists_others else without.tolist())):
        name = listing.table.names[place]
        lost.setdefault(name, of_videos[place] if place in of_videos else finder.why_not(name))
    return lost


def _by_image(table: BoxTable, meant: np.ndarray, num_images: int) -> tuple[np.ndarray, BoxTable, int]:
    """The rows that mean an image, ordered by image, and the (N,) images; and how many only repeat another row.

    Args:
        meant: (U,) which image each name means, -1 for none.
    """
    whose = meant[table.whose]
    if not ((whose[1:] >= whose[:-1]).all() and (whose >= 0).all()):
        order = np.flatnonzero(whose >= 0)
        order = order[np.argsort(whose[order], kind="stable")]
        whose, table = whose[order], table.select(order)
    repeated = _repeated(whose, table, np.bincount(meant[meant >= 0], minlength=num_images) > 1)
    if repeated:
        kept = np.delete(np.arange(len(whose)), repeated)
        whose, table = whose[kept], table.select(kept)
    return whose, table, len(repeated)


def _repeated(whose: np.ndarray, table: BoxTable, has_names: np.ndarray) -> list[int]:
    """Rows that only repeat others under a second name of the picture (a link, say).

    Args:
        has_names: (images,) bool, those that the file has several names for.
    """
    repeated = []
    names: dict[tuple[int, str], int] = {}
    for place in np.flatnonzero(has_names[whose]).tolist():
        row = table.row(place)
        key = int(whose[place]), repr((row.bbox, row.score, row.instance_id))
        if names.setdefault(key, int(table.whose[place])) != table.whose[place]:
            repeated.append(place)
    return repeated


def _without_image(listing: BoxListing, rules: BoxRules) -> list[Failure]:
    """The rows of which not even the image can be told, by the file that they stand in and their number."""
    failures = []
    for number, reason in listing.bad_rows:
        message = f"{listing.file}, {listing.unit} {number}: {reason}; correct it."
        if rules.strict:
            raise strict_error(message)
        failures.append(Failure(listing.file, number, BoxError.__name__, message))
    return failures


def _without_an_image(path: str, lost: Mapping[str, NoImage], source: Pictures) -> list[Failure]:
    """The names that mean no image; where `data.images` is a choice, only those that lie here."""
    told = {name: why for name, why in lost.items() if why.here or source.complete}
    if len(lost) > len(told):
        log.warning("%s also names %d images that data.images leaves out.", path, len(lost) - len(told))
    return [Failure(name, None, why.error, f"{path} names {name}, which {why.reason}.") for name, why in told.items()]


def _check_some_image_is_meant(path: str, lost: Mapping[str, NoImage], source: Pictures) -> None:
    """Raises ConfigError where a box file is about other images, or calls them something else."""
    if any(why.here for why in lost.values()):
        return
    if not source.complete and any(_is_near(name, source) for name in islice(lost, _LOOKED_UP_AT_MOST)):
        return  # of images that data.images leaves out
    name, why = next(iter(lost.items()))
    raise ConfigError(
        f"{path} means none of the {len(source.names)} images of data.images: it names {name} "
        f"({len(lost)} such names), which {why.reason}; data.images has {source.names[0]}."
    )


def _is_near(name: str, source: Pictures) -> bool:
    """Whether there is such a file below the root or a folder above it; a number may belong to another data set."""
    if not os.path.splitext(name)[1]:
        return True
    folder = source.root
    while not os.path.exists(os.path.join(folder, name)):
        if folder == os.path.dirname(folder):
            return False
        folder = os.path.dirname(folder)
    return True
