"""From rows of a box file to each image's usable boxes.

A box source is called with an `ImageSource` and returns `BoxedImages`; those that read files are in
`box_files`. Boxes that hold nobody (no numbers, no area) become failures before they could take a
place in a batch.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torchvision.ops import nms

from sapiens_pl.data.sources import ImageSource
from sapiens_pl.errors import BoxError, ConfigError, MissingImageError
from sapiens_pl.structures import Failure, ImageFile, ImageTask

log = logging.getLogger(__name__)

BOX_FORMATS = ("xyxy", "xywh")
FARTHEST_PX = 1e7
"""No image is so large, and float32 geometry is still finite there."""
_Box = tuple[float, float, float, float]


class BoxedImages(NamedTuple):
    """The images with their usable boxes, and the boxes and images that cannot be used."""

    tasks: list[ImageTask]
    failures: list[Failure]


class DealtImages(NamedTuple):
    """The same from a box source that has dealt the images itself: only those that are left for this process.

    Of those it does not name, `num_done_before` and `num_failed_before` are of earlier runs; `num_without_boxes` are
    this process's, but nobody knows their boxes yet.
    """

    tasks: list[ImageTask]
    failures: list[Failure]
    num_done_before: int
    num_failed_before: int
    num_without_boxes: int


class BoxRow(NamedTuple):
    """One box as its file gives it: `image` is the file's own name for the picture."""

    image: str
    bbox: Any
    score: float | None
    instance_id: int | None


class WholeImage:
    """One box an image: all of it (`boxes=whole_image`)."""

    def __call__(self, source: ImageSource) -> BoxedImages:
        one, first = np.ones(1), np.zeros(1, np.int64)
        return BoxedImages([ImageTask(file.name, file.path, None, one, first) for file in source.files], [])


class BoxRules:
    """How the rows of a box file become boxes.

    Args:
        format: `xyxy` or `xywh`, image px.
        score_threshold: rows with a lower score are left out; rows without a score stay.
        nms_threshold: of two scored boxes of one image that overlap by a larger IoU only the better
            stays; None keeps all.
        exif: `upright` if the boxes live in the picture as viewers show it, `raw` if in the file's
            pixels before its EXIF orientation.
    """

    def __init__(self, format: str, score_threshold: float, nms_threshold: float | None, exif: str) -> None:
        if format not in BOX_FORMATS:
            raise ConfigError(f"boxes.format={format} is not known; choose one of {', '.join(BOX_FORMATS)}.")
        if exif not in ("upright", "raw"):
            raise ConfigError(f"boxes.exif={exif} is not known; choose upright or raw.")
        for key, value in (("score_threshold", score_threshold), ("nms_threshold", nms_threshold)):
            if not isinstance(value, (int, float)) and not (key == "nms_threshold" and value is None):
                raise ConfigError(f"boxes.{key}={value} must be a number.")
        self.format, self.exif = format, exif
        self.score_threshold, self.nms_threshold = score_threshold, nms_threshold

    def apply(self, file: ImageFile, rows: Sequence[BoxRow]) -> tuple[ImageTask, list[Failure]]:
        """One image's rows, in the order of the file, as a task and the rows that cannot be used."""
        # Plain floats: for the few boxes of an image, numpy would take ten times as long.
        failures = []
        ids: list[int] = []
        boxes: list[_Box] = []
        scores: list[float | None] = []
        for position, row in enumerate(rows):
            instance_id = position if row.instance_id is None else row.instance_id
            box = _to_xyxy(row.bbox, self.format)
            complaint = _complaint(box, row)
            if box is None or complaint:
                message = f"Box {instance_id} of {file.path} {complaint}; correct it in the box file."
                failures.append(Failure(file.name, instance_id, BoxError.__name__, message))
            elif row.score is None or row.score >= self.score_threshold:
                ids.append(instance_id)
                boxes.append(box)
                scores.append(row.score)
        bboxes_xyxy = np.array(boxes, np.float64).reshape(-1, 4)
        bbox_scores = np.array([1.0 if score is None else score for score in scores], np.float64)
        instance_ids = np.array(ids, np.int64)
        if self.nms_threshold is not None and len(boxes) > 1 and None not in scores:
            kept = nms(torch.from_numpy(bboxes_xyxy), torch.from_numpy(bbox_scores), self.nms_threshold)
            rows_kept = np.sort(kept.numpy())
            bboxes_xyxy, bbox_scores = bboxes_xyxy[rows_kept], bbox_scores[rows_kept]
            instance_ids = instance_ids[rows_kept]
        return ImageTask(file.name, file.path, bboxes_xyxy, bbox_scores, instance_ids, self.exif == "raw"), failures


def _to_xyxy(bbox: Any, format: str) -> _Box | None:
    """Four floats, or None where there are no four numbers."""
    if isinstance(bbox, (str, dict)):  # "1234" is no list of four
        return None
    try:
        one, two, three, four = map(float, bbox)
    except (TypeError, ValueError, OverflowError):
        return None
    return (one, two, three, four) if format == "xyxy" else (one, two, one + three, two + four)


def _complaint(box: _Box | None, row: BoxRow) -> str | None:
    if box is None or not all(map(math.isfinite, box)):
        return f"is {json.dumps(row.bbox, default=str)[:80]}, not four finite numbers"
    if max(map(abs, box)) > FARTHEST_PX:
        return "reaches farther than any image"
    if row.score is not None and not math.isfinite(row.score):
        return "has a score that is no finite number"
    left, top, right, bottom = box
    if right < left or bottom < top:
        return "is inverted (its right or lower side comes before the left or upper one)"
    if right == left or bottom == top:
        return "has no area"
    return None


def assign_boxes(
    source: ImageSource, rows: Sequence[BoxRow], listed: Sequence[str], rules: BoxRules, box_file: str
) -> BoxedImages:
    """Brings rows and images together; every name without an image is accounted for."""
    finder = _ImageFinder(source)
    rows_of: dict[int, list[BoxRow]] = {}
    lost: dict[str, None] = {}
    for row in rows:
        index = finder.find(row.image)
        if index is None:
            lost[row.image] = None
        else:
            rows_of.setdefault(index, []).append(row)
    for name in listed:
        if finder.find(name) is None:
            lost[name] = None
    tasks: list[ImageTask] = []
    failures: list[Failure] = []
    for index, file in enumerate(source.files):
        task, complaints = rules.apply(file, rows_of.get(index, []))
        tasks.append(task)
        failures += complaints
    if source.complete:
        failures += [_missing(name, source, box_file) for name in lost]
    elif lost:
        log.warning("%s also names %d images that data.images leaves out.", box_file, len(lost))
    return BoxedImages(tasks, failures)


def _missing(name: str, source: ImageSource, box_file: str) -> Failure:
    message = f"{box_file} names {name}, which is not below {source.root}; add it or correct the box file."
    return Failure(name, None, MissingImageError.__name__, message)


class _ImageFinder:
    """Finds the image that a box file means: by name, by path, or by the only path that ends alike."""

    def __init__(self, source: ImageSource) -> None:
        self._names = {file.name: index for index, file in enumerate(source.files)}
        self._paths = {file.path: index for index, file in enumerate(source.files)}
        self._bases: dict[str, list[int]] = {}
        for index, file in enumerate(source.files):
            self._bases.setdefault(os.path.basename(file.name), []).append(index)
        self._files = source.files

    def find(self, key: str) -> int | None:
        name = os.path.normpath(key)
        found = self._names.get(name)
        if found is None:
            found = self._paths.get(os.path.abspath(key))
        if found is not None:
            return found
        parts = name.split(os.sep)
        alike = [
            index
            for index in self._bases.get(parts[-1], [])
            if _same_ending(parts, self._files[index].name.split(os.sep))
        ]
        return alike[0] if len(alike) == 1 else None


def _same_ending(one: list[str], other: list[str]) -> bool:
    shorter = min(len(one), len(other))
    return one[-shorter:] == other[-shorter:]
