"""Short texts at people's boxes that do not overlap.

Legend: coordinates in px of the picture drawn on.
"""

from __future__ import annotations

import cv2
import numpy as np

from sapiens_pl.products.drawing import BOX_BGR, OUTLINE_BGR, Colour

_FONT, _FONT_PX = cv2.FONT_HERSHEY_SIMPLEX, 22
"""Height of the font's capitals at scale 1, px."""
_PER_PERSON, _PER_IMAGE, _LEAST_PER_IMAGE, _LEAST_PX = 1 / 14, 1 / 45, 1 / 130, 8
"""Height of the capitals: a part of the box's longer side, between two parts of the picture's."""
_WIDEST_PER_BOX = 1.2
"""A wider text says only the first of its words."""


class Labels:
    """The texts of one picture.

    Args:
        canvas: (H, W, 3) uint8 BGR.
    """

    def __init__(self, canvas: np.ndarray) -> None:
        self._canvas = canvas
        self._taken = np.zeros((0, 4), np.int64)

    def draw(self, words: list[str], bbox_xyxy: np.ndarray, colour: Colour | None = None) -> None:
        """At a corner of the box where no other text stands, inside of the picture.

        Args:
            words: the first one alone is written where all are wider than the box.
            colour: behind the text.
        """
        height, width = self._canvas.shape[:2]
        box_wh = np.maximum(bbox_xyxy[2:] - bbox_xyxy[:2], 1)
        least = max(_LEAST_PX, max(width, height) * _LEAST_PER_IMAGE)
        capitals = float(np.clip(box_wh.max() * _PER_PERSON, least, max(least, max(width, height) * _PER_IMAGE)))
        scale, thickness = capitals / _FONT_PX, max(1, round(capitals / 9))
        text = " ".join(words)
        if _size(text, scale, thickness)[0] > box_wh[0] * _WIDEST_PER_BOX:
            text = words[0]
        wide, high, below = _size(text, scale, thickness)
        margin = max(2, round(capitals / 5))
        size = np.array([wide + 2 * margin, high + below + 2 * margin])
        left, top = self._place(bbox_xyxy, size)
        back = colour or BOX_BGR
        cv2.rectangle(self._canvas, (left, top), (left + int(size[0]), top + int(size[1])), back, -1)
        ink = OUTLINE_BGR if np.dot(back, (0.114, 0.587, 0.299)) > 110 else BOX_BGR
        corner = left + margin, top + margin + high
        cv2.putText(self._canvas, text, corner, _FONT, scale, ink, thickness, cv2.LINE_AA)

    def _place(self, bbox_xyxy: np.ndarray, size: np.ndarray) -> tuple[int, int]:
        """Above the box, else below it, else inside of it at the bottom, so that the face stays visible."""
        left, top, right, bottom = np.rint(np.clip(bbox_xyxy, -(1 << 20), 1 << 20)).astype(int)
        wide, high = size
        rows = (top - high, bottom, bottom - high, top)
        corners = np.array([(column, row) for row in rows for column in (left, right - wide)])
        places = np.clip(corners, 0, np.maximum(np.array(self._canvas.shape[1::-1]) - size - 1, 0))
        rects = np.concatenate([places, places + size], axis=1)
        low = np.maximum(rects[:, None, :2], self._taken[None, :, :2])
        is_free = ~(np.minimum(rects[:, None, 2:], self._taken[None, :, 2:]) - low > 0).all(axis=2).any(axis=1)
        fits = np.abs(places[:, 1] - corners[:, 1]) <= high // 4
        chosen = int(np.argmax(2 * is_free + fits))  # the first of the best
        self._taken = np.concatenate([self._taken, rects[[chosen]]])
        return int(places[chosen, 0]), int(places[chosen, 1])


def _size(text: str, scale: float, thickness: int) -> tuple[int, int, int]:
    """Width, height above the base line, height below, px."""
    (width, height), below = cv2.getTextSize(text, _FONT, scale, thickness)
    return width, height, below
