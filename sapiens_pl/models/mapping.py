"""A weights file in memory, without a copy of it."""

from __future__ import annotations

import mmap
import sys
import weakref
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

_NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)
"""Python has the name from 3.12 on. Without it Linux refuses to map a file that is larger than the machine's memory."""

MAPS: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
"""All maps that are in use."""


class FileMap:
    """A memory map of a file, whose pages go as soon as the tensors made of them are gone.

    So the host never holds the file and the weights that it has been converted to at once. It is one map: a map
    for each tensor would hold a file open each, and large networks have more tensors than a process may have
    files. It is copied on write: the file stays as it is whatever becomes of the tensors.

    Raises:
        OSError: the file cannot be read or mapped.
        ValueError: the file is empty.
    """

    def __init__(self, path: Path) -> None:
        with open(path, "rb") as file:
            if sys.platform == "win32":
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            else:
                flags = mmap.MAP_PRIVATE | _NO_RESERVE
                self._map = mmap.mmap(file.fileno(), 0, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        MAPS.add(self._map)

    def tensor(self, offset: int, length: int) -> Tensor:
        """(length,) uint8: the bytes from `offset` on, which no other tensor may share.

        Raises:
            ValueError: the file ends before.
        """
        array = np.frombuffer(self._map, np.uint8, length, offset)
        weakref.finalize(array, _give_back, self._map, offset, length).atexit = False
        return torch.from_numpy(array)


def _give_back(map_: mmap.mmap, offset: int, length: int) -> None:
    start = -(-offset // mmap.PAGESIZE) * mmap.PAGESIZE
    whole_pages = (offset + length - start) // mmap.PAGESIZE * mmap.PAGESIZE
    if whole_pages > 0 and hasattr(mmap, "MADV_DONTNEED"):
        map_.madvise(mmap.MADV_DONTNEED, start, whole_pages)
