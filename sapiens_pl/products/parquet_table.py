"""All poses of a run as Parquet files with a row a person, for tables of tens of millions of people.

Legend: N people, K keypoints.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.instance_scores import instance_scores
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.protocols import Records, RunProduct
from sapiens_pl.core.structures import ListedImage, PoseResult
from sapiens_pl.products.json_files import COORDINATE_DECIMALS, SCORE_DECIMALS, rounded

MAX_KEYPOINTS, MAX_IMAGES = 4_000_000, 50_000
"""What one file holds at most: 48 MB of coordinates and scores, before compression."""


class ParquetTable(RunProduct):
    """`parquet/poses-00000.parquet` and so on, sorted by the pictures' names."""

    outputs = ("parquet/",)

    def write(self, records: Records, folder: Path) -> None:
        (folder / "parquet").mkdir()
        for number, results in enumerate(_chunks(records.results())):
            table = pose_table(results, records.keypoint_set)
            target = folder / "parquet" / f"poses-{number:05}.parquet"
            pyarrow().parquet.write_table(table, target, compression="zstd", write_page_checksum=True)


def _chunks(results: Iterable[PoseResult]) -> Iterator[list[PoseResult]]:
    """So many that a file is full; one chunk, if there is no result at all."""
    chunk: list[PoseResult] = []
    num_keypoints = 0
    for result in results:
        if num_keypoints >= MAX_KEYPOINTS or len(chunk) >= MAX_IMAGES:
            yield chunk
            chunk, num_keypoints = [], 0
        chunk.append(result)
        num_keypoints += result.keypoint_scores.size
    yield chunk


def pyarrow() -> Any:
    """The library, imported only where Parquet is asked for.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ConfigError("Parquet needs pyarrow: pip install 'sapiens_pl[parquet]'.") from None
    return pyarrow


def pose_table(results: Sequence[PoseResult], keypoint_set: KeypointSet) -> Any:
    """The people of some images, in the order of their boxes.

    Columns: image, image_id, image_width, image_height, instance_id, bbox (4, xyxy), bbox_score, score (of the
    instance), keypoints_x, keypoints_y, keypoint_scores (K each; coordinates in image px). The metadata has
    `dataset_name`, `keypoint_names` (a JSON list) and `images` (a JSON list of all images: name, width, height, id).
    An id that no int64 holds stands only there; its column is null.
    """
    pa = pyarrow()
    images = [result.listing for result in results]
    table = _table(pa, results, images, keypoint_set.num_keypoints)
    return table.replace_schema_metadata(
        {
            "dataset_name": keypoint_set.dataset_name,
            "keypoint_names": json.dumps(keypoint_set.names),
            "images": json.dumps(images),
        }
    )


def _table(pa: Any, results: Sequence[PoseResult], images: Sequence[ListedImage], num_keypoints: int) -> Any:
    of_image = np.repeat(np.arange(len(results)), [len(result.instance_ids) for result in results]).tolist()

    def joined(arrays: list[np.ndarray], *shape: int) -> np.ndarray:
        return np.concatenate([np.empty((0, *shape), arrays[0].dtype), *arrays])

    def by_image(column: int, kind: Any) -> Any:
        return pa.array([images[index][column] for index in of_image], kind)

    def lists(values: np.ndarray) -> Any:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])

    keypoints = rounded(joined([result.keypoints for result in results], num_keypoints, 2), COORDINATE_DECIMALS)
    scores = rounded(joined([result.keypoint_scores for result in results], num_keypoints), SCORE_DECIMALS)
    bbox_scores = joined([result.bbox_scores for result in results])
    names = [as_text(image.name) for image in images]
    return pa.table(
        {
            "image": pa.array([names[index] for index in of_image], pa.string()),
            "image_id": pa.array([_as_int64(images[index].image_id) for index in of_image], pa.int64()),
            "image_width": by_image(1, pa.int32()),
            "image_height": by_image(2, pa.int32()),
            "instance_id": pa.array(joined([result.instance_ids for result in results])),
            "bbox": lists(joined([result.bboxes for result in results], 4)),
            "bbox_score": pa.array(bbox_scores),
            "score": pa.array(instance_scores(bbox_scores, scores)),
            "keypoints_x": lists(keypoints[:, :, 0].astype(np.float32)),
            "keypoints_y": lists(keypoints[:, :, 1].astype(np.float32)),
            "keypoint_scores": lists(scores.astype(np.float32)),
        }
    )


def _as_int64(number: int | None) -> int | None:
    return number if isinstance(number, int) and -(1 << 63) <= number < 1 << 63 else None


def as_text(name: str) -> str:
    """A column of text takes only Unicode, which not every file name is."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
