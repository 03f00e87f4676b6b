"""Boxes of one sequence in MOTChallenge's text form."""

from __future__ import annotations

import os
import re
from typing import Any

from sapiens_pl.data.box_files import existing_file, lines_of, whole
from sapiens_pl.data.box_rules import BoxRow, BoxRules
from sapiens_pl.data.boxes import BoxedImages, BoxListing, assign_boxes
from sapiens_pl.data.sources import ImageSource
from sapiens_pl.errors import ConfigError

_MOT_COLUMNS_WITH_CLASS = 9
_MOT_PEOPLE = (1, 2, 7)
"""Classes of MOT16 and later: pedestrian, person on a vehicle, person who stands still (Milan et al., 2016)."""


class MotBoxes:
    """Boxes of one sequence in MOTChallenge's text form (`boxes=mot`), with the track ids.

    Lines `frame, id, left, top, width, height, confidence, ...`; the first pixel and the first frame are 1, a
    confidence or an id of -1 is none. Of nine columns the eighth is the class, and a seventh of 0 or 1 ground
    truth's mark of boxes to be ignored or used. Frame n is the image whose file name ends in the number n (n - 1 if
    one of them ends in 0); if not all names end in numbers, the n-th image.

    Args:
        file: `det.txt`, `gt.txt` or a tracker's output.
        rules: as in `BoxRules`.
    """

    def __init__(self, file: str | None, *, format: str = "xywh", **rules: Any) -> None:
        self.file = existing_file(file)
        self.rules = BoxRules(format, first_pixel=1.0, **rules)

    def __call__(self, source: ImageSource) -> BoxedImages:
        names = _frames(source)
        rows: list[BoxRow] = []
        images: dict[str, int | None] = {name: frame for frame, name in names.items()}
        bad_rows: list[tuple[int, str]] = []
        for number, line in lines_of(self.file):
            fields = re.split(r"[,\s]+", line.strip().rstrip(","))
            frame = whole(fields[0])
            if len(fields) < 6 or frame is None:
                bad_rows.append((number, f"{line.strip()[:80]!r} is not frame, id, left, top, width, height, ..."))
            elif _counts(fields):
                rows.append(_mot_row(names.get(frame, f"frame {frame}"), fields, number))
        if bad_rows and not rows:
            raise ConfigError(f"{self.file}, line {bad_rows[0][0]}: {bad_rows[0][1]}; give a MOTChallenge file.")
        return assign_boxes(source, BoxListing(self.file, "line", rows, images, bad_rows), self.rules)


def _counts(fields: list[str]) -> bool:
    with_class = len(fields) == _MOT_COLUMNS_WITH_CLASS
    return not with_class or (whole(fields[6]) != 0 and whole(fields[7]) in _MOT_PEOPLE)


def _mot_row(image: str, fields: list[str], number: int) -> BoxRow:
    score: str | None = fields[6] if len(fields) > 6 else None
    if score is not None and (whole(score) == -1 or (len(fields) == _MOT_COLUMNS_WITH_CLASS and whole(score) == 1)):
        score = None
    return BoxRow(image, fields[2:6], score, None if whole(fields[1]) == -1 else fields[1], number)


def _frames(source: ImageSource) -> dict[int, str]:
    """Image names by frame, counted from 1.

    Raises:
        ConfigError: two images have the same number.
    """
    numbers = [re.search(r"(\d{1,18})$", os.path.splitext(file.name)[0]) for file in source.files]
    if not all(numbers):
        return {frame: file.name for frame, file in enumerate(source.files, 1)}
    counted = [int(found[1]) for found in numbers if found]
    shift = 1 if 0 in counted else 0
    frames: dict[int, str] = {}
    for number, file in zip(counted, source.files):
        if frames.setdefault(number + shift, file.name) != file.name:
            raise ConfigError(
                f"{frames[number + shift]} and {file.name} have the same frame number, and a MOT file is about one "
                "sequence; give that sequence's folder as data.images."
            )
    return frames
