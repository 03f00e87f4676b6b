"""What a demo run prints at its end: how accurate it was, compared with what was drawn.

Legend: N figures of a picture, K keypoints; coordinates in image px.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sapiens_pl.core.protocols import Records
from sapiens_pl.core.structures import NO_TRACK_ID, PoseResult
from sapiens_pl.demo.accuracy import accuracy_line, identity_line, pairs, recall_line
from sapiens_pl.demo.figures import NUM_KEYPOINTS


class DrawnPicture(NamedTuple):
    """`boxes` (N, 4) xyxy; `keypoints` (N, K, 3) as [x, y, visible]; `figures` (N,), in a film, who each is."""

    boxes: np.ndarray
    keypoints: np.ndarray
    figures: list[int] | None


class Truth(dict[str, DrawnPicture]):
    """What was drawn, by the pictures' names."""

    @classmethod
    def read(cls, file: Path) -> Truth:
        entries = json.loads(file.read_text("utf-8"))
        return cls({entry["image"]: _picture(entry) for entry in entries})

    @property
    def is_film(self) -> bool:
        return any(picture.figures is not None for picture in self.values())


def _picture(entry: dict) -> DrawnPicture:
    boxes, keypoints = np.array(entry["bboxes"]), np.array(entry["keypoints"])
    return DrawnPicture(boxes.reshape(-1, 4), keypoints.reshape(-1, NUM_KEYPOINTS, 3), entry.get("figures"))


def tell(records: Records, truth: Truth, boxes_by_detector: bool, demo_poses: bool) -> None:
    """Prints what the demo was, how accurate, and how to use a real model.

    Args:
        records: of the run, with track ids if it has any.
        truth: what was drawn in its pictures.
        boxes_by_detector: the boxes are of the demo's detector.
        demo_poses: the boxes are those drawn, in their order, and the poses the demo network's.
    """
    if boxes_by_detector:
        found = {result.name: result.bboxes for result in records.results(truth)}
        drawn = {name: picture.boxes for name, picture in truth.items()}
        print(f"\nDemo: a small detector, trained on drawn calibration figures only.\n{recall_line(found, drawn)}")
        if truth.is_film:
            _tell_identity(records, truth)
        print(
            "For people in photographs: boxes.model=NAME, and model.checkpoint=FILE (a published Sapiens checkpoint)."
        )
    if demo_poses:
        line = _pose_line(records, truth)
        if line is None:
            return
        print(f"\nDemo: a small network of Sapiens' architecture, trained on drawn calibration figures only.\n{line}")
        if truth.is_film:
            _tell_identity(records, truth)
        print(
            "For people in photographs: model=NAME (python -m sapiens_pl.models lists them) or model.checkpoint=FILE."
        )


def _pose_line(records: Records, truth: Truth) -> str | None:
    found, drawn, sides = [], [], []
    for result in records.results(truth):
        for instance_id, keypoints, bbox in zip(result.instance_ids.tolist(), result.keypoints, result.bboxes):
            found.append(keypoints)
            drawn.append(truth[result.name].keypoints[instance_id])
            sides.append(max(bbox[2] - bbox[0], bbox[3] - bbox[1]))
    if not found:
        return None
    expected = np.array(drawn)
    return accuracy_line(np.array(found), expected[..., :2], expected[..., 2] > 0, np.array(sides))


def _tell_identity(records: Records, truth: Truth) -> None:
    named = [pair for video in records.videos() for pair in _named(records.frames_of(video), truth)]
    if named:
        print(identity_line(named))


def _named(results: Iterator[PoseResult], truth: Truth) -> Iterator[tuple[int, int]]:
    """A figure and its id, for each that was found and has one."""
    for result in results:
        picture = truth.get(result.name)
        if picture is None or picture.figures is None or result.track_ids is None:
            continue
        for row, column in pairs(result.bboxes, picture.boxes):
            if result.track_ids[row] != NO_TRACK_ID:
                yield picture.figures[column], int(result.track_ids[row])
