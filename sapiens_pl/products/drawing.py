"""Drawing people on photographs and on the frames of videos.

Legend: K keypoints; coordinates in px of the picture drawn on.
"""

from __future__ import annotations

import colorsys
from collections.abc import Collection
from typing import NamedTuple

import cv2
import numpy as np

from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.products.subpixels import SUBPIXEL_BITS, fixed

Colour = tuple[int, int, int]
LEFT_BGR, RIGHT_BGR, MIDDLE_BGR, OUTLINE_BGR = (80, 200, 60), (40, 120, 255), (255, 190, 60), (30, 30, 30)
BOX_BGR = (230, 230, 230)
LINE_PER_IMAGE = 1 / 300
"""Line width as a part of the image's longer side."""
_LINE_PER_PERSON = 1 / 50
"""The same of a box's longer side, where that is less."""
_LINE_PER_PART = 1 / 25
"""The same of a hand's or a face's longer side, where that is less."""
_FINE_PARTS = ("left_hand", "right_hand", "face")
_SMALL_SET = 32
"""Sets with more keypoints have smaller points."""
_OUTLINED_FROM = 1.5
"""px; thinner lines have no dark edge, which would cover them."""
_GOLDEN = 0.618034
"""Fraction of the colour circle: neighbouring ids get very different colours, however many there are."""


class Pen(NamedTuple):
    """How a person is drawn.

    Attributes:
        width: of lines, px.
        score_threshold: keypoints with a lower score are not drawn.
        colour: of the box and of the lines; None: green on the person's left, orange on the right, blue between.
        chosen: (K,) bool, the keypoints that are drawn at all; None: all of them.
    """

    width: float
    score_threshold: float
    colour: Colour | None = None
    chosen: np.ndarray | None = None


def line_width(image_wh: tuple[int, int], bbox_xyxy: np.ndarray | None = None) -> float:
    """px that suit the picture, and a person in it."""
    width = max(image_wh) * LINE_PER_IMAGE
    if bbox_xyxy is not None:
        width = min(width, float((bbox_xyxy[2:] - bbox_xyxy[:2]).max()) * _LINE_PER_PERSON)
    return max(1.0, width)


def track_colour(track_id: int) -> Colour:
    """The same for an id in every frame of every video, BGR."""
    hue, turn = track_id * _GOLDEN % 1.0, track_id // 7 % 3
    red, green, blue = colorsys.hsv_to_rgb(hue, (0.75, 0.55, 0.9)[turn], (0.95, 1.0, 0.8)[turn])
    return round(blue * 255), round(green * 255), round(red * 255)


def of_parts(keypoint_set: KeypointSet, parts: Collection[str] | None) -> np.ndarray | None:
    """(K,) bool: the keypoints of these parts of the body; None for all of them."""
    if parts is None:
        return None
    chosen = np.zeros(keypoint_set.num_keypoints, bool)
    for part in parts:
        chosen[list(keypoint_set.parts[part])] = True
    return chosen


def draw_box(canvas: np.ndarray, bbox_xyxy: np.ndarray, pen: Pen) -> None:
    low, high = fixed(bbox_xyxy[:2]), fixed(bbox_xyxy[2:])
    thickness = max(1, round(pen.width / 2))
    cv2.rectangle(canvas, low, high, pen.colour or BOX_BGR, thickness, cv2.LINE_AA, SUBPIXEL_BITS)


def draw_skeleton(
    canvas: np.ndarray, keypoints: np.ndarray, scores: np.ndarray, keypoint_set: KeypointSet, pen: Pen
) -> None:
    """Lines and points.

    Args:
        canvas: (H, W, 3) uint8 BGR.
        keypoints: (K, 2) xy.
        scores: (K,).
    """
    shown = scores >= pen.score_threshold
    if pen.chosen is not None:
        shown = shown & pen.chosen
    widths = _widths(keypoints, shown, keypoint_set, pen.width)
    for start, end in keypoint_set.skeleton:
        if shown[start] and shown[end]:
            ends = fixed(keypoints[start]), fixed(keypoints[end])
            width = min(widths[start], widths[end])
            if width >= _OUTLINED_FROM:
                cv2.line(canvas, *ends, OUTLINE_BGR, round(width) + 2, cv2.LINE_AA, SUBPIXEL_BITS)
            colour = pen.colour or _link_colour(keypoint_set.names[start], keypoint_set.names[end])
            cv2.line(canvas, *ends, colour, max(1, round(width)), cv2.LINE_AA, SUBPIXEL_BITS)
    radii = widths * (1.5 if keypoint_set.num_keypoints <= _SMALL_SET else 0.7)
    for index in np.flatnonzero(shown):
        center = fixed(keypoints[index])
        edge = 0.5 if widths[index] >= _OUTLINED_FROM else 0.0
        for grow, colour in ((edge, OUTLINE_BGR), (0.0, _side_colour(keypoint_set.names[index]))):
            size = round((radii[index] + grow) * (1 << SUBPIXEL_BITS))
            cv2.circle(canvas, center, size, colour, -1, cv2.LINE_AA, SUBPIXEL_BITS)


def _widths(keypoints: np.ndarray, shown: np.ndarray, keypoint_set: KeypointSet, width: float) -> np.ndarray:
    """(K,) float64 px: lines and points of hands and faces are as fine as these are small."""
    widths = np.full(len(keypoints), width)
    for part in _FINE_PARTS:
        indices = np.array(keypoint_set.parts.get(part, ()), np.int64)
        seen = indices[shown[indices]]
        if len(seen) > 1:
            size = float(np.ptp(keypoints[seen], axis=0).max())
            fine = np.setdiff1d(seen, keypoint_set.parts.get("body", ()))
            widths[fine] = np.clip(size * _LINE_PER_PART, min(0.6, width), width)
    return widths


def _side_colour(name: str) -> Colour:
    if "left" in name:
        return LEFT_BGR
    return RIGHT_BGR if "right" in name else MIDDLE_BGR


def _link_colour(start: str, end: str) -> Colour:
    one, other = _side_colour(start), _side_colour(end)
    if MIDDLE_BGR in (one, other):
        return other if one == MIDDLE_BGR else one
    return one if one == other else MIDDLE_BGR
