"""Reads pictures again, to draw on them, in a process that may hang or die without harm to the run.

The disk may be gone since the loader read a picture, and a decoder may crash at its second try. Parent and child
speak through pipes: a line of JSON asks for a picture; a line of JSON and the picture's pixels are the answer. The
child reads with the picture source that the run's settings name, never with one that a record names.
"""

from __future__ import annotations

import json
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import Empty, LifoQueue
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from sapiens_pl.core.errors import (
    MissingImageError,
    ReaderDiedError,
    ReadTimeoutError,
    SapiensError,
    UnreadableImageError,
)
from sapiens_pl.core.settings import check
from sapiens_pl.core.structures import LoadedImage
from sapiens_pl.data.settings import LOADING
from sapiens_pl.pictures.same_frame import check_same_time

if TYPE_CHECKING:
    from omegaconf import DictConfig

_CHILD = "import sys; sys.path[:] = {path!r}; from sapiens_pl.products.second_read import serve; serve()"
_POLL_MILLISECONDS = 100
_START_SECONDS = 120.0
_SECONDS_AFTER_STOP = 5.0
"""Seconds that reads which have begun get when the run is to stop."""
_LONGEST_ALARM_SECONDS = 1_000_000
_NUM_READERS = 2
_SECONDS_BEFORE_ANOTHER = 1.0
"""That a thread waits for a reader at work before it starts another: one reads a few pictures sooner than two start."""


class ReadingStopped(Exception):
    """The run is to stop, and the picture has not come yet."""


class Photographs:
    """Reads pictures again for several threads, as many at a time as there are readers.

    Args:
        reader: makes one.
    """

    def __init__(self, reader: Callable[[], PictureReader]) -> None:
        self._readers: LifoQueue[PictureReader] = LifoQueue()
        self._unused = [reader() for _ in range(_NUM_READERS)]
        self._lock = Lock()

    def read(self, path: str, name: str = "", pts: int | None = None) -> np.ndarray:
        """As `PictureReader.read`; waits for a reader."""
        reader = self._next()
        try:
            return reader.read(path, name, pts)
        finally:
            self._readers.put(reader)

    def _next(self) -> PictureReader:
        with self._lock:
            if len(self._unused) == _NUM_READERS:
                return self._unused.pop()
        with suppress(Empty):
            return self._readers.get(timeout=_SECONDS_BEFORE_ANOTHER)
        with self._lock:
            if self._unused:
                return self._unused.pop()
        return self._readers.get()

    def close(self) -> None:
        """Ends the readers' processes; to be called when no thread reads. The next read starts another."""
        for reader in self._readers.queue:
            reader.close()


def photographs_of(cfg: DictConfig, stopped: Callable[[], bool]) -> Photographs:
    """As a run's settings in `data` say.

    Raises:
        ConfigError: an invalid limit.
    """
    from omegaconf import OmegaConf  # the reading process would import it for nothing

    data = cfg.data
    check(LOADING, {"read_timeout": data.read_timeout, "max_megapixels": data.max_megapixels}, "data")
    source: Any = OmegaConf.to_container(data.source, resolve=True) if OmegaConf.is_config(data.source) else data.source
    return Photographs(lambda: PictureReader(data.read_timeout, data.max_megapixels, stopped, data.images, source))


class PictureReader:
    """Reads pictures in one child process, started when it is needed; for one thread at a time.

    Args:
        read_timeout: seconds after which a read counts as stuck; its process is then killed.
        max_megapixels: larger pictures are refused.
        stopped: True as soon as the run is to stop.
        images, source: where the run had its pictures from (`data.images`, `data.source`); without them from files.
    """

    def __init__(
        self,
        read_timeout: float,
        max_megapixels: float,
        stopped: Callable[[], bool],
        images: str | None = None,
        source: str | Mapping[str, Any] | None = None,
    ) -> None:
        self._read_timeout, self._stopped = read_timeout, stopped
        self._origin = {"images": images, "max_megapixels": max_megapixels, "source": source}
        self._child: subprocess.Popen[bytes] | None = None
        self._stop_seen: float | None = None

    def read(self, path: str, name: str = "", pts: int | None = None) -> np.ndarray:
        """(H, W, 3) uint8 BGR, upright.

        Args:
            path: where the picture was read from.
            name: its own; a source that cannot read by the path alone looks for it.
            pts: of a frame of a video, the time that it had when its poses were found.

        Raises:
            SapiensError: the picture cannot be read, not in time, is a frame of another time, or its reader died.
            ReadingStopped: the run is to stop.
        """
        used_before = self._child is not None
        try:
            return self._read(path, name, pts)
        except ReaderDiedError:
            if not used_before:
                raise
        return self._read(path, name, pts)  # the child may have been killed while it was idle

    def _read(self, path: str, name: str, pts: int | None) -> np.ndarray:
        seconds = math.ceil(min(2 * self._read_timeout, _LONGEST_ALARM_SECONDS))
        request = {"path": path, "name": name, "pts": pts, "seconds": seconds, "origin": self._origin}
        try:
            self._ask(path, json.dumps(request).encode() + b"\n")
            return self._answer(path)
        except (ReadTimeoutError, ReaderDiedError, ReadingStopped):
            self.close()
            raise

    def close(self) -> None:
        """Kills the child; one that is stuck in a dead mount is not waited for."""
        if self._child is None:
            return
        self._child.kill()
        for pipe in (self._child.stdin, self._child.stdout):
            assert pipe is not None
            pipe.close()
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(1)
        self._child = None

    def _ask(self, path: str, request: bytes) -> None:
        if self._child is None:
            # A group of its own: a Ctrl-C is for the run, which then ends this process too.
            command = [sys.executable, "-c", _CHILD.format(path=sys.path)]
            self._child = subprocess.Popen(
                command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
            )
            self._receive(path, bytearray(1), time.monotonic() + _START_SECONDS)  # its imports are not part of a read
        assert self._child.stdin is not None
        with suppress(BrokenPipeError):  # `_answer` sees its end
            self._child.stdin.write(request)

    def _answer(self, path: str) -> np.ndarray:
        deadline = time.monotonic() + self._read_timeout
        line = bytearray()
        while not line.endswith(b"\n"):
            line += self._receive(path, bytearray(1), deadline)
        answer = json.loads(line)
        if "missing" in answer:
            raise MissingImageError(f"{path} is not there any more; put it back, so that it can be read again.")
        if "error" in answer:
            raise UnreadableImageError(answer["error"])
        pixels = np.empty(answer["shape"], np.uint8)
        self._receive(path, memoryview(pixels).cast("B"), deadline)
        return pixels

    def _receive(self, path: str, buffer: Any, deadline: float) -> Any:
        """Fills the buffer from the child."""
        assert self._child is not None and self._child.stdout is not None
        pipe = self._child.stdout.fileno()
        ready = select.poll()
        ready.register(pipe, select.POLLIN)
        view = memoryview(buffer)
        while len(view):
            if ready.poll(_POLL_MILLISECONDS):
                count = os.readv(pipe, [view])
                if not count:
                    raise ReaderDiedError(f"{path} killed the process that read it again; check it.")
                view = view[count:]
            elif time.monotonic() > deadline:
                raise ReadTimeoutError(
                    f"{path} could not be read again within {self._read_timeout:g} s (data.read_timeout); check "
                    "the disk or the network mount that it lies on."
                )
            elif self._is_over():
                raise ReadingStopped
        return buffer

    def _is_over(self) -> bool:
        if self._stopped() and self._stop_seen is None:
            self._stop_seen = time.monotonic()
        return self._stop_seen is not None and time.monotonic() > self._stop_seen + _SECONDS_AFTER_STOP


def serve() -> None:
    """The child: answers until its standard input ends, or its output is closed."""
    try:
        _answer_all()
    except BrokenPipeError:
        os._exit(0)  # the parent has stopped or was killed; an ordinary exit would flush, and complain


def _answer_all() -> None:
    from sapiens_pl.pictures.sources import open_again  # decoders are for those who decode

    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a source prints must not mix with answers
    answers.write(b"\n")  # ready
    answers.flush()
    read: Callable[[str, str], LoadedImage] | None = None
    for line in sys.stdin.buffer:
        request = json.loads(line)
        signal.alarm(request["seconds"])  # in case the parent is killed while this read is stuck
        try:
            read = read or open_again(**request["origin"])
            pixels = _checked(read(request["name"], request["path"]), request).pixels
            header: dict[str, Any] = {"shape": pixels.shape}
            content = memoryview(pixels).cast("B")
        except MissingImageError:
            header, content = {"missing": True}, memoryview(b"")
        except Exception as error:  # a MemoryError is this picture's too
            told = str(error) if isinstance(error, SapiensError) else f"{request['path']} cannot be read ({error!r})."
            header, content = {"error": told}, memoryview(b"")
        answers.write(json.dumps(header).encode() + b"\n")
        answers.write(content)
        answers.flush()
        signal.alarm(0)


def _checked(image: LoadedImage, request: dict[str, Any]) -> LoadedImage:
    """As the request wants it: with pixels that can be sent, and those of the frame in which the poses were found."""
    pixels = image.pixels
    check_same_time(image, request["path"], request["name"], request["pts"])
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"{pixels.dtype} pixels of the shape {pixels.shape}, not uint8 of (H, W, 3)")
    return image._replace(pixels=np.ascontiguousarray(pixels))
