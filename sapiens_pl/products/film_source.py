"""What an annotated video takes from its source file without decoding: the clock, the end, and the sound."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction
from types import TracebackType
from typing import Any

from sapiens_pl.core.errors import MissingImageError
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.pictures.video_table import opened, start_of, video_stream

log = logging.getLogger(__name__)

_IN_MP4 = frozenset(["aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"])
"""Codecs of sound that MP4 holds; browsers do not play all of them."""
_LEAST_TIMESCALE = 1000
_MICROSECONDS = 1_000_000
_CUT_SECONDS = Fraction(1, 2)
"""A file that claims to be longer than this was cut."""


class FilmSource:
    """A video's file, read from its beginning to its end along with the frames that are drawn on.

    Times are whole numbers of `unit` seconds from the beginning of the video, as a player counts.

    Args:
        path: the file.
        name: of the video, for messages.

    Attributes:
        unit: so fine that each frame's time is exact.
        rate: frames a second, about.

    Raises:
        MissingImageError: the file is not there any more.
        UnreadableImageError: it has no video any more.
    """

    def __init__(self, path: str, name: str) -> None:
        self._name = name
        try:
            self._container = opened(path)
        except FileNotFoundError:
            raise MissingImageError(f"{path} is not there any more; put it back, so that it can be drawn on.") from None
        self._stream = video_stream(self._container)
        time_base: Fraction = self._stream.time_base
        self.unit = Fraction(1, time_base.denominator)
        self.rate: Fraction = self._stream.average_rate or Fraction(25)
        self._ticks = time_base.numerator
        self._start = start_of(self._container)
        self._copies: dict[int, Any] = {}
        self._last_dts: dict[int, int] = {}
        self._end = self._end_of_sound = 0
        self._packets = self._demuxed()
        self._waiting: Any = None

    def __enter__(self) -> FilmSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    @property
    def mp4_options(self) -> dict[str, str]:
        """Of the container that is written: its index in front, so that it plays while it is fetched, and its clocks as
        fine as the source's.
        """
        timescale = self.unit.denominator
        whole = timescale * -(-_LEAST_TIMESCALE // timescale)
        return {
            "movflags": "+faststart",
            "video_track_timescale": str(timescale),
            "movie_timescale": str(whole),  # else gaps at the beginning are rounded to milliseconds
        }

    def time_of(self, result: PoseResult) -> int:
        """When a frame is shown."""
        assert result.frame is not None
        return result.frame.pts * self._ticks - round(self._start / self.unit)

    def copy_sound_to(self, output: Any) -> None:
        """Adds a stream of sound to a container for each that it can hold; warns about the others."""
        for stream in self._container.streams.audio:
            codec = None if stream.codec_context is None else stream.codec_context.name
            if codec in _IN_MP4:
                self._copies[stream.index] = output.add_stream_from_template(stream)
            else:
                log.warning(
                    f"{self._name}: MP4 holds no sound of this kind ({codec or 'unknown'}), so the annotated video "
                    "has no sound."
                )
        self._output = output

    def pass_on_sound(self, until: int | None) -> int:
        """Copies the sound up to a time, or to the end; returns the number of packets."""
        num_passed = 0
        for packet in self._packets_until(until):
            copy = self._copies.get(packet.stream_index)
            if copy is None or packet.is_corrupt:
                continue
            if packet.dts <= self._last_dts.get(packet.stream_index, packet.dts - 1):
                continue  # a muxer refuses what goes backwards
            self._last_dts[packet.stream_index] = packet.dts
            offset = round(self._start / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts - offset, packet.dts - offset, copy
            self._output.mux_one(packet)
            num_passed += 1
        return num_passed

    def end(self) -> int:
        """When the last frame ends; to be called when all sound has been copied."""
        stream, end = self._stream, self._end
        if stream.duration and "mp4" in self._container.format.name:  # which says how long it is as edited
            said = self._in_units((stream.start_time or 0) + stream.duration, stream.time_base)
            if said < end + _CUT_SECONDS / self.unit:
                end = said
        whole = Fraction(self._container.duration or 0, _MICROSECONDS)
        return max(end, min(self._end_of_sound, int(whole / self.unit)))

    def _packets_until(self, until: int | None) -> Iterator[Any]:
        while (packet := self._waiting or next(self._packets, None)) is not None:
            self._waiting = packet
            if until is not None and self._in_units(packet.dts, packet.time_base) > until:
                return
            self._waiting = None
            self._note_end(packet)
            yield packet

    def _demuxed(self) -> Iterator[Any]:
        """Of the video and all sound, what has a time; a file that breaks off ends there."""
        import av

        try:
            for packet in self._container.demux([self._stream, *self._container.streams.audio]):
                if packet.size and packet.dts is not None:
                    if packet.pts is None:
                        packet.pts = packet.dts
                    yield packet
        except av.FFmpegError:
            return

    def _note_end(self, packet: Any) -> None:
        begin, end = (self._in_units(time, packet.time_base) for time in (packet.pts, packet.pts + packet.duration))
        if packet.stream_index != self._stream.index:
            if packet.stream_index not in self._copies:
                self._end_of_sound = max(self._end_of_sound, end)
        elif not packet.is_discard:
            self._end = max(self._end, end if packet.duration else begin + round(1 / self.rate / self.unit))

    def _in_units(self, time: int, time_base: Fraction) -> int:
        return round((time * time_base - self._start) / self.unit)
