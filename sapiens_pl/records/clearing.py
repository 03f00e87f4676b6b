"""Removing a run's results, or saying what cannot be removed."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.folders import walk
from sapiens_pl.records.outlet import outlet_of, remove


def empty_folder(folder: Path) -> None:
    """Removes all that a folder holds, and the folder unless it is a link or a mount point; links inside are removed,
    not followed.

    Raises:
        ConfigError: something cannot be removed.
    """
    outlet = outlet_of(folder)
    for name in outlet.elsewhere(folder):
        outlet.remove(folder / name)
    outlet.wait()  # until all are removed, they count as being there
    if not folder.is_dir():
        return
    try:
        emptied = []
        for parent, folders, files in walk(folder, onerror=_fail):
            paths = [os.path.join(parent, name) for name in folders]
            for path in (*(os.path.join(parent, name) for name in files), *filter(os.path.islink, paths)):
                remove(path)
            emptied += [path for path in paths if os.path.lexists(path)]
        for path in reversed(emptied):  # what lies in a folder comes after it
            os.rmdir(path)
    except OSError as error:
        raise _cannot(error) from None
    with suppress(OSError):
        folder.rmdir()


def remove_file(file: Path) -> None:
    """Removes a file, if it is there.

    Raises:
        ConfigError: it cannot be removed.
    """
    try:
        remove(file)
    except OSError as error:
        raise _cannot(error) from None


def _fail(error: OSError) -> None:
    raise error


def _cannot(error: OSError) -> ConfigError:
    return ConfigError(
        f"output.overwrite=true cannot remove {error.filename} ({error.strerror}); remove it by hand, or choose "
        "another output.dir."
    )
