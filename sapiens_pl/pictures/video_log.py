"""What FFmpeg's demuxers say in their log about damage that they skip, which they tell in no other way."""

from __future__ import annotations

import threading
from typing import Any

_MATROSKA = (
    "as first byte of an EBML number",
    "exceeds max length",
    "exceeds containing master element",
    "Invalid length 0x",
    "Invalid EBML size tag",
    "Max EBML element depth",
    "Unknown-sized element at",
    "Invalid track number",
    "Error parsing frame sizes",
)
_OF_DAMAGE = {
    "matroska,webm": _MATROSKA,
    "mpegts": ("Continuity check failed for pid {pid} ", "max resync size reached"),
    "flv": ("Packet mismatch", "Track size mismatch"),
}
"""By the container's format: beginnings or parts of what is said only where bytes were skipped that should not be."""
_PARTS = tuple(part.partition("{")[0] for parts in _OF_DAMAGE.values() for part in parts)


class DemuxerLog:
    """Listens, in a `with`, to what is said in this thread; `keep_damage` is to be called now and then.

    FFmpeg has one log for the whole process. While anybody listens, what it says in other threads is dropped.
    """

    _lock = threading.Lock()
    _num_listening = 0
    _was: tuple[Any, bool] = (None, True)
    _of_others: Any = None

    def __init__(self) -> None:
        import av.logging

        self._capture = av.logging.Capture()
        self._heard: list[Any] = []
        self._damage: set[tuple[str, str]] = set()

    def __enter__(self) -> DemuxerLog:
        import av.logging

        log = DemuxerLog
        with log._lock:
            if not log._num_listening:
                log._was = av.logging.get_level(), av.logging.get_skip_repeated()
                log._of_others = av.logging.Capture(local=False)
                log._of_others.__enter__()
                # Two threads may hear the same words of two videos.
                av.logging.set_skip_repeated(False)
                av.logging.set_level(av.logging.DEBUG)  # at which lost packets of transport streams are told
            log._num_listening += 1
        self._heard = self._capture.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        import av.logging

        log = DemuxerLog
        self._capture.__exit__(None, None, None)
        self.keep_damage()
        with log._lock:
            log._num_listening -= 1
            if not log._num_listening:
                av.logging.set_level(log._was[0])
                av.logging.set_skip_repeated(log._was[1])
                log._of_others.__exit__(None, None, None)

    def keep_damage(self) -> None:
        """Forgets all that was heard but of damage; a long video would fill the memory."""
        for _, name, message in self._heard:
            if name in _OF_DAMAGE and any(part in message for part in _PARTS):
                self._damage.add((name, message))
        self._heard.clear()
        DemuxerLog._of_others.logs.clear()

    def tells_damage(self, container: Any, stream: Any) -> bool:
        """Whether damage was heard of that may have cost packets of this stream."""
        name = container.format.name
        parts = [part.format(pid=stream.id) for part in _OF_DAMAGE.get(name, ())]
        return any(of == name and any(part in message for part in parts) for of, message in self._damage)
