"""Decodes single frames of a video, forwards if they are asked for in order.

A frame's pixels do not depend on what was read before: decoders are restarted at each keyframe that
allows it, and a frame that is asked for out of turn is decoded from the keyframe that it builds on.
"""

from __future__ import annotations

import os
from typing import Any

from sapiens_pl.core.errors import DamagedImageError, MissingImageError, SapiensError, UnreadableImageError
from sapiens_pl.core.structures import LoadedImage
from sapiens_pl.core.wording import one_line
from sapiens_pl.pictures.video_packets import PacketReader
from sapiens_pl.pictures.video_pixels import FramePixels
from sapiens_pl.pictures.video_table import CORRUPT, VideoTable

_CHECKED = "crccheck+bitstream+buffer"
_STRICT = {"hevc": f"{_CHECKED}+explode"}
"""By codec, for decoders that return made-up pictures for damaged frames without a flag. Others flag it; told to be
strict, they would lose good frames as well.
"""
_DAMAGED = "cannot be decoded: the video is damaged there, or in a frame that this one builds on; fetch it again."


class VideoDecoder:
    """One video, of which frames are read.

    Args:
        path: its file.
        table: of its frames and packets, as `video_table.scan` gives it.
        max_megapixels: larger frames are refused.

    Attributes:
        num_decoded: packets that were decoded, one that was decoded twice counted twice.
    """

    def __init__(self, path: str, table: VideoTable, max_megapixels: float) -> None:
        self.num_decoded = 0
        self._path, self._table, self._max_megapixels = path, table, max_megapixels
        self._reader: PacketReader | None = None
        self._begun_at, self._shown = 0, -1
        """The packet that the decoder has begun with, and the last frame that has come out."""
        self._out: dict[int, Any] = {}
        """The frames that have come out, from the one that was asked for last."""
        self._waiting: dict[int, int] = {}
        """By their packet, the frames that have not."""
        self._damaged: set[int] = set()
        """Packets that could not be decoded well."""
        self._lost: set[int] = set()
        """Frames that have not come out where they should have; another try would give the same."""
        self._last: tuple[int, LoadedImage] | None = None

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = self._last = None
        self._out.clear()

    def read(self, index: int) -> LoadedImage:
        """A frame, upright; its pixels are not to be written to.

        Raises:
            SapiensError: a sentence without its subject.
        """
        import av

        if self._last is None or self._last[0] != index:
            try:
                self._check_unchanged()
                self._last = None
                self._last = index, self._decoded(index)
            except SapiensError:
                raise
            except (av.FFmpegError, OSError) as error:
                self.close()
                why = one_line(getattr(error, "strerror", None) or error)
                raise UnreadableImageError(f"cannot be read ({why}); check the video.") from None
        return self._last[1]

    def _check_unchanged(self) -> None:
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            self.close()
            raise MissingImageError("does not exist any more; put the video back.") from None
        if (status.st_size, status.st_mtime_ns) != (self._table.size, self._table.mtime_ns):
            self.close()
            raise UnreadableImageError(
                "is of a video that has changed since its frames were listed; wait until it is whole, and run the same "
                "command again."
            )

    def _decoded(self, index: int) -> LoadedImage:
        reader = self._reader = self._reader or self._opened()
        start, packet = int(self._table.start[self._table.packet[index]]), int(self._table.packet[index])
        if index in self._lost:
            raise DamagedImageError(_DAMAGED)
        if index not in self._out and not (self._begun_at <= start <= reader.next and index > self._shown):
            reader.go_to(start)
            self._restart(reader.next)
        self._out = {number: frame for number, frame in self._out.items() if number >= index}
        while not self._is_settled(index, packet) and self._feed(reader):
            pass
        frame = self._out.get(index)
        if frame is None or any(start <= damaged <= packet for damaged in self._damaged):
            raise DamagedImageError(_DAMAGED)
        return self._pixels(frame)

    def _opened(self) -> PacketReader:
        reader = PacketReader(self._path, self._table)
        self._context = reader.stream.codec_context
        # Cores belong to the loader's processes, and one thread says at which packet it fails.
        self._context.thread_type, self._context.thread_count = "NONE", 1
        self._context.copy_opaque = True
        self._context.options = {"err_detect": _STRICT.get(self._context.name, _CHECKED)}
        aspect = reader.stream.sample_aspect_ratio
        self._pixels = FramePixels(self._max_megapixels, float(aspect) if aspect else 1.0)
        self._pixels.check_size(self._context.width, self._context.height)
        self._restart(0)
        return reader

    def _restart(self, packet: int) -> None:
        """The decoder forgets all that it has seen."""
        self._context.flush_buffers()
        self._begun_at, self._shown = packet, -1
        for kept in (self._out, self._waiting, self._damaged):
            kept.clear()

    def _is_settled(self, index: int, packet: int) -> bool:
        """Whether the frame has come out or will not, and so have all that were decoded before it: only when they come
        out, it shows whether they are damaged.
        """
        if index not in self._out:
            return self._shown > index
        return min(self._waiting, default=packet + 1) > packet

    def _feed(self, reader: PacketReader) -> bool:
        """Decodes one packet more, or takes out what the decoder still holds; False at the end."""
        number, restarts = reader.next, self._table.restarts
        if number < len(restarts) and restarts[number] and number > self._begun_at:
            self._drain()
            self._context.flush_buffers()
            self._damaged = {packet for packet in self._damaged if packet >= self._begun_at}
            self._begun_at = number
            return True
        packet = reader.take()
        if packet is None:
            self._drain()
            return False
        if self._table.start[number] < self._begun_at:  # it builds on frames before this keyframe
            return True
        if self._table.flags[number] & CORRUPT:
            self._damaged.add(number)
        if self._table.frame[number] >= 0:
            self._waiting[number] = int(self._table.frame[number])
        packet.opaque = [number]  # an object of its own: PyAV knows them by their address
        self.num_decoded += 1
        self._decode(packet, number)
        return True

    def _drain(self) -> None:
        """Takes out what the decoder still holds; what does not come out now is lost."""
        self._decode(None, None)
        self._shown = max([self._shown, *self._waiting.values()])
        self._give_up(list(self._waiting))

    def _decode(self, packet: Any, number: int | None) -> None:
        import av

        try:
            frames = self._context.decode(packet)
        except av.EOFError:  # drained before
            return
        except av.FFmpegError:
            if number is not None:
                self._damaged.add(number)
            return
        for frame in frames:
            self._take_out(frame)

    def _take_out(self, frame: Any) -> None:
        (number,) = frame.opaque
        if frame.is_corrupt:
            self._damaged.add(number)
        self._waiting.pop(number, None)
        index = int(self._table.frame[number])
        if index < 0:
            return
        self._out[index] = frame
        self._shown = max(self._shown, index)
        self._give_up([packet for packet, waiting in self._waiting.items() if waiting < self._shown])

    def _give_up(self, packets: list[int]) -> None:
        for packet in packets:
            self._damaged.add(packet)
            self._lost.add(self._waiting.pop(packet))
