"""Boxes by path from plain JSON and JSON Lines."""

from __future__ import annotations

from typing import Any

import numpy as np

from sapiens_pl.boxes.classes import ClassColumn, Wanted, people_in
from sapiens_pl.boxes.files import existing_file
from sapiens_pl.boxes.json_entries import CLASS_KEYS, Where, is_one_box, json_entries, row_of, where_and_boxes
from sapiens_pl.boxes.matching import BoxListing, assign_boxes
from sapiens_pl.boxes.moments import BY_NAME, Moments, place, with_pictures
from sapiens_pl.boxes.rules import BoxRules
from sapiens_pl.boxes.table import BoxRow, table_of
from sapiens_pl.boxes.video_frames import VideoFrames
from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.not_counted import RowsNotCounted
from sapiens_pl.core.plan import Pictures
from sapiens_pl.core.protocols import BoxedImages

_COUNTS_FROM = 0


class JsonBoxes:
    """Boxes by path from JSON or JSON Lines (`boxes=json`).

    JSON: `{"a/b.jpg": [[x1, y1, x2, y2], ...], ...}`, or a list of the objects below. JSON Lines:
    one object a line. An object is `{"image": "a/b.jpg", "bboxes": [...]}` with optional lists
    `scores` and `ids`, or the path as its only key. A box may have its score as a fifth number, or
    be an object `{"bbox": [...], "score": 0.9, "id": 7}`. Where boxes have a class (`"class": "dog"`,
    `"category_id": 18`, a list `labels`), only people count. Of a video an object has `video` (not needed if there is
    one only) and `frame`, or `seconds`, instead of `image`; mmpose's list of frames is read too.

    Args:
        file: the box file.
        category_id: the person's class, a number or a name, or several; None: told by the classes' names, or COCO's
            number 1 for a `category_id`.
        rules: as in `BoxRules`.
    """

    def __init__(self, file: str | None, *, category_id: Wanted = None, format: str = "xyxy", **rules: Any) -> None:
        self.file, self.category_id = existing_file(file), category_id
        self.rules = BoxRules(format, **rules)

    def __call__(self, source: Pictures) -> BoxedImages:
        unit, entries = json_entries(self.file)
        rows: list[BoxRow] = []
        places: list[Where] = []
        of_rows: list[int] = []
        bad_rows: list[tuple[int, str]] = []
        classes: dict[str, dict[int, Any]] = {}
        for number, entry in entries:
            try:
                where, boxes = where_and_boxes(entry)
                if source.frames is None and not where.name:
                    raise ValueError("it names no image, and data.images has no videos")
            except ValueError as error:
                bad_rows.append((number, str(error)))
                continue
            for box in boxes if isinstance(boxes, list) and not is_one_box(boxes) else [boxes]:
                if isinstance(box, dict) and box.get("bridged"):  # our own mark of people between detections
                    continue
                _note_classes(box, len(rows), classes)
                rows.append(row_of(where, box, number))
                of_rows.append(len(places))
            places.append(where)
        if bad_rows and not places:
            number, reason = bad_rows[0]
            raise ConfigError(f"{self.file} has no boxes that can be read; {unit} {number}: {reason}; correct it.")
        whose = np.array(of_rows, np.int64)
        not_counted = RowsNotCounted(rows=len(rows) + len(bad_rows))
        if classes:
            columns = {key: ClassColumn.of(map(values.get, range(len(rows)))) for key, values in classes.items()}
            is_one, people = people_in(self.file, len(rows), columns, self.category_id)
            rows, whose = [row for row, is_person in zip(rows, is_one.tolist()) if is_person], whose[is_one]
            not_counted = not_counted._replace(classes=people.classes, other_classes=people.num_others)
        table = table_of(rows, [where.name for where in places])
        listing = BoxListing(self.file, unit, table, None, bad_rows, not_counted=not_counted)
        if source.frames is not None:
            listing = self._with_frames(source, listing, places, whose)
        return assign_boxes(source, listing, self.rules)

    def _with_frames(self, source: Pictures, listing: BoxListing, places: list[Where], whose: np.ndarray) -> BoxListing:
        """The same, with entries about videos assigned to frames.

        Args:
            whose: (N,) int64, the rows' entries.
        """
        codes = {name: code for code, name in enumerate(listing.table.names)}
        moments = Moments(
            Names.of(codes),
            np.array([codes[where.name] for where in places], np.int64),
            np.array([where.number for where in places], np.float64),
            np.array([where.in_seconds for where in places], bool),
        )
        placed = place(VideoFrames(source), self.file, moments, self.rules.first_frame, _COUNTS_FROM)
        kept = np.zeros(len(codes), bool)
        kept[moments.whose[placed.pictures == BY_NAME]] = True
        table = with_pictures(listing.table, placed.pictures[whose], source.names, kept)
        return listing._replace(table=table, lost=placed.lost, spoken_of=placed.spoken_of)


def _note_classes(box: Any, row: int, classes: dict[str, dict[int, Any]]) -> None:
    """Keeps what a row says of its class, by the key that it says it under."""
    if isinstance(box, dict):
        for key in CLASS_KEYS:
            if box.get(key) is not None:
                classes.setdefault(key, {})[row] = box[key]
