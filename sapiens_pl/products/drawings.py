"""The pictures that show one image's poses: overlays and OpenPose's skeletons. None of them is a record."""

from __future__ import annotations

import logging
from collections.abc import Callable
from queue import LifoQueue

from sapiens_pl.core.errors import ResultError, WriteError
from sapiens_pl.core.keypoints import KeypointSpec
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.products.openpose_pictures import openpose_png
from sapiens_pl.products.overlay import overlay_jpeg
from sapiens_pl.products.second_read import PictureReader, ReadingStopped
from sapiens_pl.records.run_folder import RunFolder

log = logging.getLogger(__name__)

_NUM_READERS = 2


class Drawings:
    """Draws what is asked for; a drawing that cannot be made is left out with a sentence, and its image is done.

    Args:
        folder: the run's.
        spec: the network's keypoints.
        overlay, openpose: which.
        score_threshold: keypoints with a lower score are not drawn.
    """

    def __init__(
        self, folder: RunFolder, spec: KeypointSpec, overlay: bool, openpose: bool, score_threshold: float
    ) -> None:
        self._folder, self._spec, self._score_threshold = folder, spec, score_threshold
        self._kinds: list[tuple[str, Callable[[PoseResult], None]]] = []
        if overlay:
            self._kinds.append(("overlay", self._write_overlay))
        if openpose:
            self._kinds.append(("OpenPose picture", self._write_openpose))
        self._readers: LifoQueue[PictureReader] = LifoQueue()

    def open(self, read_timeout: float, max_megapixels: float, stopped: Callable[[], bool]) -> None:
        """Makes what reads the photographs once more; arguments as for `PictureReader`."""
        for _ in range(_NUM_READERS):
            self._readers.put(PictureReader(read_timeout, max_megapixels, stopped))

    def close(self) -> None:
        while not self._readers.empty():
            self._readers.get().close()

    def write(self, result: PoseResult) -> int:
        """Draws one image; several threads may.

        Returns:
            How many drawings were left out.

        Raises:
            WriteError: no space, no permission, a vanished disk.
            ReadingStopped: the run is to stop; nothing is known of the image's drawings.
        """
        left_out = 0
        for kind, draw in self._kinds:
            try:
                draw(result)
            except ReadingStopped:
                raise
            except Exception as error:  # whatever drawing or encoding this one picture brings
                if isinstance(error, WriteError) and not isinstance(error, ResultError):
                    raise
                reason = " ".join(str(error).split())[:300] or type(error).__name__
                log.warning("The %s of %s is left out: %s", kind, result.name, reason)
                left_out += 1
        return left_out

    def _write_overlay(self, result: PoseResult) -> None:
        reader = self._readers.get()
        try:
            pixels = reader.read(result.path)
        finally:
            self._readers.put(reader)
        picture = overlay_jpeg(pixels, result, self._spec, self._score_threshold)
        self._folder.write(self._folder.overlay_path(result.name), picture)

    def _write_openpose(self, result: PoseResult) -> None:
        picture = openpose_png(result, self._spec, self._score_threshold)
        self._folder.write(self._folder.openpose_path(result.name), picture)
