"""From a decoded frame to the pixels that a player shows."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from sapiens_pl.core.errors import OversizedImageError, UnreadableImageError
from sapiens_pl.core.structures import LoadedImage
from sapiens_pl.pictures.orientation import upright

_UNSPECIFIED, _BT470BG, _SMPTE170M = 2, 5, 6
_BT709, _FCC, _SMPTE240M, _BT2020, _RGB = 1, 4, 7, 9, 0
"""Matrices of ITU-T H.273, table 4."""
_MATRICES = {_BT709: 1, _FCC: 4, _BT470BG: 5, _SMPTE170M: 5, _SMPTE240M: 7, _BT2020: 9}
"""The same as swscale numbers them."""
_HDR = {16: "PQ, HDR10", 18: "HLG"}
"""Transfer characteristics of H.273, table 3, of high dynamic range."""
_LIMITED, _FULL = 1, 2
_HD_WIDTH, _HD_HEIGHT = 1280, 577
"""Px from which players take video that does not say its matrix for BT.709."""
_TURNS = {
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}
"""EXIF's orientation by the signs of a display matrix (a, b, c, d)."""


class FramePixels:
    """Turns frames of one video into pixels.

    Args:
        max_megapixels: larger frames are refused.
        pixel_aspect: width of a pixel by its height.
    """

    def __init__(self, max_megapixels: float, pixel_aspect: float) -> None:
        from av.video.reformatter import VideoReformatter

        self._max_megapixels, self._pixel_aspect = max_megapixels, pixel_aspect
        self._reformatter = VideoReformatter()  # keeps its tables from frame to frame

    def __call__(self, frame: Any) -> LoadedImage:
        """Upright, with square pixels.

        Raises:
            OversizedImageError, UnreadableImageError: a sentence without its subject.
        """
        width, height = self._square(frame.width, frame.height)
        self.check_size(width, height)
        matrix, limited = self._colours(frame)
        converted = self._reformatter.reformat(
            frame, width, height, "bgr24", src_colorspace=matrix, dst_colorspace=matrix,
            src_color_range=limited, dst_color_range=_FULL, interpolation="BICUBIC", threads=1,
        )  # fmt: skip
        orientation = _orientation(frame)
        return LoadedImage(upright(_array(converted), orientation), orientation)

    def check_size(self, width: int, height: int) -> None:
        """Raises OversizedImageError for frames of more px than the limit."""
        if width * height > self._max_megapixels * 1e6:
            raise OversizedImageError(
                f"is {width}x{height} px, more than the limit of {self._max_megapixels:g} megapixels "
                "(data.max_megapixels)."
            )

    def _square(self, width: int, height: int) -> tuple[int, int]:
        """One side is enlarged, so that no pixel is lost."""
        if self._pixel_aspect >= 1:
            return round(width * self._pixel_aspect), height
        return width, round(height / self._pixel_aspect)

    def _colours(self, frame: Any) -> tuple[int, int]:
        """Matrix, as swscale numbers them, and range of the frame."""
        if frame.color_trc in _HDR:
            raise UnreadableImageError(
                f"is in high dynamic range ({_HDR[frame.color_trc]}), which is not converted here as a player does it; "
                "convert the video to SDR (BT.709) first."
            )
        limited = _FULL if frame.color_range == _FULL or frame.format.name.startswith("yuvj") else _LIMITED
        if frame.format.is_rgb or frame.colorspace == _RGB:
            return _MATRICES[_BT709], _FULL
        if frame.colorspace == _UNSPECIFIED:
            is_hd = frame.width >= _HD_WIDTH or frame.height >= _HD_HEIGHT
            return _MATRICES[_BT709 if is_hd else _SMPTE170M], limited
        if frame.colorspace not in _MATRICES:
            raise UnreadableImageError(
                f"has colours of a kind that is not read here (matrix {frame.colorspace} of H.273); convert the video "
                "to BT.709 first."
            )
        return _MATRICES[frame.colorspace], limited


def _array(frame: Any) -> np.ndarray:
    """(h, w, 3) uint8, a view of the frame's memory."""
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : 3 * frame.width]
    return rows.reshape(frame.height, frame.width, 3)


def _orientation(frame: Any) -> int:
    """EXIF's number for what the display matrix does."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 1
    a, b, _, c, d = struct.unpack("<5i", bytes(data)[:20])
    largest = max(abs(a), abs(b), abs(c), abs(d), 1)
    turn = tuple(round(value / largest) for value in (a, b, c, d))
    skew = max(abs(value / largest - sign) for value, sign in zip((a, b, c, d), turn))
    if turn not in _TURNS or skew > 0.02:
        raise UnreadableImageError(
            "has to be shown turned by an angle that is not a multiple of 90 degrees; turn the video upright first."
        )
    return _TURNS[turn]
