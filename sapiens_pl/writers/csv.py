"""All poses of a run as one CSV file in long form: a row for each keypoint of each person."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import BinaryIO

from sapiens_pl.keypoints import KeypointSpec
from sapiens_pl.structures import PoseResult
from sapiens_pl.writers.json import COORDINATE_DECIMALS, SCORE_DECIMALS, rounded

COLUMNS = ("image", "instance_id", "bbox_score", "keypoint", "x", "y", "score")


def write_csv(results: Iterable[PoseResult], spec: KeypointSpec, file: BinaryIO) -> None:
    """Coordinates are image px; the keypoints go by their names."""
    # Names that are no Unicode come out as the bytes they are.
    text = io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for result in results:
        keypoints = rounded(result.keypoints, COORDINATE_DECIMALS).tolist()
        scores = rounded(result.keypoint_scores, SCORE_DECIMALS).tolist()
        people = zip(result.instance_ids.tolist(), result.bbox_scores.tolist(), keypoints, scores)
        writer.writerows(
            (result.name, instance_id, bbox_score, name, x, y, score)
            for instance_id, bbox_score, points, point_scores in people
            for name, (x, y), score in zip(spec.names, points, point_scores)
        )
    text.flush()
    text.detach()
