"""Boxes of one sequence in MOTChallenge's text form."""

from __future__ import annotations

import re
from typing import Any

from sapiens_pl.boxes.classes import ClassId, ClassRule, class_id
from sapiens_pl.boxes.files import empty_error, existing_file, lines_of, whole
from sapiens_pl.boxes.frames import frames_of
from sapiens_pl.boxes.image_finder import NoImage
from sapiens_pl.boxes.matching import assign_boxes, listing_of
from sapiens_pl.boxes.rules import BoxRules
from sapiens_pl.boxes.table import BoxRow
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.plan import Pictures
from sapiens_pl.core.protocols import BoxedImages

_COLUMNS_WITH_CLASS = 9
_PEOPLE_OF_MOT16: dict[ClassId, str] = {
    **{1: "person", 2: "person", 7: "person"},  # pedestrian, person on a vehicle, person who stands still
    **{3: "car", 4: "bicycle", 5: "motorbike", 6: "other vehicle", 8: "distractor", 9: "occluder"},
    **{10: "occluder", 11: "occluder", 12: "reflection", 13: "crowd"},
}
"""Classes of MOT16 and later (Milan et al., 2016), in the eighth of nine columns."""
_VISDRONE: dict[ClassId, str] = dict(
    enumerate(
        ["ignored", "pedestrian", "people", "bicycle", "car", "van", "truck", "tricycle", "awning-tricycle", "bus"]
        + ["motor", "others"]
    )
)
"""Classes in VisDrone's form (Zhu et al., 2020): ten columns, of which the last two are truncation and occlusion."""
_Line = tuple[int, int, list[str]]


class MotBoxes:
    """Boxes of one sequence in MOTChallenge's text form (`boxes=mot`), with the track ids.

    Lines `frame, id, left, top, width, height, confidence, ...`; the first pixel and the first frame are 1, a
    confidence or an id of -1 is none. Of nine columns the eighth is the class, and a seventh of 0 or 1 ground
    truth's mark of boxes to be ignored or used (so in VisDrone's ten columns). Which image a frame is,
    `frames.frames_of` says.

    Args:
        file: `det.txt`, `gt.txt` or a tracker's output.
        rules: as in `BoxRules`.
    """

    def __init__(self, file: str | None, *, format: str = "xywh", **rules: Any) -> None:
        self.file = existing_file(file)
        self.rules = BoxRules(format, first_pixel=1.0, **rules)

    def __call__(self, source: Pictures) -> BoxedImages:
        lines: list[_Line] = []
        bad_rows: list[tuple[int, str]] = []
        for number, line in lines_of(self.file):
            fields = re.split(r"[,;\s]+", line.strip().rstrip(",;"))
            frame = whole(fields[0])
            if len(fields) < 6 or frame is None:
                bad_rows.append((number, f"{line.strip()[:80]!r} is not frame, id, left, top, width, height, ..."))
            else:
                lines.append((number, frame, fields))
        if bad_rows and not lines:
            raise ConfigError(f"{self.file}, line {bad_rows[0][0]}: {bad_rows[0][1]}; give a MOTChallenge file.")
        if not lines:
            raise empty_error(self.file)
        wanted = {frame for _, frame, _ in lines}
        names = frames_of(source, wanted, self.file)
        if not wanted & set(names):
            raise ConfigError(
                f"{self.file} has frames {min(wanted)} to {max(wanted)}, data.images has frames {min(names)} to "
                f"{max(names)} ({names[min(names)]} the first), none in both; give that sequence's images."
            )
        missing = NoImage("is the number of no image; add it or correct the box file")
        lost = {f"frame {frame}": missing for _, frame, _ in lines if frame not in names}
        rows = [_row(names[frame], fields, number) for number, frame, fields in self._people(lines) if frame in names]
        images: dict[str, int | None] = {name: frame for frame, name in names.items()}
        return assign_boxes(source, listing_of(self.file, "line", rows, images, bad_rows, lost), self.rules)

    def _people(self, lines: list[_Line]) -> list[_Line]:
        """Without what ground truth says is to be ignored, and without other classes."""
        names = _VISDRONE if _is_visdrone(lines) else _PEOPLE_OF_MOT16
        widths = (10,) if names is _VISDRONE else (_COLUMNS_WITH_CLASS,)
        used = [line for line in lines if len(line[2]) not in widths or whole(line[2][6]) != 0]
        if not used:
            raise ConfigError(f"{self.file} marks all {len(lines)} boxes to be ignored (0 in the seventh column).")
        kinds = [_class(fields[7]) if len(fields) in widths else None for _, _, fields in used]
        people = ClassRule(self.file, names=names).people(kinds)
        return [line for line, kind in zip(used, kinds) if kind in people]


def _is_visdrone(lines: list[_Line]) -> bool:
    """Whether the last three of ten columns are class, truncation and occlusion, not a place in the world."""
    of_ten = [[whole(text) for text in fields[7:]] for _, _, fields in lines if len(fields) == 10]
    return any(row[0] for row in of_ten) and all(
        row[0] in _VISDRONE and row[1] in (0, 1) and row[2] in (0, 1, 2) for row in of_ten
    )


def _class(text: str) -> int | str | None:
    """None for a -1, as trackers fill the column."""
    kind = class_id(text)
    return None if kind == "-1" else kind


def _row(image: str, fields: list[str], number: int) -> BoxRow:
    score: str | None = fields[6] if len(fields) > 6 else None
    if score is not None and (whole(score) == -1 or (len(fields) == _COLUMNS_WITH_CLASS and whole(score) == 1)):
        score = None
    return BoxRow(image, fields[2:6], score, None if whole(fields[1]) == -1 else fields[1], number)
