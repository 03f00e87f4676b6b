"""The packets of a video from any of them on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from sapiens_pl.core.errors import UnreadableImageError
from sapiens_pl.pictures.video_table import VideoTable, opened

_PASSED_OVER = 200
"""So many packets are read and skipped rather than sought."""


class PacketReader:
    """The video stream's packets, in the order of the file.

    Attributes:
        next: the number of the packet that comes next.
        stream: of PyAV, for its decoder.
    """

    def __init__(self, path: str, table: VideoTable) -> None:
        self._path, self._table = path, table
        self._by_key = np.argsort(table.keys, kind="stable")
        self._container: Any = None
        self._open()

    def close(self) -> None:
        self._container.close()

    def take(self) -> Any:
        """The next packet; None at the end.

        Raises:
            UnreadableImageError: it is not the packet that the table says.
        """
        packet = next(self._packets, None)
        if packet is not None:
            if self.next >= len(self._table.flags) or (len(self._table.keys) and self._number(packet) != self.next):
                raise UnreadableImageError("holds other frames than when they were listed; run the same command again.")
            self.next += 1
        return packet

    def go_to(self, number: int) -> None:
        """Makes a packet the next one."""
        if not 0 <= number - self.next < _PASSED_OVER and not self._sought(number):
            self._open()
        while self.next < number and self.take() is not None:
            pass

    def _open(self) -> None:
        if self._container is not None:
            self._container.close()
        self._container = opened(self._path)
        self.stream = self._container.streams[self._table.stream]
        self._packets = self._demuxed()
        self.next = 0

    def _demuxed(self) -> Iterator[Any]:
        return (packet for packet in self._container.demux(self.stream) if packet.size)

    def _sought(self, number: int) -> bool:
        """Whether the container has found this packet, or one before it."""
        import av

        if not len(self._table.keys):
            return False
        try:
            self._container.seek(int(self._table.keys[number]), stream=self.stream)
            packets = self._demuxed()
            for packet in packets:
                found = self._number(packet)
                if found is not None:  # in the middle of a stream, the first may be half a packet
                    self._packets, self.next = itertools.chain([packet], packets), found
                    return found <= number
        except av.FFmpegError:
            pass
        return False

    def _number(self, packet: Any) -> int | None:
        time = packet.dts if self._table.keys_are_dts else packet.pts
        if time is None:
            return None
        position = int(np.searchsorted(self._table.keys, time, sorter=self._by_key))
        number = int(self._by_key[position]) if position < len(self._by_key) else -1
        return number if number >= 0 and self._table.keys[number] == time else None
