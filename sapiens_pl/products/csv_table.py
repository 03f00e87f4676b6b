"""All poses of a run as one CSV file in long form: a row for each keypoint of each person.

Legend: N people of a picture, M people who are bridged there, K keypoints.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any, BinaryIO

from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.protocols import Records, RunProduct
from sapiens_pl.core.structures import NO_TRACK_ID, PoseResult
from sapiens_pl.products.frame_columns import (
    NO_VIDEOS,
    OfVideos,
    bridged_scores,
    sample_columns,
    smoothed_keypoints,
    told_of_videos,
    tracks_of,
)
from sapiens_pl.products.json_files import COORDINATE_DECIMALS, SCORE_DECIMALS, rounded

FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Spreadsheets evaluate a cell that begins so (OWASP, "CSV Injection"); with `./` before it, it is the same path."""
COLUMNS = ("image", "instance_id", "bbox_score", "keypoint", "x", "y", "score")
FRAME_COLUMNS = ("video", "frame", "pts", "seconds", "track_id")
SMOOTHED_COLUMNS = ("bridged", "x_smoothed", "y_smoothed")


class CsvTable(RunProduct):
    """`keypoints.csv`.

    With a video among the pictures, `FRAME_COLUMNS` follow, which are empty for photographs; where poses are smoothed,
    `SMOOTHED_COLUMNS` too. With pictures from tars or tables, `shard`, `__key__` and the columns of `data.carry` follow
    at the end. People who are bridged (`bridged` is 1) have no `instance_id`, `bbox_score`,
    `x` and `y`.
    """

    outputs = ("keypoints.csv",)

    def write(self, records: Records, folder: Path) -> None:
        with open(folder / "keypoints.csv", "wb") as file:
            write_csv(records.results(), records.keypoint_set, file, told_of_videos(records))


def write_csv(
    results: Iterable[PoseResult], keypoint_set: KeypointSet, file: BinaryIO, told: OfVideos = NO_VIDEOS
) -> None:
    """Coordinates are image px; the keypoints go by their names, the images by paths that no program evaluates."""
    # Names that are not Unicode come out as the bytes they are.
    text = io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="")
    writer = csv.writer(text)
    results = iter(results)
    first = next(results, None)
    of_sample = tuple(sample_columns(first))
    writer.writerow(COLUMNS + FRAME_COLUMNS * told.frames + SMOOTHED_COLUMNS * told.smoothed + of_sample)
    for result in () if first is None else chain([first], results):
        rows = _found(result, keypoint_set)
        if told.smoothed:
            rows = (row + more for row, more in zip((*rows, *_bridged(result, keypoint_set)), _smoothed(result)))
        if told.frames:
            size = len(COLUMNS)
            rows = (row[:size] + of + row[size:] for row, of in zip(rows, _of_frame(result, keypoint_set)))
        if of_sample:
            values = sample_columns(result)
            more = tuple(_as_cell(values.get(name)) for name in of_sample)
            rows = (row + more for row in rows)
        writer.writerows(rows)
    text.flush()
    text.detach()


def _found(result: PoseResult, keypoint_set: KeypointSet) -> Iterator[tuple[Any, ...]]:
    """N x K rows of `COLUMNS`."""
    keypoints = rounded(result.keypoints, COORDINATE_DECIMALS).tolist()
    scores = rounded(result.keypoint_scores, SCORE_DECIMALS).tolist()
    image = _no_formula(result.name)
    for instance_id, bbox_score, points, point_scores in zip(
        result.instance_ids.tolist(), result.bbox_scores.tolist(), keypoints, scores
    ):
        for name, (x, y), score in zip(keypoint_set.names, points, point_scores):
            yield image, instance_id, bbox_score, name, x, y, score


def _bridged(result: PoseResult, keypoint_set: KeypointSet) -> Iterator[tuple[Any, ...]]:
    """M x K rows of `COLUMNS`."""
    for scores in rounded(bridged_scores(result), SCORE_DECIMALS).tolist():
        for name, score in zip(keypoint_set.names, scores):
            yield _no_formula(result.name), None, None, name, None, None, score


def _smoothed(result: PoseResult) -> Iterator[tuple[Any, ...]]:
    """(N + M) x K rows of `SMOOTHED_COLUMNS`."""
    if result.smoothed is None:
        yield from repeat((None,) * len(SMOOTHED_COLUMNS))
    for row, points in enumerate(rounded(smoothed_keypoints(result), COORDINATE_DECIMALS).tolist()):
        is_bridged = int(row >= len(result.instance_ids))
        for x, y in points:
            yield is_bridged, x, y


def _of_frame(result: PoseResult, keypoint_set: KeypointSet) -> Iterator[tuple[Any, ...]]:
    """(N + M) x K rows of `FRAME_COLUMNS`."""
    if result.frame is None:
        yield from repeat((None,) * len(FRAME_COLUMNS))
    else:
        video, *when = result.frame
        for track_id in tracks_of(result).tolist():
            row = (_no_formula(video), *when, None if track_id == NO_TRACK_ID else track_id)
            yield from repeat(row, keypoint_set.num_keypoints)


def _as_cell(text: str | None) -> str | None:
    """Text that is not a path: a quote before it keeps spreadsheets from evaluating it."""
    return f"'{text}" if text is not None and text.startswith(FORMULA_SIGNS) else text


def _no_formula(name: str) -> str:
    return f"./{name}" if name.startswith(FORMULA_SIGNS) else name
