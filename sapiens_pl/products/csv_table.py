"""All poses of a run as one CSV file in long form: a row for each keypoint of each person."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.protocols import Records, RunProduct
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.products.json_files import COORDINATE_DECIMALS, SCORE_DECIMALS, rounded

FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Spreadsheets calculate a cell that begins so (OWASP, "CSV Injection"); with `./` before it, it is the same path."""
COLUMNS = ("image", "instance_id", "bbox_score", "keypoint", "x", "y", "score")


class CsvTable(RunProduct):
    """`keypoints.csv`."""

    outputs = ("keypoints.csv",)

    def write(self, records: Records, folder: Path) -> None:
        with open(folder / "keypoints.csv", "wb") as file:
            write_csv(records.results(), records.keypoint_set, file)


def write_csv(results: Iterable[PoseResult], keypoint_set: KeypointSet, file: BinaryIO) -> None:
    """Coordinates are image px; the keypoints go by their names, the images by paths that no program calculates."""
    # Names that are no Unicode come out as the bytes they are.
    text = io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for result in results:
        keypoints = rounded(result.keypoints, COORDINATE_DECIMALS).tolist()
        scores = rounded(result.keypoint_scores, SCORE_DECIMALS).tolist()
        image = f"./{result.name}" if result.name.startswith(FORMULA_SIGNS) else result.name
        people = zip(result.instance_ids.tolist(), result.bbox_scores.tolist(), keypoints, scores)
        writer.writerows(
            (image, instance_id, bbox_score, name, x, y, score)
            for instance_id, bbox_score, points, point_scores in people
            for name, (x, y), score in zip(keypoint_set.names, points, point_scores)
        )
    text.flush()
    text.detach()
