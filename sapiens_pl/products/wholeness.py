"""Finds damaged products: emptied or cut short by a crash or by hand.

Files appear under their names only when the disk has them. What damages one later changes its time of change
(`ctime`), which programs cannot set: so only those are opened that have changed since the last look.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from sapiens_pl.core.errors import write_error
from sapiens_pl.products.memory import FOLDER
from sapiens_pl.records.run_folder import RunFolder

_COARSEST_CLOCK_NS = 2_000_000_000
_TAIL_BYTES = 64


class Look:
    """At the files of one product in one run's folder.

    Args:
        folder: the run's, opened.
        name: the product's.
        ending: with what a whole file ends; blanks may follow.
    """

    def __init__(self, folder: RunFolder, name: str, ending: bytes) -> None:
        self._folder, self._ending = folder, ending
        self._looked = folder.path / FOLDER / f"{name}.looked"

    def damaged(self, names: Iterable[str], path_of: Callable[[str], str]) -> list[str]:
        """Those whose file is not whole.

        Raises:
            WriteError: no space, no permission, a vanished disk.
        """
        begun = self._looked.with_suffix(".begun")
        self._folder.write(begun, b"", durable=False)  # its time is this moment, by the file system's own clock
        since = self._last_ns() - _COARSEST_CLOCK_NS
        damaged = [name for name in names if not _is_whole(path_of(name), self._ending, since)]
        try:
            os.replace(begun, self._looked)
        except OSError as error:
            raise write_error(self._looked, error) from None
        return damaged

    def _last_ns(self) -> int:
        try:
            return self._looked.stat().st_mtime_ns
        except OSError:
            return 0


def _is_whole(path: str | Path, ending: bytes, since_ns: int) -> bool:
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode) or not status.st_size:
            return False
        if status.st_ctime_ns < since_ns:
            return True
        handle = os.open(path, os.O_RDONLY)
        try:
            tail = os.pread(handle, _TAIL_BYTES, max(0, status.st_size - _TAIL_BYTES))
        finally:
            os.close(handle)
    except PermissionError:  # another user's file, which is assumed to be complete
        return True
    except OSError:  # a broken link, or a disk error
        return False
    return tail.rstrip().endswith(ending)
