"""Finding results that are no longer whole: empty or cut short by a crash, or changed on the disk since.

Files appear under their names only when the disk has them. What damages one later changes its time of change
(`ctime`), which nobody can set: so of the JSON files only those are opened that have changed since the last look.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from sapiens_pl.core.errors import ConfigError, write_error
from sapiens_pl.core.folders import make_folders
from sapiens_pl.products.parquet_parts import images_of, pyarrow
from sapiens_pl.records.run_folder import RunFolder

log = logging.getLogger(__name__)

_DIGEST_BYTES = 8
_DIGEST = re.compile(r"-([0-9a-f]{16})\.parquet$")
_COARSEST_CLOCK_NS = 2_000_000_000
_TAIL_BYTES = 64


def digest_of(part: bytes) -> str:
    """What a part's name ends with."""
    return hashlib.blake2b(part, digest_size=_DIGEST_BYTES).hexdigest()


def set_damaged_aside(folder: RunFolder) -> None:
    """Moves what is no longer whole to `damaged/` and says so: its images are then done again.

    Only for the holder of the lock, while nobody else is at work.

    Raises:
        WriteError: it cannot be moved.
    """
    begin = folder.looked.with_suffix(".begun")
    folder.write(begin, b"")  # its time is this moment, by the file system's own clock
    damaged = list(_torn_json(folder))
    planned = folder.read_inputs() if damaged else {}
    _set_aside(folder, [folder.prediction_path(name) for name in damaged if name in planned], "predictions/")
    parts = folder.parts()
    if parts:
        pyarrow()  # without it none can be read
    _set_aside(folder, [part for part in parts if not _is_whole(part)], "parquet/")
    os.replace(begin, folder.looked)


def _torn_json(folder: RunFolder) -> Iterator[str]:
    looked_at = _last_look_ns(folder) - _COARSEST_CLOCK_NS
    root = os.path.join(folder.predictions, "")
    for name in folder.with_json():
        if not _ends_well(f"{root}{name}.json", looked_at):
            yield name


def _last_look_ns(folder: RunFolder) -> int:
    """When everything in the folder was whole; 0 if that is not known."""
    try:
        looked = folder.looked.stat()
        return looked.st_mtime_ns if looked.st_dev == folder.predictions.stat().st_dev else 0
    except OSError:
        return 0


def _ends_well(path: str, looked_at_ns: int) -> bool:
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode) or not status.st_size:
            return False
        if status.st_ctime_ns < looked_at_ns:
            return True
        handle = os.open(path, os.O_RDONLY)
        try:
            tail = os.pread(handle, _TAIL_BYTES, max(0, status.st_size - _TAIL_BYTES))
        finally:
            os.close(handle)
    except PermissionError:  # another user's, and whole for all that is known
        return True
    except OSError:  # a link to nothing, or a disk that does not give it
        return False
    return tail.rstrip().endswith(b"}")


def _is_whole(part: Path) -> bool:
    known = _DIGEST.search(part.name)
    try:
        if known is not None and digest_of(part.read_bytes()) != known[1]:
            return False
        images_of(part)
    except PermissionError:
        return True
    except (ConfigError, OSError):
        return False
    return True


def _set_aside(folder: RunFolder, damaged: list[Path], where: str) -> None:
    for path in damaged:
        target = folder.damaged / path.relative_to(folder.path)
        try:
            make_folders(target.parent)
            os.replace(path, target)
        except OSError as error:
            raise write_error(path, error) from None
    if damaged:
        log.warning(
            "%d files in %s were empty, cut short or changed on the disk (%s the first): they lie in %s now, and their "
            "images are done again.",
            *(len(damaged), where, damaged[0].name, folder.damaged),
        )
