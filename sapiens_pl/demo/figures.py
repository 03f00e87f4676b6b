"""Calibration figures: stick people drawn on varied backgrounds, with exactly known keypoints.

Every limb has one fixed colour, left and right apart, so that a small network can learn to read
them from drawings alone. They replace photographs where no weights can be fetched: they show
that the way from file to keypoint is right, and nothing about real people.

Legend: N figures, K = 17 COCO keypoints; all coordinates are image px, xy.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

NUM_KEYPOINTS = 17
_SUBPIXEL_BITS = 4

# Drawn in this order, the nearer limb over the farther one: (keypoint, keypoint, BGR colour).
_LIMBS: tuple[tuple[int, int, tuple[int, int, int]], ...] = (
    (11, 12, (150, 150, 150)),
    (5, 11, (220, 200, 60)),
    (6, 12, (60, 60, 160)),
    (5, 6, (235, 235, 235)),
    (11, 13, (230, 60, 20)),
    (13, 15, (250, 160, 90)),
    (12, 14, (20, 20, 220)),
    (14, 16, (110, 130, 255)),
    (5, 7, (60, 190, 40)),
    (7, 9, (120, 250, 170)),
    (6, 8, (20, 130, 250)),
    (8, 10, (60, 220, 255)),
)
_SKIN = (170, 200, 235)
_FACE_DOTS = ((0, (40, 40, 40)), (1, (230, 60, 20)), (2, (20, 20, 220)), (3, (60, 190, 40)), (4, (20, 130, 250)))


class Scene(NamedTuple):
    """One drawing and what is in it.

    `image` (H, W, 3) uint8 BGR; `keypoints` (N, K, 2) float64; `visible` (N, K) bool, inside the
    frame and not covered by another figure; `bboxes_xyxy` (N, 4) float64, the drawn figure cut at
    the frame.
    """

    image: np.ndarray
    keypoints: np.ndarray
    visible: np.ndarray
    bboxes_xyxy: np.ndarray


class Posture(NamedTuple):
    """How a figure stands; angles in rad, those of limbs outwards, each limb's relative to what it hangs on.

    `turn` of the whole figure, clockwise; `facing` (-1 to 1, not 0) is how broad it stands: below 0 its left is on the
    picture's left; `arms` and `legs` are (left upper, left lower, right upper, right lower); `tilt` of the head against
    the figure, `look` where its nose is in it, in torso lengths; `stretch` of its height.
    """

    turn: float
    facing: float
    arms: tuple[float, float, float, float]
    legs: tuple[float, float, float, float]
    tilt: float
    look: float
    stretch: float


def draw_scene(rng: np.random.Generator, width: int, height: int, num_figures: int) -> Scene:
    """Draws `num_figures` random figures; the same generator state gives the same scene.

    A figure of which less than a third of the keypoints would show is drawn again somewhere else.
    """
    image = background(rng, width, height)
    poses: list[np.ndarray] = []
    boxes: list[np.ndarray] = []
    for _ in range(num_figures):
        pose, box = _place_figure(rng, width, height, num_figures, boxes)
        poses.append(pose)
        boxes.append(box)
    scene = draw_figures(image, poses)
    if rng.random() < 0.5:
        noise = rng.normal(0, rng.uniform(2, 12), image.shape)
        scene = scene._replace(image=np.clip(image + noise, 0, 255).astype(np.uint8))
    return scene


def draw_figures(image: np.ndarray, poses: Sequence[np.ndarray]) -> Scene:
    """Draws figures into a picture, the farthest first.

    Args:
        image: (H, W, 3) uint8 BGR; the scene's picture is this one.
        poses: (K, 2) each.
    """
    height, width = image.shape[:2]
    owner = np.full((height, width), -1, np.int16)
    for index, pose in enumerate(poses):
        _draw_figure(image, owner, pose, index)
    keypoints = np.array(poses).reshape(-1, NUM_KEYPOINTS, 2)
    boxes = [_box_of(pose, width, height) for pose in poses]
    return Scene(image, keypoints, _visibility(owner, keypoints), np.array(boxes).reshape(-1, 4))


def _place_figure(
    rng: np.random.Generator, width: int, height: int, num_figures: int, taken: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """A pose and its box; after 30 tries it may cover more of its neighbours than it should."""
    crowding = 1 / np.sqrt(max(num_figures, 1))
    for attempt in itertools.count():
        pose = _random_pose(rng)
        longest = min(width, height) * rng.uniform(0.15 + 0.45 * crowding, 0.3 + 0.75 * crowding)
        pose *= longest / np.ptp(pose, axis=0).max()
        middle = rng.uniform(0.12, 0.88, 2) * (width, height)
        pose += middle - (pose.min(axis=0) + pose.max(axis=0)) / 2
        shown = np.all((pose >= 0) & (pose <= (width - 1, height - 1)), axis=1).mean()
        box = _box_of(pose, width, height)
        large = np.all(box[2:] - box[:2] >= 12)
        if shown >= 1 / 3 and large and (attempt > 30 or _largest_cover(box, taken) < 0.3):
            return pose, box
    raise AssertionError("unreachable")


def _box_of(pose: np.ndarray, width: int, height: int) -> np.ndarray:
    margin, last = _line_width(pose), (width - 1, height - 1)
    return np.concatenate([np.clip(pose.min(axis=0) - margin, 0, last), np.clip(pose.max(axis=0) + margin, 0, last)])


def _largest_cover(box: np.ndarray, others: list[np.ndarray]) -> float:
    """The largest part of the smaller of two boxes that the other covers."""
    cover = 0.0
    for other in others:
        sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
        smaller = min(np.prod(box[2:] - box[:2]), np.prod(other[2:] - other[:2]))
        cover = max(cover, float(np.prod(np.maximum(sides, 0)) / smaller))
    return cover


def _random_pose(rng: np.random.Generator) -> np.ndarray:
    """Keypoints of one figure around the origin, in lengths of its torso; y points down."""
    turn = rng.normal(0, 0.35)
    facing = rng.uniform(0.55, 1.0) * rng.choice([-1.0, 1.0], p=[0.25, 0.75])
    limits = ((-0.3, 2.7), (-0.4, 2.2), (-0.35, 1.3), (-0.2, 1.4))
    left = [rng.uniform(*each) for each in limits]
    right = [rng.uniform(*each) for each in limits]
    arms, legs = (left[0], left[1], right[0], right[1]), (left[2], left[3], right[2], right[3])
    posture = Posture(turn, facing, arms, legs, rng.normal(0, 0.25), rng.uniform(-0.07, 0.07), rng.uniform(0.9, 1.1))
    return pose_of(posture)


def pose_of(posture: Posture) -> np.ndarray:
    """(K, 2) keypoints of a figure, the middle of its hips at the origin, in lengths of its torso; y points down."""
    turn, facing, arms, legs = posture.turn, posture.facing, posture.arms, posture.legs
    right, up = _rotated((1.0, 0.0), turn), _rotated((0.0, -1.0), turn)
    pose = np.zeros((NUM_KEYPOINTS, 2))
    shoulder, hip = 0.34 * facing * right, 0.24 * facing * right
    pose[5], pose[6] = up + shoulder, up - shoulder
    pose[11], pose[12] = hip, -hip
    for first, side, (shoulder_at, hip_at) in ((0, 1, (5, 11)), (2, -1, (6, 12))):
        out = side * np.sign(facing)
        arm = turn - out * arms[first]
        forearm = arm - out * arms[first + 1]
        thigh = turn - out * legs[first]
        shin = thigh + out * legs[first + 1]
        pose[shoulder_at + 2] = pose[shoulder_at] + 0.58 * _rotated((0, 1), arm)
        pose[shoulder_at + 4] = pose[shoulder_at + 2] + 0.54 * _rotated((0, 1), forearm)
        pose[hip_at + 2] = pose[hip_at] + 0.8 * _rotated((0, 1), thigh)
        pose[hip_at + 4] = pose[hip_at + 2] + 0.76 * _rotated((0, 1), shin)
    tilt, look = turn + posture.tilt, posture.look
    across, top = _rotated((1, 0), tilt), _rotated((0, -1), tilt)
    head = up * 1.15 + 0.24 * top
    pose[0] = head + look * across - 0.03 * top
    pose[1], pose[2] = (
        head + (look + 0.09 * facing) * across + 0.08 * top,
        head + (look - 0.09 * facing) * across + 0.08 * top,
    )
    pose[3], pose[4] = head + 0.21 * facing * across, head - 0.21 * facing * across
    return pose * (1, posture.stretch)


def _rotated(vector: tuple[float, float], angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([cos * vector[0] - sin * vector[1], sin * vector[0] + cos * vector[1]])


def _torso_length(pose: np.ndarray) -> float:
    return float(np.linalg.norm(pose[5:7].mean(axis=0) - pose[11:13].mean(axis=0)))


def _line_width(pose: np.ndarray) -> float:
    return max(2.0, 0.13 * _torso_length(pose))


def _fixed(point: np.ndarray) -> tuple[int, int]:
    x, y = np.rint(point * (1 << _SUBPIXEL_BITS)).astype(int)
    return int(x), int(y)


def _draw_figure(image: np.ndarray, owner: np.ndarray, pose: np.ndarray, index: int) -> None:
    torso = _torso_length(pose)
    thickness = round(_line_width(pose))
    head = pose[3:5].mean(axis=0)
    radius = max(3.0, 0.25 * torso)
    for canvas, paint in ((image, lambda colour: colour), (owner, lambda _: index)):
        line_type = cv2.LINE_AA if canvas is image else cv2.LINE_8
        for start, end, colour in _LIMBS:
            cv2.line(
                canvas, _fixed(pose[start]), _fixed(pose[end]), paint(colour), thickness, line_type, _SUBPIXEL_BITS
            )
        neck = pose[5:7].mean(axis=0)
        cv2.line(canvas, _fixed(neck), _fixed(head), paint(_SKIN), thickness, line_type, _SUBPIXEL_BITS)
        cv2.circle(canvas, _fixed(head), int(radius * 16), paint(_SKIN), -1, line_type, _SUBPIXEL_BITS)
        for keypoint, colour in _FACE_DOTS:
            dot = int(max(1.0, 0.05 * torso) * 16)
            cv2.circle(canvas, _fixed(pose[keypoint]), dot, paint(colour), -1, line_type, _SUBPIXEL_BITS)


def _visibility(owner: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    height, width = owner.shape
    cells = np.rint(keypoints).astype(int)
    inside = (cells >= 0).all(axis=2) & (cells[..., 0] < width) & (cells[..., 1] < height)
    at = owner[np.clip(cells[..., 1], 0, height - 1), np.clip(cells[..., 0], 0, width - 1)]
    return inside & (at == np.arange(len(keypoints))[:, None])


def background(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """(height, width, 3) uint8 BGR: colours, patches and things that are not figures."""
    corners = rng.uniform(0, 255, (2, 2, 3)).astype(np.float32)
    canvas: np.ndarray = cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.6:
        cells = rng.normal(0, rng.uniform(5, 40), (rng.integers(2, 24), rng.integers(2, 24), 3))
        canvas = canvas + cv2.resize(cells.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    image = np.ascontiguousarray(np.clip(canvas, 0, 255).astype(np.uint8))
    for _ in range(rng.integers(0, 10)):
        _draw_clutter(rng, image)
    return image


def _draw_clutter(rng: np.random.Generator, image: np.ndarray) -> None:
    height, width = image.shape[:2]
    colour = tuple(int(c) for c in rng.integers(0, 256, 3))
    start, end = ((int(rng.integers(0, width)), int(rng.integers(0, height))) for _ in range(2))
    kind = rng.integers(0, 3)
    if kind == 0:
        cv2.line(image, start, end, colour, int(rng.integers(1, max(2, width // 40) + 1)), cv2.LINE_AA)
    elif kind == 1:
        cv2.rectangle(image, start, end, colour, -1 if rng.random() < 0.5 else 2)
    else:
        axes = (int(rng.integers(3, width // 3 + 4)), int(rng.integers(3, height // 3 + 4)))
        cv2.ellipse(image, start, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1 if rng.random() < 0.5 else 2)
