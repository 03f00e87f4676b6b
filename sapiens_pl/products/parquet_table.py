"""All poses of a run as Parquet files with a row a person, for tables of tens of millions of people.

Legend: N people, M people who are bridged in a frame, K keypoints.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sapiens_pl.core.columns import as_unicode
from sapiens_pl.core.instance_scores import instance_scores
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.protocols import Records, RunProduct
from sapiens_pl.core.structures import NO_TRACK_ID, ListedImage, PoseResult
from sapiens_pl.products.frame_columns import (
    NO_VIDEOS,
    OfVideos,
    bridged_scores,
    num_bridged,
    sample_columns,
    smoothed_keypoints,
    told_of_videos,
    tracks_of,
)
from sapiens_pl.products.json_files import COORDINATE_DECIMALS, SCORE_DECIMALS, rounded

MAX_KEYPOINTS, MAX_IMAGES = 4_000_000, 50_000
"""What one file holds at most: 48 MB of coordinates and scores, before compression."""

_NULL_WHERE_SMOOTHED = ("bbox", "keypoints_x", "keypoints_y", "keypoints_x_smoothed", "keypoints_y_smoothed")


class ParquetTable(RunProduct):
    """`parquet/poses-00000.parquet` and so on, sorted by the pictures' names."""

    outputs = ("parquet/",)

    def write(self, records: Records, folder: Path) -> None:
        from pyarrow.parquet import write_table

        (folder / "parquet").mkdir()
        told = told_of_videos(records)
        for number, results in enumerate(_chunks(records.results())):
            table = pose_table(results, records.keypoint_set, told)
            target = folder / "parquet" / f"poses-{number:05}.parquet"
            write_table(table, target, compression="zstd", write_page_checksum=True)


def _chunks(results: Iterable[PoseResult]) -> Iterator[list[PoseResult]]:
    """So many that a file is full; one chunk, if there is no result at all."""
    chunk: list[PoseResult] = []
    num_keypoints = 0
    for result in results:
        if num_keypoints >= MAX_KEYPOINTS or len(chunk) >= MAX_IMAGES:
            yield chunk
            chunk, num_keypoints = [], 0
        chunk.append(result)
        num_keypoints += result.keypoint_scores.size + bridged_scores(result).size
    yield chunk


def pose_table(results: Sequence[PoseResult], keypoint_set: KeypointSet, told: OfVideos = NO_VIDEOS) -> Any:
    """The people of some images, in the order of their boxes.

    Columns: image, image_id, image_width, image_height, instance_id, bbox (4, xyxy), bbox_score, score (of the
    instance), keypoints_x, keypoints_y, keypoint_scores (K each; coordinates in image px). The metadata has
    `dataset_name`, `keypoint_names` (a JSON list) and `images` (a JSON list of all images: name, width, height, id).
    An id that no int64 holds stands only there; its column is null.

    With a video among the pictures also video, frame (the index of the frame that a player shows, from 0), pts,
    seconds, track_id, which are null for photographs; and, where poses are smoothed, bridged, keypoints_x_smoothed and
    keypoints_y_smoothed (K each). Of somebody who is bridged in a frame, what was not found is null: instance_id,
    bbox, bbox_score, score, keypoints_x and keypoints_y. Lists that may be null have no fixed length in the schema.

    With pictures from tars or tables also shard, __key__ (what the sample is called inside), and `data.carry`'s.
    """
    import pyarrow as pa

    images = [result.listing for result in results]
    columns = _columns(pa, results, images, keypoint_set.num_keypoints)
    if told.frames:
        columns |= _of_frames(pa, results)
    if told.smoothed:
        columns |= _smoothed(pa, results, keypoint_set.num_keypoints)
        columns |= {name: _of_any_length(pa, columns[name]) for name in _NULL_WHERE_SMOOTHED}
    columns |= _of_samples(pa, results)
    table = pa.table(columns)
    return table.replace_schema_metadata(
        {
            "dataset_name": keypoint_set.dataset_name,
            "keypoint_names": json.dumps(keypoint_set.names),
            "images": json.dumps(images),
        }
    )


def _columns(
    pa: Any, results: Sequence[PoseResult], images: Sequence[ListedImage], num_keypoints: int
) -> dict[str, Any]:
    """A row a person: of each picture the N that were found, then the M that are bridged."""
    of_image = _of_image(results)
    is_bridged = _joined([np.arange(_num_rows(result)) >= len(result.instance_ids) for result in results])

    def by_image(column: int, kind: Any) -> Any:
        return pa.array([images[index][column] for index in of_image], kind)

    def found(values: np.ndarray) -> Any:
        """With nulls for those who are bridged."""
        rows = np.zeros((len(is_bridged), *values.shape[1:]), values.dtype)
        rows[~is_bridged] = values
        mask = is_bridged if is_bridged.any() else None
        return pa.array(rows, mask=mask) if values.ndim == 1 else _lists(pa, rows, mask)

    keypoints = rounded(_joined([result.keypoints for result in results], num_keypoints, 2), COORDINATE_DECIMALS)
    bbox_scores = _joined([result.bbox_scores for result in results])
    all_scores = _joined([scores for result in results for scores in _scores_of(result)], num_keypoints)
    all_scores = rounded(all_scores, SCORE_DECIMALS)
    names = [as_unicode(image.name) for image in images]
    return {
        "image": pa.array([names[index] for index in of_image], pa.string()),
        "image_id": pa.array([_as_int64(images[index].image_id) for index in of_image], pa.int64()),
        "image_width": by_image(1, pa.int32()),
        "image_height": by_image(2, pa.int32()),
        "instance_id": found(_joined([result.instance_ids for result in results])),
        "bbox": found(_joined([result.bboxes for result in results], 4)),
        "bbox_score": found(bbox_scores),
        "score": found(instance_scores(bbox_scores, all_scores[~is_bridged])),
        "keypoints_x": found(keypoints[:, :, 0].astype(np.float32)),
        "keypoints_y": found(keypoints[:, :, 1].astype(np.float32)),
        "keypoint_scores": _lists(pa, all_scores.astype(np.float32)),
    }


def _of_frames(pa: Any, results: Sequence[PoseResult]) -> dict[str, Any]:
    frames = [results[index].frame for index in _of_image(results)]
    tracks = _joined([tracks_of(result) for result in results])
    return {
        "video": pa.array([frame and as_unicode(frame.video) for frame in frames], pa.string()),
        "frame": pa.array([frame and frame.frame_index for frame in frames], pa.int64()),
        "pts": pa.array([frame and frame.pts for frame in frames], pa.int64()),
        "seconds": pa.array([frame and frame.seconds for frame in frames], pa.float64()),
        "track_id": pa.array(tracks, pa.int64(), mask=tracks == NO_TRACK_ID),
    }


def _of_samples(pa: Any, results: Sequence[PoseResult]) -> dict[str, Any]:
    rows = [sample_columns(results[index]) for index in _of_image(results)]
    names = sample_columns(results[0] if results else None)
    texts = {name: [row.get(name) for row in rows] for name in names}
    return {
        name: pa.array([None if text is None else as_unicode(text) for text in column], pa.string())
        for name, column in texts.items()
    }


def _smoothed(pa: Any, results: Sequence[PoseResult], num_keypoints: int) -> dict[str, Any]:
    unknown = np.array([results[index].smoothed is None for index in _of_image(results)], bool)
    is_bridged = _joined([np.arange(_num_rows(result)) >= len(result.instance_ids) for result in results])
    joined = _joined([smoothed_keypoints(result) for result in results], num_keypoints, 2)
    keypoints = rounded(joined, COORDINATE_DECIMALS).astype(np.float32)
    return {
        "bridged": pa.array(is_bridged, mask=unknown),
        "keypoints_x_smoothed": _lists(pa, keypoints[:, :, 0], unknown),
        "keypoints_y_smoothed": _lists(pa, keypoints[:, :, 1], unknown),
    }


def _scores_of(result: PoseResult) -> tuple[np.ndarray, np.ndarray]:
    return result.keypoint_scores, bridged_scores(result)


def _num_rows(result: PoseResult) -> int:
    return len(result.instance_ids) + num_bridged(result)


def _of_image(results: Sequence[PoseResult]) -> list[int]:
    """Of each row, whose it is."""
    return np.repeat(np.arange(len(results)), [_num_rows(result) for result in results]).tolist()


def _joined(arrays: list[np.ndarray], *shape: int) -> np.ndarray:
    return np.concatenate([np.empty((0, *shape), arrays[0].dtype), *arrays])


def _lists(pa: Any, values: np.ndarray, nulls: np.ndarray | None = None) -> Any:
    mask = None if nulls is None or not nulls.any() else pa.array(nulls)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1], mask=mask)


def _of_any_length(pa: Any, lists: Any) -> Any:
    """The same lists; pyarrow 17 to 21 write no nulls among lists of a fixed length into a file."""
    valid = lists.is_valid().to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(valid * lists.type.list_size)]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, lists.flatten(), mask=pa.array(~valid))


def _as_int64(number: int | None) -> int | None:
    return number if isinstance(number, int) and -(1 << 63) <= number < 1 << 63 else None
