"""The lines of a MOTChallenge file that are people.

Plain files, numbers between commas, are read in one go; of others each line. Both give the same.

Legend: n lines of people, C columns.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sapiens_pl.boxes.classes import ClassId, ClassRule, class_id
from sapiens_pl.boxes.files import empty_error, lines_of, whole
from sapiens_pl.boxes.table import BoxRow, BoxTable, table_of
from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.not_counted import RowsNotCounted
from sapiens_pl.core.text_files import open_text

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
_LARGEST_EXACT = 2**53
_Line = tuple[int, int, list[str]]


class MotLines(NamedTuple):
    """`frames` (n,) int64 of the rows of `table`, which names nothing; `all_frames`: those of other classes too.

    `not_counted` has the lines that there are, and those that are not in the table.
    """

    frames: np.ndarray
    table: BoxTable
    all_frames: np.ndarray
    bad_rows: list[tuple[int, str]]
    not_counted: RowsNotCounted


def read_mot(path: str) -> MotLines:
    """Reads a file.

    Raises:
        ConfigError: no line is one of MOTChallenge's, or none counts.
    """
    columns = _plain_columns(path)
    return _line_by_line(path) if columns is None else _of_columns(path, columns)


def _plain_columns(path: str) -> np.ndarray | None:
    """(lines, C) float64, if each line has the same number of finite numbers between commas."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    with open_text(path) as text:
        if text.encoding != "utf-8":
            return None
        num_columns = text.readline().rstrip("\r\n").count(",") + 1
        num_lines = text.buffer.seek(0) + sum(1 for _ in text.buffer)
    names = [str(column) for column in range(num_columns)]
    try:
        read = arrow_csv.read_csv(
            path,
            arrow_csv.ReadOptions(use_threads=False, column_names=names),
            arrow_csv.ParseOptions(quote_char=False),
            arrow_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.float64()), null_values=[]),
        )
    except pa.ArrowInvalid:
        return None
    if num_columns < 6 or read.num_rows != num_lines or not num_lines:
        return None
    columns = np.stack([column.to_numpy() for column in read.columns], axis=1)
    wholes = [0, 1] + ([6, 7] if num_columns == _COLUMNS_WITH_CLASS else [])
    if num_columns == 10 and _may_be_visdrone(columns[:, 7:]):
        wholes += [6]
    are_whole = (columns[:, wholes] % 1 == 0).all() and (np.abs(columns[:, wholes]) < _LARGEST_EXACT).all()
    return columns if np.isfinite(columns).all() and are_whole else None


def _may_be_visdrone(columns: np.ndarray) -> bool:
    """Whether these three are class, truncation and occlusion, not a place in the world."""
    kinds, cut, hidden = columns.T
    fits = np.isin(kinds, list(_VISDRONE)) & np.isin(cut, (0, 1)) & np.isin(hidden, (0, 1, 2))
    return bool(fits.all() and kinds.any())


def _of_columns(path: str, columns: np.ndarray) -> MotLines:
    num_lines, width = columns.shape
    is_visdrone = width == 10 and _may_be_visdrone(columns[:, 7:])
    has_class = is_visdrone or width == _COLUMNS_WITH_CLASS
    used = columns[:, 6] != 0 if has_class else np.ones(num_lines, bool)
    not_counted = RowsNotCounted(rows=num_lines, ignored=num_lines - int(used.sum()))
    if not used.any():
        raise _all_ignored(path, num_lines)
    if has_class:
        values, counts = np.unique(columns[used, 7], return_counts=True)
        kinds: Counter[ClassId | None] = Counter()
        for value, count in zip(values.tolist(), counts.tolist()):
            kinds[None if value == -1 else int(value)] += count
        people = ClassRule(path, names=_VISDRONE if is_visdrone else _PEOPLE_OF_MOT16).people(kinds)
        used &= np.isin(columns[:, 7], [-1 if kind is None else kind for kind in people.kinds])
        not_counted = not_counted._replace(classes=people.classes, other_classes=people.num_others)
    rows = np.flatnonzero(used)
    chosen = columns[rows]
    scores = chosen[:, 6].copy() if width > 6 else np.full(len(rows), np.nan)
    scores[(scores == -1) | ((scores == 1) & (width == _COLUMNS_WITH_CLASS))] = np.nan
    ids = chosen[:, 1].astype(np.int64)
    none = np.zeros(len(rows), np.int64)
    table = BoxTable(Names.of([""]), none, chosen[:, 2:6], scores, np.where(ids == -1, 0, ids), ids != -1, rows + 1, {})
    return MotLines(chosen[:, 0].astype(np.int64), table, columns[:, 0].astype(np.int64), [], not_counted)


def _line_by_line(path: str) -> MotLines:
    lines: list[_Line] = []
    bad_rows: list[tuple[int, str]] = []
    for number, line in lines_of(path):
        fields = re.split(r"[,;\s]+", line.strip().rstrip(",;"))
        frame = whole(fields[0])
        if len(fields) < 6 or frame is None:
            bad_rows.append((number, f"{line.strip()[:80]!r} is not frame, id, left, top, width, height, ..."))
        else:
            lines.append((number, frame, fields))
    if bad_rows and not lines:
        raise ConfigError(f"{path}, line {bad_rows[0][0]}: {bad_rows[0][1]}; give a MOTChallenge file.")
    if not lines:
        raise empty_error(path)
    people, not_counted = _people(path, lines)
    not_counted = not_counted._replace(rows=len(lines) + len(bad_rows))
    table = table_of([_row(fields, number) for number, _, fields in people])
    frames = np.array([frame for _, frame, _ in people], np.int64)
    return MotLines(frames, table, np.array([frame for _, frame, _ in lines], np.int64), bad_rows, not_counted)


def _people(path: str, lines: Sequence[_Line]) -> tuple[list[_Line], RowsNotCounted]:
    """Without lines that ground truth marks to be ignored, and without other classes."""
    names = _VISDRONE if _is_visdrone(lines) else _PEOPLE_OF_MOT16
    widths = (10,) if names is _VISDRONE else (_COLUMNS_WITH_CLASS,)
    used = [line for line in lines if len(line[2]) not in widths or whole(line[2][6]) != 0]
    if not used:
        raise _all_ignored(path, len(lines))
    kinds = [_class(fields[7]) if len(fields) in widths else None for _, _, fields in used]
    people = ClassRule(path, names=names).people(kinds)
    ignored = len(lines) - len(used)
    not_counted = RowsNotCounted(classes=people.classes, other_classes=people.num_others, ignored=ignored)
    return [line for line, kind in zip(used, kinds) if kind in people.kinds], not_counted


def _all_ignored(path: str, num_lines: int) -> ConfigError:
    return ConfigError(f"{path} marks all {num_lines} boxes to be ignored (0 in the seventh column).")


def _is_visdrone(lines: Sequence[_Line]) -> bool:
    """Whether the last three of ten columns are class, truncation and occlusion, not a place in the world."""
    of_ten = [[whole(text) for text in fields[7:]] for _, _, fields in lines if len(fields) == 10]
    return any(row[0] for row in of_ten) and all(
        row[0] in _VISDRONE and row[1] in (0, 1) and row[2] in (0, 1, 2) for row in of_ten
    )


def _class(text: str) -> int | str | None:
    """None for a -1, as trackers fill the column."""
    kind = class_id(text)
    return None if kind == "-1" else kind


def _row(fields: Sequence[str], number: int) -> BoxRow:
    score: str | None = fields[6] if len(fields) > 6 else None
    if score is not None and (whole(score) == -1 or (len(fields) == _COLUMNS_WITH_CLASS and whole(score) == 1)):
        score = None
    return BoxRow("", fields[2:6], score, None if whole(fields[1]) == -1 else fields[1], number)
