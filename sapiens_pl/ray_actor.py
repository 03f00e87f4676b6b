"""Poses in a Ray Data pipeline: rows with pictures in, the same rows with poses out (docs/many-machines.md)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from sapiens_pl.core.errors import SapiensError
from sapiens_pl.core.settings import check, one_of, whole_number
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.data.python_images import ImageLike
from sapiens_pl.estimator import PoseEstimator
from sapiens_pl.pictures import MAX_MEGAPIXELS
from sapiens_pl.pictures.header import read_header
from sapiens_pl.pictures.orientation import upright
from sapiens_pl.pictures.pixels import decode

COLUMNS = {
    "keypoints": pa.list_(pa.list_(pa.list_(pa.float32()))),
    "keypoint_scores": pa.list_(pa.list_(pa.float32())),
    "bboxes": pa.list_(pa.list_(pa.float64())),
    "bbox_scores": pa.list_(pa.float64()),
    "instance_ids": pa.list_(pa.int64()),
    "error": pa.string(),
}
"""The columns that a row gets: of its N people (N, K, 2) keypoints, xy, (N, K) scores, (N, 4) boxes, xyxy, all in
image px, (N,)
box scores, (N,) which of the row's boxes each is; `error`: what is wrong with the picture or its boxes, else null."""

_KINDS = {"arrays": one_of("rgb", "bgr"), "batch_size": whole_number(1)}


class PoseActor:
    """A network on one device, in the form for `ray.data.Dataset.map_batches`: built once in each actor, called by
    batch.

    Args:
        checkpoint: as for `PoseEstimator.from_checkpoint`.
        image: the column of the pictures: their files' bytes, paths, or (H, W, 3) uint8 arrays.
        boxes: the column of (N, 4) boxes, xyxy in image px; None: every picture whole. A null asks for the whole one.
        batch_size: crops a forward pass.
        arrays: the order of the arrays' channels, `rgb` (Ray's own readers) or `bgr` (OpenCV).
        keep_image: leave the column of the pictures in the rows.
        **network: options of `PoseEstimator.from_checkpoint`.

    Raises:
        CheckpointError, ConfigError: as `PoseEstimator.from_checkpoint`.
    """

    def __init__(
        self,
        checkpoint: str,
        *,
        image: str = "bytes",
        boxes: str | None = None,
        batch_size: int = 16,
        arrays: str = "rgb",
        keep_image: bool = False,
        **network: Any,
    ) -> None:
        self._image, self._boxes, self._batch_size, self._keep = image, boxes, batch_size, keep_image
        check(
            {"arrays": one_of("rgb", "bgr"), "batch_size": whole_number(1)},
            {"arrays": arrays, "batch_size": batch_size},
        )
        self._channels = slice(None, None, -1) if arrays == "rgb" else slice(None)
        self._estimator = PoseEstimator.from_checkpoint(checkpoint, **network)

    def __call__(self, batch: Mapping[str, Any]) -> pa.Table:
        """The rows, in their order, with `COLUMNS`; an error in a row does not affect others.

        Args:
            batch: NumPy arrays (or lists) of one length by the names of their columns.
        """
        images, errors = _pairs(map(self._picture, batch[self._image]))
        boxes, faults = _pairs(map(_bboxes_xyxy, batch[self._boxes] if self._boxes else [None] * len(images)))
        good = [index for index, image in enumerate(images) if image is not None and faults[index] is None]
        results = self._estimator.predict([images[i] for i in good], [boxes[i] for i in good], self._batch_size)
        rows = [_row(None, error or fault) for error, fault in zip(errors, faults)]
        for index, result in zip(good, results):
            rows[index] = _row(result, " ".join(failure.message for failure in result.failures) or None)
        kept = {name: _arrow(column) for name, column in batch.items() if self._keep or name != self._image}
        return pa.table(kept | {name: pa.array([row[name] for row in rows], kind) for name, kind in COLUMNS.items()})

    def _picture(self, cell: Any) -> tuple[ImageLike | None, str | None]:
        """What the estimator takes, or why there is nothing to take."""
        if isinstance(cell, bytes | bytearray | memoryview):
            try:
                header = read_header(bytes(cell), MAX_MEGAPIXELS)
                return upright(decode(bytes(cell), header), header.orientation), None
            except SapiensError as error:
                return None, f"The picture {error}"
            except MemoryError:
                return None, "The picture needs more memory than there is to decode."
        if isinstance(cell, np.ndarray):
            return (cell[..., self._channels] if cell.ndim == 3 and cell.shape[2] == 3 else cell), None
        if isinstance(cell, str | os.PathLike):
            return cell, None
        return None, f"The column {self._image} holds {type(cell).__name__}, not bytes, a path or an array."


def _pairs(pairs: Iterable[tuple[Any, str | None]]) -> tuple[list[Any], list[str | None]]:
    """The first ones, and the second ones."""
    listed = list(pairs)
    return [first for first, _ in listed], [second for _, second in listed]


def _row(result: PoseResult | None, error: str | None) -> dict[str, Any]:
    """A row's new cells; no people if there is no result."""
    if result is None:
        return dict.fromkeys(COLUMNS) | {name: [] for name in COLUMNS if name != "error"} | {"error": error}
    return {name: getattr(result, name).tolist() for name in COLUMNS if name != "error"} | {"error": error}


def _bboxes_xyxy(cell: Any) -> tuple[np.ndarray | None, str | None]:
    """(N, 4) boxes, None for the whole picture, or what is wrong with them."""
    if cell is None:
        return None, None
    try:
        boxes = np.array([list(box) for box in cell], np.float64)
    except (TypeError, ValueError):
        boxes = np.zeros(1)
    if len(boxes) and boxes.shape[1:] != (4,):
        return None, "The boxes are not (N, 4) numbers, xyxy in image px."
    return boxes.reshape(-1, 4), None


def _arrow(column: Any) -> pa.Array:
    """A column that is carried along."""
    if isinstance(column, np.ndarray) and column.ndim == 1 and column.dtype != object:
        return pa.array(column)
    return pa.array([cell.tolist() if isinstance(cell, np.ndarray) else cell for cell in column])
