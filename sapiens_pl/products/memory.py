"""What a product was made with, remembered in the folder of the run: `.products/NAME.json`.

It tells pictures drawn with another threshold, and tables made of other records, from those that are wanted now.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from sapiens_pl.core.errors import write_error
from sapiens_pl.records.outlet import remove
from sapiens_pl.records.run_folder import RunFolder

FOLDER = ".products"


class Memory:
    """Of one product in one run's folder.

    Args:
        folder: the run's.
        name: the product's.
    """

    def __init__(self, folder: RunFolder, name: str) -> None:
        self._folder, self._file = folder, folder.path / FOLDER / f"{name}.json"

    def recall(self) -> Any:
        """What was remembered last; None if there is nothing that can be read."""
        with suppress(OSError, ValueError, RecursionError):
            return json.loads(self._file.read_text("utf-8"))
        return None

    def remember(self, made_with: Any) -> None:
        """Raises WriteError where that cannot be written."""
        self._folder.write(self._file, (json.dumps(made_with, sort_keys=True) + "\n").encode())

    def forget(self) -> None:
        """Raises WriteError where that cannot be removed."""
        try:
            remove(self._file)
        except OSError as error:
            raise write_error(self._file, error) from None


class VideoMemory:
    """Of one product in one run's folder, for each video on its own: in a folder `.products/NAME/`.

    Args:
        folder: the run's.
        name: the product's.
    """

    def __init__(self, folder: RunFolder, name: str) -> None:
        self._folder, self._name = folder, name

    def recall(self, video: str) -> Any:
        return self._of(video).recall()

    def remember(self, video: str, made_with: Any) -> None:
        """Raises WriteError where that cannot be written."""
        self._of(video).remember(made_with)

    def forget(self, video: str) -> None:
        """Raises WriteError where that cannot be removed."""
        self._of(video).forget()

    def _of(self, video: str) -> Memory:
        return Memory(self._folder, f"{self._name}/{_short(video)}")


def forget_videos(folder: Path, videos: Iterable[str]) -> None:
    """For videos whose records have changed: their products are made again.

    Args:
        folder: the run's.

    Raises:
        WriteError: a file cannot be removed.
    """
    names = {f"{_short(video)}.json" for video in videos}
    for product in (folder / FOLDER).glob("*/"):
        for name in names:
            try:
                remove(product / name)
            except NotADirectoryError:
                break
            except OSError as error:
                raise write_error(product / name, error) from None


def _short(video: str) -> str:
    """A file name for a video's name, which may be long, and have slashes in it."""
    return hashlib.blake2b(video.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def made_with(settings: dict[str, Any], **more: Any) -> Any:
    """The settings as JSON gives them back."""
    return json.loads(json.dumps({"settings": settings} | more, default=str))
