"""A product of single pictures in a run's folder: which of its files are there, and making them."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from sapiens_pl.core.errors import ResultError, UnreadableImageError, WriteError, write_error
from sapiens_pl.core.folders import walk
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.protocols import PictureProduct, VideoProduct
from sapiens_pl.core.structures import Failure, PoseResult
from sapiens_pl.core.wording import one_line
from sapiens_pl.products.chosen import ChosenProduct
from sapiens_pl.products.memory import Memory, VideoMemory, made_with
from sapiens_pl.products.second_read import ReadingStopped
from sapiens_pl.products.wholeness import Look
from sapiens_pl.records.outlet import outlet_of
from sapiens_pl.records.run_folder import RunFolder

log = logging.getLogger(__name__)

REASON_LENGTH = 1000

_OfOne = PictureProduct | VideoProduct


class Rereading(Protocol):
    """An object that reads pictures again."""

    def read(self, path: str, name: str = "", pts: int | None = None) -> np.ndarray: ...


class PictureFiles:
    """The files of one product.

    Args:
        folder: the run's.
        chosen: the product, with its settings.
    """

    def __init__(self, folder: RunFolder, chosen: ChosenProduct) -> None:
        assert isinstance(chosen.product, PictureProduct)
        self.name, self._product = chosen.name, chosen.product
        self.of_frames = chosen.product.of_frames
        self._run = folder
        self._made_with, self._memory = made_with(chosen.settings), Memory(folder, chosen.name)
        self._videos = VideoMemory(folder, chosen.name)
        self._look = Look(folder, chosen.name, chosen.product.ending)

    def settle(self, names: Collection[str]) -> None:
        """Removes the files of those pictures if they were made with other or unknown settings.

        To be called before any is made, by a process that is alone in the folder.

        Raises:
            WriteError: one cannot be removed.
        """
        if self._memory.recall() != self._made_with:
            remove_files(self._run.path, self._product, self._there() & set(names))
            self._memory.remember(self._made_with)

    def settle_frames(self, frames: Mapping[str, Collection[str]], states: Mapping[str, str]) -> None:
        """Removes the files of all frames of videos whose people or track ids have changed.

        As `settle`, and after it.

        Args:
            frames: of each video, the names of the frames that are done.
            states: of each video; differs where its records or their tracks do.
        """
        others = [video for video in frames if self._videos.recall(video) != states[video]]
        there = self._there() if others else set()
        for video in others:
            remove_files(self._run.path, self._product, there.intersection(frames[video]))
            self._videos.remember(video, states[video])

    def missing(self, names: Collection[str]) -> list[str]:
        """The pictures that have no file, in the order given. Damaged files are removed with a warning.

        Raises:
            WriteError: one cannot be removed.
        """
        if not names:
            return []
        there = self._there()
        is_here = self._run.mirror is None  # what is at a URL is whole
        damaged = self._look.damaged((name for name in names if name in there), self._path) if is_here else []
        if damaged:
            remove_files(self._run.path, self._product, damaged)
            log.warning(
                "%d files in %s/ were empty or cut short (%s the first); they are made again.",
                *(len(damaged), self._product.folder, damaged[0]),
            )
            there -= set(damaged)
        return [name for name in names if name not in there]

    def make(self, result: PoseResult, keypoint_set: KeypointSet, photographs: Rereading) -> Failure | None:
        """Makes one picture's file; several threads may.

        Returns:
            None, or why there is none.

        Raises:
            WriteError: no space, no permission, a vanished disk.
            ReadingStopped: the run is to stop, and nothing is known of this file.
        """
        try:
            content = self._product.content(result, keypoint_set, lambda: read_again(photographs, result))
            self._run.write(Path(self._path(result.name)), content, of_image=True)
        except ReadingStopped:
            raise
        except Exception as error:  # any error of drawing or encoding this one picture
            if isinstance(error, WriteError) and not isinstance(error, ResultError):
                raise
            return self._failure(result.name, error)
        return None

    def _failure(self, name: str, error: Exception) -> Failure:
        reason = one_line(error, REASON_LENGTH)
        if not isinstance(error, ResultError):  # which names the file itself
            reason = f"{self._product.folder}/{name}{self._product.suffix} is not made: {reason}"
        return Failure(name, None, type(error).__name__, reason, self.name)

    def _path(self, name: str) -> str:
        return _path(self._run.path, self._product, name)

    def _there(self) -> set[str]:
        """Names of all pictures that have a file, and other names of that form."""
        top, suffix = os.path.join(self._run.path, self._product.folder, ""), self._product.suffix
        here = (os.path.join(parent, file)[len(top) :] for parent, _, files in walk(top) for file in files)
        files = (*here, *self._run.outlet.elsewhere(Path(top)))
        return {file[: -len(suffix)] for file in files if file.endswith(suffix)}


def remove_files(folder: Path, product: _OfOne | type[_OfOne], names: Iterable[str]) -> None:
    """Removes the product's files of some pictures or videos, those that are there.

    Args:
        folder: the run's.

    Raises:
        WriteError: one cannot be removed.
    """
    for name in names:
        path = _path(folder, product, name)
        try:
            outlet_of(path).remove(Path(path))
            os.unlink(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:  # then there never was one
                raise write_error(Path(path), error) from None


def _path(folder: Path, product: _OfOne | type[_OfOne], name: str) -> str:
    return os.path.join(folder, product.folder, f"{name}{product.suffix}")


def read_again(photographs: Rereading, result: PoseResult) -> np.ndarray:
    """The pixels in which the poses of a result were found, (H, W, 3) uint8 BGR.

    Raises:
        SapiensError: they cannot be read, or have changed.
        ReadingStopped: the run is to stop.
    """
    if not result.path:
        raise UnreadableImageError("it is not known where the picture lies.")
    pixels = photographs.read(result.path, result.name, None if result.frame is None else result.frame.pts)
    height, width = pixels.shape[:2]
    if result.image_wh not in (None, (width, height)):
        raise UnreadableImageError(
            f"{result.path} is another picture now, of {width}x{height} px; its poses were found in one of "
            f"{'x'.join(map(str, result.image_wh or ()))}."
        )
    return pixels
