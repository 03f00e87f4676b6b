"""People who walk through a drawn video, with known truth: boxes, COCO's keypoints, and who is who."""

from __future__ import annotations

import numpy as np

from sapiens_pl.core.structures import NO_TRACK_ID, PoseResult, VideoFrame
from sapiens_pl.models.keypoint_sets import our_set

COCO_17 = our_set("coco_17")
WIDTH, HEIGHT = 60.0, 160.0
_PLACES = np.random.default_rng(3).uniform(0.05, 0.95, (17, 2))
"""Of the keypoints in their box."""


def frame(index: int, seconds: float, centers: np.ndarray, **changes) -> PoseResult:
    """A frame of `walk.mp4` with a person at each of the (N, 2) centres, px."""
    corners = np.asarray(centers, float).reshape(-1, 2) - (WIDTH / 2, HEIGHT / 2)
    count = len(corners)
    result = PoseResult(
        path="walk.mp4",
        keypoints=(corners[:, None] + _PLACES * (WIDTH, HEIGHT)).astype(np.float32),
        keypoint_scores=np.full((count, 17), 0.9, np.float32),
        bboxes=np.concatenate([corners, corners + (WIDTH, HEIGHT)], axis=1),
        bbox_scores=np.ones(count),
        instance_ids=np.arange(count),
        image_wh=(1280, 720),
        name=f"walk.mp4/walk_{index:012}",
        failures=(),
        keypoint_set=COCO_17,
        frame=VideoFrame("walk.mp4", index, index * 512, seconds),
        track_ids=np.full(count, NO_TRACK_ID),
    )
    return result._replace(**changes)


def without(result: PoseResult, row: int) -> PoseResult:
    """The frame without that person."""
    fields = ("keypoints", "keypoint_scores", "bboxes", "bbox_scores", "instance_ids", "track_ids")
    return result._replace(**{field: np.delete(getattr(result, field), row, axis=0) for field in fields})


def walk(fps: float, num_seconds: float = 4.0) -> list[PoseResult]:
    """Three people: one stands, two walk past each other."""
    times = np.arange(0, num_seconds, 1 / fps)
    places = [[(100, 300), (200 + 150 * t, 300), (1000 - 150 * t, 320)] for t in times]
    return [frame(index, float(t), np.array(p)) for index, (t, p) in enumerate(zip(times, places))]
