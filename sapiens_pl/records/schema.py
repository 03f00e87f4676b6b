"""The rows of the record store as Arrow columns, and back: a row a picture, a row a person.

Names, paths and sentences are binary columns: UTF-8, where a file name that is not Unicode keeps its surrogates. So
every name comes back as it was, and the order of the bytes is the order of Python's strings.

Legend: N people of some pictures, K keypoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sapiens_pl.core.carried import carried_column
from sapiens_pl.core.columns import as_unicode
from sapiens_pl.core.errors import MissingImageError
from sapiens_pl.core.structures import NO_TRACK_ID, Failure, PoseResult, ShardMember, VideoFrame

DONE, FAILED, ABSENT = "done", "failed", "absent"
"""The outcomes of a picture; `ABSENT`: named, and not there yet."""
STATUSES = (DONE, FAILED, ABSENT)
WITHDRAWN = "withdrawn"
"""Marks a row that withdraws what was recorded under that name before; readers skip it."""

_BOX_FAILURE = pa.struct([("instance_id", pa.int64()), ("error", pa.string()), ("message", pa.binary())])
PICTURES = pa.schema(
    [
        pa.field("name", pa.binary(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("error", pa.string()),
        pa.field("message", pa.binary()),
        pa.field("width", pa.int64()),
        pa.field("height", pa.int64()),
        pa.field("image_id", pa.string()),  # of any number of digits
        pa.field("boxes_digest", pa.uint64(), nullable=False),
        pa.field("num_people", pa.int64(), nullable=False),
        pa.field("path", pa.binary(), nullable=False),
        pa.field("failures", pa.list_(_BOX_FAILURE), nullable=False),
        pa.field("video", pa.binary()),  # null for photographs, as are the next three
        pa.field("frame", pa.int64()),
        pa.field("pts", pa.int64()),
        pa.field("seconds", pa.float64()),
        pa.field("shard", pa.binary()),  # null for what is from no tar or table, as is the next one
        pa.field("key", pa.binary()),
        pa.field("generation", pa.int64(), nullable=False),  # of the run that has recorded it, whatever file it is in
    ]
)
KEY = "__key__"
"""The column of people that is called as WebDataset calls it; `key` of the pictures, as text for other programs."""


def people_schema(num_keypoints: int, carry: Sequence[str] = ()) -> pa.Schema:
    """`bbox` is xyxy; it and the keypoints are image px. `track_id` is one that a box file gives in a video.

    Args:
        num_keypoints: K.
        carry: what is carried along.
    """
    return pa.schema(
        [
            pa.field("name", pa.binary(), nullable=False),
            pa.field("instance_id", pa.int64(), nullable=False),
            pa.field("bbox", pa.list_(pa.float64(), 4), nullable=False),
            pa.field("bbox_score", pa.float64(), nullable=False),
            pa.field("keypoints_x", pa.list_(pa.float32(), num_keypoints), nullable=False),
            pa.field("keypoints_y", pa.list_(pa.float32(), num_keypoints), nullable=False),
            pa.field("keypoint_scores", pa.list_(pa.float32(), num_keypoints), nullable=False),
            pa.field("track_id", pa.int64()),
            pa.field(KEY, pa.string()),
            *(pa.field(carried_column(name), pa.string()) for name in carry),
        ]
    )


def to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def to_text(content: bytes) -> str:
    return content.decode("utf-8", "surrogatepass")


def status_of(result: PoseResult) -> str:
    """The status follows from the failure of the picture as a whole, if there is one."""
    errors = [failure.error for failure in result.failures if failure.instance_id is None]
    if not errors:
        return DONE
    if errors[0] == WITHDRAWN:
        return WITHDRAWN
    return ABSENT if errors[0] == MissingImageError.__name__ else FAILED


def pictures_batch(results: Sequence[PoseResult], boxes_digests: Sequence[int], generation: int = 1) -> pa.RecordBatch:
    """A row of `PICTURES` a result.

    Args:
        results: pictures done, failed or absent.
        boxes_digests: 64 bits each: the boxes that the picture was planned with.
        generation: of the run.
    """
    rows = [_picture_row(result, digest, generation) for result, digest in zip(results, boxes_digests, strict=True)]
    return pa.RecordBatch.from_pylist(rows, schema=PICTURES)


def _picture_row(result: PoseResult, boxes_digest: int, generation: int) -> dict[str, Any]:
    width, height = result.image_wh or (None, None)
    frame, member = result.frame, result.member
    whole = next((failure for failure in result.failures if failure.instance_id is None), None)
    return {
        "name": to_bytes(result.name),
        "status": status_of(result),
        "error": whole and whole.error,
        "message": None if whole is None else to_bytes(whole.message),
        "width": width,
        "height": height,
        "image_id": None if result.image_id is None else str(int(result.image_id)),
        "boxes_digest": int(boxes_digest),
        "num_people": len(result.instance_ids),
        "path": to_bytes(result.path),
        "failures": [
            {"instance_id": failure.instance_id, "error": failure.error, "message": to_bytes(failure.message)}
            for failure in result.failures
            if failure is not whole
        ],
        "video": frame and to_bytes(frame.video),
        "frame": frame and frame.frame_index,
        "pts": frame and frame.pts,
        "seconds": frame and frame.seconds,
        "shard": member and to_bytes(member.shard),
        "key": member and to_bytes(member.key),
        "generation": generation,
    }


def people_batch(results: Sequence[PoseResult], num_keypoints: int, carry: Sequence[str] = ()) -> pa.RecordBatch:
    """A row of `people_schema` a person, in the order of the results and of their boxes."""
    counts = [len(result.instance_ids) for result in results]
    names = np.repeat(np.array([to_bytes(result.name) for result in results], object), counts)
    keypoints = _joined([result.keypoints for result in results], np.float32, num_keypoints, 2)
    scores = _joined([result.keypoint_scores for result in results], np.float32, num_keypoints)
    tracks = _joined([_track_ids(result) for result in results], np.int64)
    columns = [
        pa.array(names, pa.binary()),
        pa.array(_joined([result.instance_ids for result in results], np.int64)),
        _lists(_joined([result.bboxes for result in results], np.float64, 4)),
        pa.array(_joined([result.bbox_scores for result in results], np.float64)),
        _lists(keypoints[:, :, 0]),
        _lists(keypoints[:, :, 1]),
        _lists(scores),
        pa.array(tracks, pa.int64(), mask=tracks == NO_TRACK_ID),
        _texts([result.member and result.member.key for result in results], counts),
        *(_texts([result.carried.get(name) for result in results], counts) for name in carry),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=people_schema(num_keypoints, carry))


def _texts(values: Sequence[str | None], counts: Sequence[int]) -> pa.Array:
    """That of each picture, as often as it has people."""
    if all(value is None for value in values):
        return pa.nulls(sum(counts), pa.string())
    array = pa.array([None if value is None else as_unicode(value) for value in values], pa.string())
    return array.take(pa.array(np.repeat(np.arange(len(values)), counts)))


def _track_ids(result: PoseResult) -> np.ndarray:
    return np.full(len(result.instance_ids), NO_TRACK_ID) if result.track_ids is None else result.track_ids


def _joined(arrays: list[np.ndarray], dtype: type, *shape: int) -> np.ndarray:
    return np.concatenate([np.empty((0, *shape), dtype), *(array.reshape(-1, *shape) for array in arrays)], dtype=dtype)


def _lists(values: np.ndarray) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).ravel()), values.shape[1])


class People:
    """Some rows of people as arrays, and their results.

    Args:
        batch: rows of `people_schema`.
        num_keypoints: K.
        carry: what is carried along.
    """

    def __init__(self, batch: pa.RecordBatch | pa.Table, num_keypoints: int, carry: Sequence[str] = ()) -> None:
        def matrix(name: str, width: int) -> np.ndarray:
            return _numpy(pc.list_flatten(batch.column(name))).reshape(-1, width)

        self.instance_ids, self.bbox_scores = (_numpy(batch.column(name)) for name in ("instance_id", "bbox_score"))
        self.track_ids = _numpy(pc.fill_null(batch.column("track_id"), NO_TRACK_ID))
        self.bboxes = matrix("bbox", 4)
        self.x, self.y = matrix("keypoints_x", num_keypoints), matrix("keypoints_y", num_keypoints)
        self.scores = matrix("keypoint_scores", num_keypoints)
        self.carried = {name: batch.column(carried_column(name)) for name in carry}

    @classmethod
    def none(cls, num_keypoints: int, carry: Sequence[str] = ()) -> People:
        return cls(people_schema(num_keypoints, carry).empty_table(), num_keypoints, carry)

    def result(self, picture: dict[str, Any], rows: slice) -> PoseResult:
        """One picture's, of a row of `PICTURES` as a dict; its own memory, not a view."""
        return PoseResult(
            path=to_text(picture["path"]),
            keypoints=np.stack([self.x[rows], self.y[rows]], axis=2),
            keypoint_scores=self.scores[rows].copy(),
            bboxes=self.bboxes[rows].copy(),
            bbox_scores=self.bbox_scores[rows].copy(),
            instance_ids=self.instance_ids[rows].copy(),
            image_wh=None if picture["width"] is None else (picture["width"], picture["height"]),
            name=to_text(picture["name"]),
            failures=failures_of(picture),
            image_id=None if picture["image_id"] is None else int(picture["image_id"]),
            frame=frame_of(picture),
            track_ids=None if picture["video"] is None else self.track_ids[rows].copy(),
            member=None if picture["shard"] is None else ShardMember(*map(to_text, (picture["shard"], picture["key"]))),
            carried={
                name: column[rows.start].as_py() if rows.stop > rows.start else None
                for name, column in self.carried.items()
            },
        )


def _numpy(column: Any) -> np.ndarray:
    return column.to_numpy() if isinstance(column, pa.ChunkedArray) else column.to_numpy(zero_copy_only=False)


def frame_of(picture: dict[str, Any]) -> VideoFrame | None:
    """Which frame of a video a picture is; of a row of `PICTURES` as a dict."""
    if picture["video"] is None:
        return None
    return VideoFrame(to_text(picture["video"]), picture["frame"], picture["pts"], picture["seconds"])


def failures_of(picture: dict[str, Any]) -> tuple[Failure, ...]:
    """Why a picture, or some of its boxes, gave nothing; of a row of `PICTURES` as a dict."""
    name = to_text(picture["name"])
    whole = () if picture["error"] is None else (Failure(name, None, picture["error"], to_text(picture["message"])),)
    boxes = (Failure(name, row["instance_id"], row["error"], to_text(row["message"])) for row in picture["failures"])
    return (*whole, *boxes)
