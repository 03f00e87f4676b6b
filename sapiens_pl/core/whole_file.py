"""Files that are either complete or absent."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from sapiens_pl.core.errors import ResultNameError, write_error
from sapiens_pl.core.folders import make_folders

_NAME_ERRORS = frozenset(
    [errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.EINVAL, errno.EILSEQ, errno.ENOTEMPTY]
)
_NO_SYNC = frozenset([errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
"""Errors of file systems that cannot sync a single file to the disk."""


@contextmanager
def whole_file(path: Path, temporary: Path, durable: bool, named_by_image: bool) -> Iterator[BinaryIO]:
    """A file that appears under its name only when the block has ended well.

    Args:
        temporary: its name until then, on the same file system.
        durable: wait until the disk has it, so that a power cut leaves no half of it under its name.
        named_by_image: an image decides the name.

    Raises:
        ResultNameError: the file system takes no file of the name that an image's result would have.
        WriteError: no space, no permission, a vanished disk.
    """
    try:
        with open(temporary, "wb") as file:
            yield file
            if durable:
                bring_to_disk(file)
    except OSError as error:
        _remove(temporary)
        raise write_error(path, error) from None
    except BaseException:
        _remove(temporary)
        raise
    put_in_place(temporary, path, named_by_image)


def put_in_place(temporary: Path, path: Path, named_by_image: bool) -> None:
    """Gives a file that is whole its name, in folders that are made for it; if that fails, it is removed.

    Raises:
        ResultNameError, WriteError: as for `whole_file`.
    """
    try:
        try:
            os.replace(temporary, path)
        except FileNotFoundError:
            make_folders(path.parent)
            os.replace(temporary, path)
    except OSError as error:
        _remove(temporary)
        if named_by_image and error.errno in _NAME_ERRORS:
            message = f"The result cannot be named {path} ({error.strerror}); rename the image."
            raise ResultNameError(message) from None
        raise write_error(path, error) from None


def bring_to_disk(file: BinaryIO) -> None:
    """Returns when the written data is on the disk.

    Raises:
        OSError: the disk refuses it.
    """
    file.flush()
    try:
        getattr(os, "fdatasync", os.fsync)(file.fileno())  # not every system has fdatasync
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
