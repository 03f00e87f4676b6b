"""What a product was made with, remembered in the folder of the run: `.products/NAME.json`.

Pictures drawn with another threshold, and tables made of other records, are told by it from those that are wanted now.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from sapiens_pl.core.errors import write_error
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
        """What was remembered last; None where nothing is, or nothing that can be read."""
        with suppress(OSError, ValueError, RecursionError):
            return json.loads(self._file.read_text("utf-8"))
        return None

    def remember(self, made_with: Any) -> None:
        """Raises WriteError where that cannot be written."""
        self._folder.write(self._file, (json.dumps(made_with, sort_keys=True) + "\n").encode())

    def forget(self) -> None:
        """Raises WriteError where that cannot be removed."""
        try:
            self._file.unlink(missing_ok=True)
        except OSError as error:
            raise write_error(self._file, error) from None


def made_with(settings: dict[str, Any], **more: Any) -> Any:
    """As it comes back from the file."""
    return json.loads(json.dumps({"settings": settings} | more, default=str))


def forget_all(folder: Path) -> None:
    """For a run that starts over."""
    for file in (folder / FOLDER).glob("*.json"):
        file.unlink(missing_ok=True)
