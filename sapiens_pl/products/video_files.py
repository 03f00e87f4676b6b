"""A product of single videos in a run's folder: whether its files are there and of today's records, and making them."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sapiens_pl.core.errors import ResultNameError, WriteError, write_error
from sapiens_pl.core.protocols import Film, MakingStopped, VideoProduct
from sapiens_pl.core.structures import Failure
from sapiens_pl.core.whole_file import bring_to_disk, put_in_place
from sapiens_pl.core.wording import one_line
from sapiens_pl.products.chosen import ChosenProduct
from sapiens_pl.products.memory import VideoMemory, made_with
from sapiens_pl.products.picture_files import REASON_LENGTH, remove_files
from sapiens_pl.products.run_files import size_of
from sapiens_pl.products.second_read import ReadingStopped
from sapiens_pl.records.run_folder import RunFolder

_OF_THE_DISK = frozenset([errno.ENOSPC, errno.EDQUOT, errno.EROFS])
"""Errors that every file would have; others may come from reading one video."""


class VideoFiles:
    """The files of one product.

    Args:
        folder: the run's.
        chosen: the product, with its settings.
    """

    def __init__(self, folder: RunFolder, chosen: ChosenProduct) -> None:
        assert isinstance(chosen.product, VideoProduct)
        self.name, self._product, self._settings = chosen.name, chosen.product, chosen.settings
        self._run, self._memory = folder, VideoMemory(folder, chosen.name)

    def missing(self, video: str, state: str) -> bool:
        """True if a video's file is not there or not whole, or was made of other records or with other settings.

        Args:
            state: of the video; differs where its records or their tracks do.
        """
        known = self._recall(video, state)
        return known is None or known["size"] is None or size_of(self._path(video)) != known["size"]

    def failed_before(self, video: str, state: str) -> bool:
        """True if the file could not be made of the same records with the same settings."""
        known = self._recall(video, state)
        return known is not None and known["size"] is None

    def make(self, film: Film, state: str) -> Failure | None:
        """Makes a video's file again; it appears when it is complete.

        Returns:
            None, or why there is none.

        Raises:
            MakingStopped: the run is to stop; the file stays missing.
            WriteError: no space, no permission, a vanished disk.
        """
        self._memory.forget(film.name)
        failure = size = None
        try:
            size = self._written(film)
        except (MakingStopped, ReadingStopped):
            raise MakingStopped from None
        except Exception as error:  # any error of drawing or encoding this one video
            if isinstance(error, WriteError) and not isinstance(error, ResultNameError):
                raise
            failure = self._failure(film.name, error)
        self._memory.remember(film.name, self._made_with(state, size))
        return failure

    def _written(self, film: Film) -> int:
        """The size in bytes of the file, which is at its place then."""
        path = self._path(film.name)
        remove_files(self._run.path, self._product, [film.name])  # a file of other records is worse than none
        with self._unfinished_folder(path) as folder:
            target = Path(folder, f"film{self._product.suffix}")
            try:
                self._product.write(film, target)
                with open(target, "rb+") as file:
                    bring_to_disk(file)
                    size = os.fstat(file.fileno()).st_size
            except OSError as error:
                if error.errno in _OF_THE_DISK:
                    raise write_error(path, error) from None
                raise
            put_in_place(target, path, named_by_image=True)
            self._run.outlet.put(path)
        return size

    def _unfinished_folder(self, path: Path) -> TemporaryDirectory[str]:
        try:
            return TemporaryDirectory(dir=self._run.unfinished)
        except OSError as error:
            raise write_error(path, error) from None

    def _recall(self, video: str, state: str) -> dict[str, Any] | None:
        known = self._memory.recall(video)
        size = known.get("size") if isinstance(known, dict) else None
        return known if known == self._made_with(state, size) else None

    def _made_with(self, state: str, size: int | None) -> Any:
        return made_with(self._settings, records=state, size=size)

    def _failure(self, video: str, error: Exception) -> Failure:
        reason = one_line(error, REASON_LENGTH)
        if not isinstance(error, ResultNameError):  # which names the file itself
            reason = f"{self._product.folder}/{video}{self._product.suffix} is not made: {reason}"
        return Failure(video, None, type(error).__name__, reason, self.name)

    def _path(self, video: str) -> Path:
        return Path(self._run.path, self._product.folder, f"{video}{self._product.suffix}")
