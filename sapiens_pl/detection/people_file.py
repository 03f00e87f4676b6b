"""Lines of what was detected: the image, its size and its people, one image a line.

Each file has one process that appends to it, so nobody waits, and a kill costs at most the line being written.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sapiens_pl.core.errors import write_error
from sapiens_pl.core.structures import ListedImage
from sapiens_pl.core.text_files import to_json
from sapiens_pl.records.outlet import outlet_of


class Detected(NamedTuple):
    """The people of one image: `rows` (N, 5) float64: x, y, width, height in image px, and score."""

    image: ListedImage
    rows: np.ndarray


class PeopleFile:
    """A file that this process appends to; it is made, with its folder, when there is a first line.

    Args:
        path: in the folder of a run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None
        self._shown = time.monotonic()

    def append(self, detected: Detected) -> None:
        """Notes one image.

        Raises:
            WriteError: no space, no permission, a vanished disk.
        """
        (name, width, height, _), rows = detected
        line = {"image": name, "width": width, "height": height}
        data = (to_json(line | {"bboxes": rows[:, :4].tolist(), "scores": rows[:, 4].tolist()}) + "\n").encode()
        try:
            if self._handle is None:
                self._handle = _opened(self.path)
            while data:  # a full disk may take a part
                data = data[os.write(self._handle, data) :]
        except OSError as error:
            raise write_error(self.path, error) from None
        seconds = outlet_of(self.path).flush_seconds
        if seconds is not None and time.monotonic() - self._shown > seconds:
            self._show()

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
            self._show()

    def _show(self) -> None:
        self._shown = time.monotonic()
        outlet_of(self.path).put(self.path)


def read_people_file(path: Path) -> Iterator[Detected]:
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                content = json.loads(line)
                if not isinstance(content["image"], str):
                    raise TypeError("no name")
                image = ListedImage(content["image"], content["width"], content["height"], None)
                boxes = np.array(content["bboxes"], np.float64).reshape(-1, 4)
                yield Detected(image, np.column_stack([boxes, np.array(content["scores"], np.float64)]))
            except (ValueError, KeyError, TypeError, RecursionError):  # the last line of a killed run
                continue


def _opened(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    size = os.fstat(handle).st_size
    if size and os.pread(handle, 1, size - 1) != b"\n":  # the last line of a killed run
        os.write(handle, b"\n")
    return handle
