"""Where OpenCV draws: points between the pixels, in its fixed-point numbers."""

from __future__ import annotations

import numpy as np

SUBPIXEL_BITS = 4
"""The `shift` of OpenCV's drawing functions: sixteenths of a pixel."""
FAR = 1 << 20
"""px; what lies farther out cannot be drawn."""


def fixed(point: np.ndarray) -> tuple[int, int]:
    """A point (x, y), px, as OpenCV takes it with `SUBPIXEL_BITS`."""
    x, y = np.rint(np.clip(point, -FAR, FAR) * (1 << SUBPIXEL_BITS)).astype(int)
    return int(x), int(y)
