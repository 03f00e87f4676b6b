"""Drawing people on photographs and on the frames of videos.

Legend: K keypoints; coordinates in px of the picture drawn on.
"""

from __future__ import annotations

import colorsys
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
_GOLDEN = 0.618034
"""Of a circle: colours of neighbouring ids stand far apart, however many there are."""
_FONT_PX = 22
"""Height of the font's capitals at scale 1."""


class Pen(NamedTuple):
    """How somebody is drawn.

    Attributes:
        width: of lines, px.
        score_threshold: keypoints with a lower score are not drawn.
        colour: of the box and of the lines; None: green on the person's left, orange on the right, blue between.
    """

    width: int
    score_threshold: float
    colour: Colour | None = None


def line_width(image_wh: tuple[int, int], bbox_xyxy: np.ndarray | None = None) -> int:
    """px that suit the picture, and a person in it."""
    width = max(image_wh) * LINE_PER_IMAGE
    if bbox_xyxy is not None:
        width = min(width, float((bbox_xyxy[2:] - bbox_xyxy[:2]).max()) * _LINE_PER_PERSON)
    return max(1, round(width))


def track_colour(track_id: int) -> Colour:
    """The same for an id in every frame of every video, BGR."""
    hue, turn = track_id * _GOLDEN % 1.0, track_id // 7 % 3
    red, green, blue = colorsys.hsv_to_rgb(hue, (0.75, 0.55, 0.9)[turn], (0.95, 1.0, 0.8)[turn])
    return round(blue * 255), round(green * 255), round(red * 255)


def draw_box(canvas: np.ndarray, bbox_xyxy: np.ndarray, pen: Pen) -> None:
    low, high = fixed(bbox_xyxy[:2]), fixed(bbox_xyxy[2:])
    cv2.rectangle(canvas, low, high, pen.colour or BOX_BGR, max(1, pen.width // 2), cv2.LINE_AA, SUBPIXEL_BITS)


def draw_skeleton(
    canvas: np.ndarray, keypoints: np.ndarray, scores: np.ndarray, keypoint_set: KeypointSet, pen: Pen
) -> None:
    """Lines and points.

    Args:
        canvas: (H, W, 3) uint8 BGR.
        keypoints: (K, 2) xy.
        scores: (K,).
    """
    width, shown = pen.width, scores >= pen.score_threshold
    for start, end in keypoint_set.skeleton:
        if shown[start] and shown[end]:
            ends = fixed(keypoints[start]), fixed(keypoints[end])
            cv2.line(canvas, *ends, OUTLINE_BGR, width + 2, cv2.LINE_AA, SUBPIXEL_BITS)
            colour = pen.colour or _link_colour(keypoint_set.names[start], keypoint_set.names[end])
            cv2.line(canvas, *ends, colour, width, cv2.LINE_AA, SUBPIXEL_BITS)
    # Whole-body sets crowd faces and hands: their points are drawn finer.
    radius = width * (1.5 if keypoint_set.num_keypoints <= 32 else 0.7)
    for index in np.flatnonzero(shown):
        center = fixed(keypoints[index])
        for grow, colour in ((0.5, OUTLINE_BGR), (0.0, _side_colour(keypoint_set.names[index]))):
            size = round((radius + grow) * (1 << SUBPIXEL_BITS))
            cv2.circle(canvas, center, size, colour, -1, cv2.LINE_AA, SUBPIXEL_BITS)


def draw_label(canvas: np.ndarray, text: str, bbox_xyxy: np.ndarray, pen: Pen) -> None:
    """A short text on the upper left corner of a box, inside of the picture."""
    scale = max(10, 5 * pen.width) / _FONT_PX
    thickness = max(1, pen.width // 2)
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    margin = pen.width + 1
    left, top = np.rint(bbox_xyxy[:2]).astype(int) - (0, height + below + 2 * margin)
    left = int(np.clip(left, 0, max(0, canvas.shape[1] - width - 2 * margin)))
    top = int(np.clip(top, 0, max(0, canvas.shape[0] - height - below - 2 * margin)))
    corner = left + width + 2 * margin, top + height + below + 2 * margin
    colour = pen.colour or BOX_BGR
    cv2.rectangle(canvas, (left, top), corner, colour, -1)
    ink = OUTLINE_BGR if np.dot(colour, (0.114, 0.587, 0.299)) > 110 else BOX_BGR
    place = left + margin, top + margin + height
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, thickness, cv2.LINE_AA)


def _side_colour(name: str) -> Colour:
    if "left" in name:
        return LEFT_BGR
    return RIGHT_BGR if "right" in name else MIDDLE_BGR


def _link_colour(start: str, end: str) -> Colour:
    one, other = _side_colour(start), _side_colour(end)
    if MIDDLE_BGR in (one, other):
        return other if one == MIDDLE_BGR else one
    return one if one == other else MIDDLE_BGR
