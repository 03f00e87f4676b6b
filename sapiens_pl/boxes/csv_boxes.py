"""Boxes from a table with named columns."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from sapiens_pl.boxes.classes import Wanted, people_in
from sapiens_pl.boxes.files import empty_error, existing_file
from sapiens_pl.boxes.image_finder import ImageNumbers, NoImage
from sapiens_pl.boxes.matching import BoxListing, assign_boxes
from sapiens_pl.boxes.moments import BY_NAME, Moments, place, with_pictures
from sapiens_pl.boxes.plain_csv import OddLines, PlainRows, num_lines
from sapiens_pl.boxes.rules import BoxRules
from sapiens_pl.boxes.table import BoxRow, number
from sapiens_pl.boxes.table_parts import TableBuilder, TablePart, part_of_rows
from sapiens_pl.boxes.video_frames import VideoFrames
from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.not_counted import RowsNotCounted
from sapiens_pl.core.plan import Pictures
from sapiens_pl.core.protocols import BoxedImages
from sapiens_pl.core.text_files import open_text

_CENTERED = (("cx", "cy", "w", "h"), ("cx", "cy", "width", "height"), ("x_center", "y_center", "width", "height"))
_CORNER_AND_SIZE = (("x", "y", "w", "h"), ("x", "y", "width", "height"), ("left", "top", "width", "height"))
BOX_COLUMNS = {
    "xyxy": (
        ("x1", "y1", "x2", "y2"),
        ("xmin", "ymin", "xmax", "ymax"),
        ("x_min", "y_min", "x_max", "y_max"),
        ("left", "top", "right", "bottom"),
    ),
    "xywh": _CORNER_AND_SIZE,
    "cxcywh": (*_CENTERED, *_CORNER_AND_SIZE[:2]),
    "cxcywhn": (*_CENTERED, *_CORNER_AND_SIZE[:2]),
}
"""Names of the four box columns by format."""
IMAGE_COLUMNS = ("image", "image_path", "path", "file_name", "filename", "file", "image_name", "image_id")
SCORE_COLUMNS = ("score", "bbox_score", "confidence", "conf")
TRACK_COLUMNS = ("track_id", "id", "person_id")
"""Of frames; there an `instance_id` mostly counts the people of that frame."""
VIDEO_COLUMNS = ("video", "video_name", "video_path", "video_id")
FRAME_COLUMNS = ("frame", "frame_id", "frame_index", "frame_idx", "frame_number")
TIME_COLUMNS = ("seconds", "time")
ID_COLUMNS = ("id", "instance_id", "track_id", "person_id")
CLASS_COLUMNS = (
    *("class_name", "category_name", "label_name", "class_label", "object_class", "object_category", "object_name"),
    *("object_type", "class", "category", "label", "name", "cls", "object", "type", "tag", "kind"),
    *("class_id", "label_id", "category_id", "class_idx", "class_index"),
)
"""However they are written: also `Class Name`, `className`, `class-name`."""

_COUNTS_FROM = 0


class CsvBoxes:
    """Boxes from a table with a header, a row a box (`boxes=csv`).

    The columns are found by name, whatever their order and case: the image, four of the box, and where there are
    such a score and an id. The separator is a comma, or a semicolon or a tab, and then decimals may have a comma. A
    row with an image and four empty fields for the box says that nobody is in that image. Where a column has
    classes (class, label, category, ...; names or numbers), only people count. Frames of videos have a column for the
    video (not needed if there is one only) and one for the frame, or seconds, instead of the image.

    Args:
        file: the table.
        category_id: the person's class, a number or a name, or several; None: told by the classes' names, or COCO's
            number 1 in a column category_id.
        format: as in `BoxRules`; None to find it by the names of the columns.
        rules: as in `BoxRules`.

    Raises:
        ConfigError: no such file, or columns are missing.
    """

    def __init__(
        self, file: str | None, *, category_id: Wanted = None, format: str | None = None, **rules: Any
    ) -> None:
        self.file, self.category_id = existing_file(file), category_id
        if format is not None:
            BoxRules(format)  # says so if there is none
        with open_text(self.file, newline="") as table:
            self.delimiter = max(",;\t", key=table.readline().count)
        with open_text(self.file, newline="") as table:
            header = next(self._filled(csv.reader(table, delimiter=self.delimiter)), None)
        if header is None:
            raise empty_error(self.file)
        self._header_line, names = header
        self.columns = _find_columns(self.file, names, format)
        self.rules = BoxRules(self.columns.format, **rules)

    def __call__(self, source: Pictures) -> BoxedImages:
        columns = self.columns.of_images() if source.frames is None else self.columns.of_videos()
        if columns.image is None and columns.moment is None:
            raise ConfigError(f"{self.file} names frames of videos, and data.images has no videos; give those videos.")
        builder, bad_rows = self._read(columns)
        table, classes = builder.build()
        moments = builder.moments
        not_counted = RowsNotCounted(rows=table.num_rows + len(bad_rows))
        is_one, people = people_in(self.file, table.num_rows, classes, self.category_id)
        if not is_one.all():
            table = table.select(np.flatnonzero(is_one))
            moments = None if moments is None else moments[is_one]
        not_counted = not_counted._replace(classes=people.classes, other_classes=people.num_others)
        listing = BoxListing(self.file, "line", table, None, bad_rows, not_counted=not_counted)
        if moments is not None:
            listing = self._with_frames(source, listing, moments, columns.in_seconds)
        return assign_boxes(source, _by_name(listing, source) if columns.by_id else listing, self.rules)

    def _with_frames(self, source: Pictures, listing: BoxListing, numbers: np.ndarray, in_seconds: bool) -> BoxListing:
        """The same, with rows about videos assigned to frames."""
        table = listing.table
        moments = Moments(table.names, table.whose, numbers, np.full(len(numbers), in_seconds))
        placed = place(VideoFrames(source), self.file, moments, self.rules.first_frame, _COUNTS_FROM)
        kept = np.ones(len(table.names), bool)
        kept[table.whose] = False
        kept[table.whose[placed.pictures == BY_NAME]] = True
        table = with_pictures(table, placed.pictures, source.names, kept)
        return listing._replace(table=table, lost=placed.lost, spoken_of=placed.spoken_of)

    def _read(self, columns: _Columns) -> tuple[TableBuilder, list[tuple[int, str]]]:
        """The rows: those that are plain many at a time, all others one by one; and bad rows."""
        bad_rows: list[tuple[int, str]] = []
        plain = PlainRows(
            *(self.delimiter, columns.image, columns.box, columns.score, columns.identity, columns.classes),
            *(columns.video, columns.moment, not columns.in_seconds),
        )
        builder = TableBuilder(num_lines(self.file))
        for part in plain.parts(self.file):
            if isinstance(part, OddLines):
                reader = csv.reader(part.lines, delimiter=self.delimiter)
                part = self._one_by_one(columns, reader, part.first, bad_rows)
            builder.add(part)
        return builder, bad_rows

    def _one_by_one(
        self, columns: _Columns, reader: Any, lines_before: int, bad_rows: list[tuple[int, str]]
    ) -> TablePart:
        rows, nobody, moments = [], [], []
        classes: dict[str, list[str]] = {name: [] for name in columns.classes}
        for line, fields in self._filled(reader, lines_before):
            if line == self._header_line:
                continue
            if len(fields) <= columns.last:
                bad_rows.append((line, f"it has {len(fields)} fields, fewer than the header"))
                continue
            try:
                image, moment = self._image_and_moment(columns, fields)
            except ValueError as error:
                bad_rows.append((line, str(error)))
                continue
            box = [self._number(fields[column]) for column in columns.box]
            if not any(box):
                if math.isnan(moment):
                    nobody.append(image)
                continue
            score, identity = (
                self._number(fields[column]) or None if column is not None else None
                for column in (columns.score, columns.identity)
            )
            rows.append(BoxRow(image, box, score, identity, line))
            moments.append(moment)
            for name, column in columns.classes.items():
                classes[name].append(fields[column].strip())
        return part_of_rows(rows, nobody, classes, None if columns.moment is None else moments)

    def _image_and_moment(self, columns: _Columns, fields: Sequence[str]) -> tuple[str, float]:
        """A row's image, or its video and the frame or time there; raises ValueError with the reason if it has none."""
        image, video = ("" if column is None else fields[column].strip() for column in (columns.image, columns.video))
        if columns.moment is None or (columns.image is not None and not video):
            if not image:
                raise ValueError("it names no image")
            return image, math.nan
        text = self._number(fields[columns.moment])
        moment = number(text or None)
        if moment is None or not math.isfinite(moment) or not (columns.in_seconds or moment.is_integer()):
            raise ValueError(
                f"{text[:30]!r} is not a {'time in seconds' if columns.in_seconds else 'number of a frame'}"
            )
        if not video and columns.video is not None:
            raise ValueError("it names no video")
        return video, moment

    def _number(self, text: str) -> str:
        """A number with a decimal point; in files separated by semicolons or tabs, a comma is one too."""
        text = text.strip()
        return text if self.delimiter == "," else text.replace(",", ".")

    def _filled(self, reader: Any, lines_before: int = 0) -> Iterator[tuple[int, list[str]]]:
        """The rows that are not empty, with their line numbers."""
        try:
            for fields in reader:
                if any(field.strip() for field in fields):
                    yield lines_before + reader.line_num, fields
        except csv.Error as error:
            line = lines_before + reader.line_num
            raise ConfigError(f"{self.file}, line {line}, is not CSV ({error}); correct it.") from None


def _by_name(listing: BoxListing, source: Pictures) -> BoxListing:
    """The same of a table that calls its images by numbers."""
    numbers = ImageNumbers(source)
    found = [numbers.find(number) for number in listing.table.names]
    lost = {number: name for number, name in zip(listing.table.names, found) if isinstance(name, NoImage)}
    names: dict[str, int] = {}
    places = [-1 if isinstance(name, NoImage) else names.setdefault(name, len(names)) for name in found]
    whose = np.array(places, np.int64)[listing.table.whose]
    table = listing.table._replace(names=Names.of(names), whose=whose)
    return listing._replace(table=table.select(np.flatnonzero(whose >= 0)), lost={**listing.lost, **lost})


class _Columns(NamedTuple):
    """The position of each value in a row; `last` is the last column that every row needs.

    `classes` are the columns that may be the class, by their names. Of frames `track` is the id's column, and `moment`
    that of their numbers, or of times.
    """

    format: str
    image: int | None
    box: tuple[int, ...]
    score: int | None
    identity: int | None
    by_id: bool
    classes: dict[str, int]
    track: int | None
    video: int | None
    moment: int | None
    in_seconds: bool

    @property
    def last(self) -> int:
        others = (self.image, self.score, self.identity, self.video, self.moment)
        return max(*self.box, *(column or 0 for column in others), *self.classes.values())

    def of_images(self) -> _Columns:
        """The columns as they are read where there are no videos."""
        return self._replace(video=None, moment=None)

    def of_videos(self) -> _Columns:
        """The same where there are videos: an image's name stands for itself if no video is named beside it."""
        if self.image is not None and (self.video is None or self.moment is None):
            return self._replace(video=None, moment=None, identity=self.identity if self.track is None else self.track)
        return self._replace(identity=self.track)


def _find_columns(path: str, header: Sequence[str], format: str | None) -> _Columns:
    where = {name.strip().lower(): column for column, name in reversed(list(enumerate(header)))}
    image = _first_of(where, IMAGE_COLUMNS)
    formats = ("xyxy", "xywh", "cxcywh") if format is None else (format,)
    found = next(
        ((kind, names) for kind in formats for names in BOX_COLUMNS[kind] if all(name in where for name in names)), None
    )
    video, frame, time = (_first_of(where, names) for names in (VIDEO_COLUMNS, FRAME_COLUMNS, TIME_COLUMNS))
    moment = time if frame is None else frame
    if (image is None and moment is None) or found is None:
        boxes = " or ".join(",".join(names) for kind in formats for names in BOX_COLUMNS[kind])
        raise ConfigError(
            f"{path} begins with {','.join(header)[:30]!r}, which names no columns for the image "
            f"({', '.join(IMAGE_COLUMNS)}; of videos: {VIDEO_COLUMNS[0]} and {FRAME_COLUMNS[0]} or {TIME_COLUMNS[0]}) "
            f"and its box ({boxes}); name them so in its first line."
        )
    kind, names = found
    score, identity = _first_of(where, SCORE_COLUMNS), _first_of(where, ID_COLUMNS)
    by_id = image is not None and image == where.get("image_id")
    track = _first_of(where, TRACK_COLUMNS)
    bare = {re.sub("[^a-z0-9]", "", name): column for name, column in where.items()}
    by_name = {name: bare.get(name.replace("_", "")) for name in CLASS_COLUMNS}
    taken = {image, *(where[name] for name in names), score, identity, track, video, moment}
    classes = {name: column for name, column in by_name.items() if column is not None and column not in taken}
    box = tuple(where[name] for name in names)
    _refuse_repeated(path, header, [*box, *(column for column in (image, score, identity) if column is not None)])
    return _Columns(kind, image, box, score, identity, by_id, classes, track, video, moment, frame is None)


def _refuse_repeated(path: str, header: Sequence[str], columns: Sequence[int]) -> None:
    """Raises ConfigError if a column has a name that another one has too."""
    names = [name.strip().lower() for name in header]
    repeated = next((names[column] for column in columns if names.count(names[column]) > 1), None)
    if repeated is not None:
        raise ConfigError(
            f"{path} has several columns {repeated}, so it is not clear which one counts; rename the others."
        )


def _first_of(where: dict[str, int], names: Sequence[str]) -> int | None:
    return next((where[name] for name in names if name in where), None)
