"""Shows a run's folder to others: on a disk nothing has to be done, but a folder may mirror a URL.

A run whose `output.dir` is a URL works in a folder of this machine, which mirrors it. Code that writes or removes a
lasting file of a run's folder tells the folder's outlet; journals and locks are never told.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Protocol


class Outlet(Protocol):
    """Shows the files of one run's folder to others; several threads may call.

    What is asked for below `records/` happens in the order in which it was asked for, and so does what is asked for of
    one file. It may happen later; `wait` returns when it has.

    Attributes:
        flush_seconds: what is only in a journal is lost with the machine, so it becomes a part after that time; None
            where the folder itself is safe.
    """

    flush_seconds: float | None

    def put(self, path: Path) -> None:
        """Shows a complete file to others, in place of what they see under its name.

        Raises:
            WriteError: this, or something that was asked for earlier, could not be done.
        """
        ...

    def put_first(self, path: Path) -> bool:
        """Has a file seen by others unless there is one of its name: of all that do so at once, one gets True.

        The others get False, and the file has the content of the first one's. Returns when that is so.

        Raises:
            WriteError: as for `put`.
        """
        ...

    def remove(self, path: Path) -> None:
        """Removes a file for others, if they see it. The caller removes it here (`remove`).

        Raises:
            WriteError: as for `put`.
        """
        ...

    def fetch(self, path: Path) -> None:
        """Fetches a file that others see, if it is not here yet; raises FileNotFoundError if there is none."""
        ...

    def look_at_others(self) -> None:
        """Soon fetches the progress of other processes; nothing depends on it."""
        ...

    def refresh(self) -> None:
        """Takes over what others have put or removed; products stay where they are.

        Raises:
            WriteError: it cannot be read.
        """
        ...

    def elsewhere(self, folder: Path) -> Collection[str]:
        """The files that others see below a folder and that need not be here, named from there, with slashes."""
        ...

    def size(self, path: Path) -> int | None:
        """Of a file as others see it, in bytes; None where there is none."""
        ...

    def wait(self) -> None:
        """Returns when everything that was asked for has happened.

        Raises:
            WriteError: something could not be done.
        """
        ...


class SeenAlready(Outlet):
    """The outlet of a folder on a disk: its files are visible to all that see the disk."""

    flush_seconds = None

    def put(self, path: Path) -> None:
        """Does nothing; so do the others."""

    def put_first(self, path: Path) -> bool:
        return True

    def remove(self, path: Path) -> None:
        pass

    def fetch(self, path: Path) -> None:
        pass

    def look_at_others(self) -> None:
        pass

    def refresh(self) -> None:
        pass

    def elsewhere(self, folder: Path) -> Collection[str]:
        return ()

    def size(self, path: Path) -> int | None:
        try:
            return path.stat().st_size
        except OSError:
            return None

    def wait(self) -> None:
        pass


_ON_DISK = SeenAlready()
_standing: dict[Path, Outlet] = {}


def stand_for(folder: Path, outlet: Outlet) -> None:
    """From now on, that outlet shows the folder."""
    _standing[folder] = outlet


def stand_no_longer(folder: Path) -> None:
    """The folder is an ordinary one again."""
    _standing.pop(folder, None)


def outlet_of(path: str | Path) -> Outlet:
    """The outlet of the folder that is, or contains, an absolute path."""
    if not _standing:
        return _ON_DISK
    path = Path(path)
    return next((_standing[place] for place in (path, *path.parents) if place in _standing), _ON_DISK)


def remove(path: str | Path) -> None:
    """Removes a file here, if it is there, and for others.

    Raises:
        OSError: it cannot be removed here.
        WriteError: it cannot be removed for others.
    """
    Path(path).unlink(missing_ok=True)
    outlet_of(path).remove(Path(path))
