"""Encoding pictures as H.264 that browsers play."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import cv2
import numpy as np

from sapiens_pl.core.errors import ConfigError

ENCODER = "libx264"
_OPTIONS = {
    "preset": "veryfast",
    "bf": "0",  # times of showing are those of decoding: no player has to edit the beginning away
    "g": "60",  # a player that seeks decodes at most so many
    "threads": "4",  # another number gives other bytes
}
_BT709, _LIMITED_RANGE = 1, 1
"""Colours as ITU-T H.264, Annex E numbers them; PyAV numbers ranges so."""


class H264Stream:
    """One video stream of a container.

    Args:
        output: of PyAV, open for writing.
        wh: width and height; the last column and row are repeated where they are odd.
        unit: seconds, of which times are whole numbers.
        rate: frames a second, about.
        crf: from 0 (large) to 51 (coarse).

    Raises:
        ConfigError: FFmpeg has no encoder.
    """

    def __init__(self, output: Any, wh: tuple[int, int], unit: Fraction, rate: Fraction, crf: float) -> None:
        import av
        from av.video.reformatter import VideoReformatter

        if ENCODER not in av.codecs_available:
            raise ConfigError(
                f"the FFmpeg that PyAV uses has no encoder {ENCODER}; install PyAV's own wheel (pip install "
                "--force-reinstall --only-binary av av), or omit video from output.formats."
            )
        self._output, self._unit, self._reformatter = output, unit, VideoReformatter()
        self._stream = output.add_stream(ENCODER, rate=rate, options={**_OPTIONS, "crf": f"{crf:g}"})
        self._odd_wh = wh[0] % 2, wh[1] % 2
        self._stream.width, self._stream.height = wh[0] + wh[0] % 2, wh[1] + wh[1] % 2
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        self._stream.time_base = context.time_base = unit
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED_RANGE
        self._ends: dict[int, int] = {}

    def add(self, pixels: np.ndarray, begin: int, end: int) -> None:
        """One frame, later than those before.

        Args:
            pixels: (H, W, 3) uint8 BGR.
            begin, end: when it is shown, and when no longer.
        """
        import av
        from av.video.reformatter import ColorRange, Colorspace

        even: np.ndarray = cv2.copyMakeBorder(pixels, 0, self._odd_wh[1], 0, self._odd_wh[0], cv2.BORDER_REPLICATE)
        frame = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(even, format="bgr24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
        )
        frame.pts, frame.time_base = begin, self._unit
        self._ends[begin] = end
        self._mux(self._stream.encode(frame))

    def close(self) -> None:
        """Writes what the encoder still holds."""
        self._mux(self._stream.encode(None))

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            packet.duration = self._ends.pop(packet.pts) - packet.pts
            self._output.mux_one(packet)
