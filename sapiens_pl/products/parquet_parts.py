"""Poses as Parquet: one row a person, in parts of bounded size, for tables of tens of millions of people.

A part appears by rename, and its footer names every image in it (those without people too), so the parts
alone can tell what is done.

Legend: N people, K keypoints.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.keypoints import KeypointSpec
from sapiens_pl.core.structures import ListedImage, PoseResult
from sapiens_pl.products.parquet_table import as_text, pose_table, pyarrow

_PEOPLE_AT_ONCE = 64


def write_part(results: Sequence[PoseResult], spec: KeypointSpec, file: BinaryIO) -> None:
    """Writes the people of some images, sorted by image, in the order of their boxes.

    Columns: image, image_id, image_width, image_height, instance_id, bbox (4, xyxy), bbox_score, score (of the
    instance), keypoints_x, keypoints_y, keypoint_scores (K each; coordinates in image px). The file's metadata
    has `dataset_name`, `keypoint_names` (a JSON list) and `images` (a JSON list of all images: name, width,
    height, id). An id that no int64 holds stands only there; its column is null.
    """
    table = pose_table(sorted(results, key=lambda result: result.name), spec)
    pyarrow().parquet.write_table(table, file, compression="zstd", write_page_checksum=True)


def images_of(part: Path) -> list[ListedImage]:
    """The images in a part, in its order; only its footer is read.

    Raises:
        ConfigError: it is no part of ours, or pyarrow is missing.
    """
    pa = pyarrow()
    try:
        metadata = pa.parquet.read_metadata(part).metadata or {}
        return [ListedImage(*image) for image in json.loads(metadata[b"images"])]
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise _damaged(part, error) from None


def read_part(part: Path) -> Iterator[PoseResult]:
    """The poses of every image in a part, in its order, a few at a time.

    Raises:
        ConfigError: it is no part of ours, or pyarrow is missing.
    """
    pa = pyarrow()
    try:
        with pa.parquet.ParquetFile(part, page_checksum_verification=True) as file:
            count = len(json.loads(file.metadata.metadata[b"keypoint_names"]))
            people = (row for batch in file.iter_batches(_PEOPLE_AT_ONCE) for row in _rows(batch, count))
            groups = groupby(people, key=lambda row: row[0])
            following = next(groups, None)
            for image in images_of(part):
                rows: list[tuple] = []
                if following is not None and following[0] == as_text(image.name):
                    rows, following = list(following[1]), next(groups, None)
                yield _result(image, rows, count)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise _damaged(part, error) from None


def _rows(batch: Any, num_keypoints: int) -> Iterator[tuple]:
    def matrix(name: str, width: int) -> np.ndarray:
        return batch.column(name).flatten().to_numpy(zero_copy_only=False).reshape(-1, width)

    keypoints = np.stack([matrix("keypoints_x", num_keypoints), matrix("keypoints_y", num_keypoints)], -1)
    plain = [batch.column(name).to_pylist() for name in ("image", "instance_id", "bbox_score")]
    yield from zip(*plain, matrix("bbox", 4), keypoints, matrix("keypoint_scores", num_keypoints))


def _result(image: ListedImage, rows: list[tuple], num_keypoints: int) -> PoseResult:
    return PoseResult(
        path="",
        keypoints=np.array([row[4] for row in rows], np.float32).reshape(-1, num_keypoints, 2),
        keypoint_scores=np.array([row[5] for row in rows], np.float32).reshape(-1, num_keypoints),
        bboxes=np.array([row[3] for row in rows], np.float64).reshape(-1, 4),
        bbox_scores=np.array([row[2] for row in rows], np.float64),
        instance_ids=np.array([row[1] for row in rows], np.int64),
        image_wh=None if image.width is None or image.height is None else (image.width, image.height),
        name=image.name,
        failures=(),
        image_id=image.image_id,
    )


def _damaged(part: Path, error: Exception) -> ConfigError:
    reason = " ".join(str(error).split())[:200]
    return ConfigError(
        f"{part} cannot be read ({type(error).__name__}: {reason}); remove it, and the same command does its images "
        "again."
    )
