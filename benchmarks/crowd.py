"""A drawn crowd: eight people who cross each other, with known truth, and what a detector and a network make of it.

Legend: T frames, P people, N detections, K = 17 keypoints of COCO.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sapiens_pl.core.structures import NO_TRACK_ID, PoseResult, VideoFrame
from sapiens_pl.models.keypoint_sets import our_set

COCO_17 = our_set("coco_17")
_WH = np.array([1280.0, 720.0])
_STRIDES_A_SECOND = 0.9
_MEAN_LIMBS = np.array(  # x and y of each keypoint in a box of one by one, arms and legs hanging
    [(0.5, 0.07), (0.53, 0.05), (0.47, 0.05), (0.57, 0.07), (0.43, 0.07), (0.65, 0.2), (0.35, 0.2), (0.7, 0.36)]
    + [(0.3, 0.36), (0.72, 0.5), (0.28, 0.5), (0.6, 0.52), (0.4, 0.52), (0.6, 0.75), (0.4, 0.75), (0.6, 0.96)]
    + [(0.4, 0.96)]
)
_SWINGS = np.array([0] * 7 + [-0.15, 0.15, -0.3, 0.3, 0, 0, 0.2, -0.2, 0.4, -0.4])  # of a box's width, in step


class Truth(NamedTuple):
    """`seconds` (T,), `bboxes` (T, P, 4) xyxy and `keypoints` (T, P, K, 2), image px; `hidden` (T, P) parts 0 to 1."""

    seconds: np.ndarray
    bboxes: np.ndarray
    keypoints: np.ndarray
    hidden: np.ndarray


def crowd(fps: float, num_seconds: float = 20.0, num_people: int = 8, seed: int = 0) -> Truth:
    """People who walk to and fro along a street, at several distances, so that near ones hide others."""
    rng = np.random.default_rng(seed)
    seconds = np.arange(0, num_seconds, 1 / fps)
    near = np.sort(rng.uniform(0.3, 1.0, num_people))
    heights = 340 * near
    span, phase = rng.uniform(250, 520, num_people), rng.uniform(0, 2 * np.pi, num_people)
    pace = rng.uniform(0.5, 0.9, num_people) * heights / span  # at most so many heights a second
    x = _WH[0] / 2 + span * np.sin(phase + pace * seconds[:, None]) + 20 * np.sin(3.1 * phase + 0.8 * seconds[:, None])
    y = 200 + 200 * near + 15 * np.sin(2.3 * phase + 0.5 * seconds[:, None])
    sizes = np.stack([0.38 * heights, heights], axis=1)
    centers = np.stack([x, y], axis=2)
    bboxes = np.concatenate([centers - sizes / 2, centers + sizes / 2], axis=2)
    step = np.sin(2 * np.pi * _STRIDES_A_SECOND * seconds[:, None] * rng.uniform(0.8, 1.2, num_people) + 5 * phase)
    limbs = np.tile(_MEAN_LIMBS, (len(seconds), num_people, 1, 1))
    limbs[..., 0] += step[:, :, None] * _SWINGS
    keypoints = bboxes[:, :, None, :2] + limbs * sizes[:, None]
    return Truth(seconds, bboxes, keypoints, _hidden(bboxes))


def _hidden(bboxes: np.ndarray) -> np.ndarray:
    """(T, P): how much of each box the nearest of those before it covers; later ones are nearer."""
    hidden = np.zeros(bboxes.shape[:2])
    for person in range(bboxes.shape[1]):
        for other in range(person + 1, bboxes.shape[1]):
            one, nearer = bboxes[:, person], bboxes[:, other]
            sides = np.minimum(one[:, 2:], nearer[:, 2:]) - np.maximum(one[:, :2], nearer[:, :2])
            part = np.maximum(sides, 0).prod(axis=1) / (one[:, 2:] - one[:, :2]).prod(axis=1)
            hidden[:, person] = np.maximum(hidden[:, person], part)
    return hidden


def seen(truth: Truth, seed: int = 1) -> list[PoseResult]:
    """What is found of it: noise, people missed or unlikely where they are hidden, and boxes with nobody in them."""
    rng = np.random.default_rng(seed)
    return [_seen(truth, index, rng) for index in range(len(truth.seconds))]


def _seen(truth: Truth, index: int, rng: np.random.Generator) -> PoseResult:
    hidden, bboxes = truth.hidden[index], truth.bboxes[index]
    is_found = rng.random(len(hidden)) > 0.04 + 0.7 * np.clip((hidden - 0.5) / 0.4, 0, 1)
    people = np.flatnonzero(is_found)
    heights = (bboxes[people, 3] - bboxes[people, 1])[:, None]
    found = bboxes[people] + rng.normal(0, 0.02, (len(people), 4)) * heights
    scores = np.clip(0.92 - 0.6 * hidden[people] + rng.normal(0, 0.08, len(people)), 0.05, 1.0)
    keypoints = truth.keypoints[index, people].copy()
    for row, person in enumerate(people):  # the network takes the one in front for the one behind
        behind = hidden[person] > 0.6 and rng.random() < 0.5
        if behind:
            keypoints[row] = truth.keypoints[index, _in_front(bboxes, person)]
    keypoints += rng.normal(0, 0.012, keypoints.shape) * heights[:, :, None]
    num_false = rng.poisson(0.15)
    corners, sides = rng.uniform(0, 0.8, (num_false, 2)) * _WH, rng.uniform(40, 260, (num_false, 1)) * [0.4, 1.0]
    wrong = np.concatenate([corners, corners + sides], axis=1)
    limbs = corners[:, None] + rng.random((num_false, 17, 2)) * sides[:, None]
    count = len(people) + num_false
    return PoseResult(
        path="crowd.mp4",
        keypoints=np.concatenate([keypoints, limbs]).astype(np.float32),
        keypoint_scores=np.full((count, 17), 0.8, np.float32),
        bboxes=np.concatenate([found, wrong]),
        bbox_scores=np.concatenate([scores, rng.uniform(0.3, 0.65, num_false)]),
        instance_ids=np.arange(count),
        image_wh=(1280, 720),
        name=f"crowd.mp4/crowd_{index:012}",
        failures=(),
        keypoint_set=COCO_17,
        frame=VideoFrame("crowd.mp4", index, index, float(truth.seconds[index])),
        track_ids=np.full(count, NO_TRACK_ID),
    )


def _in_front(bboxes: np.ndarray, person: int) -> int:
    centers = (bboxes[:, 0] + bboxes[:, 2]) / 2
    nearer = np.arange(person + 1, len(bboxes))
    return int(nearer[np.argmin(np.abs(centers[nearer] - centers[person]))])
