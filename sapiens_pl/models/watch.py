"""Notices that a weights file is written to while a network reads its weights from there.

Weights that stay a memory map of their file are whatever the file holds at the moment. A look costs a system call a
file. A file that is replaced by another (a rename), or removed, does no harm: the map is of the one that was opened.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sapiens_pl.core.errors import CheckpointError, WeightsChangedError
from sapiens_pl.models.tensors import checkpoint_sha256


class _State(NamedTuple):
    file: tuple[int, int]
    """Device and inode: which file it is, whatever it is called."""
    size: int
    written: int
    touched: int
    """Time of the last change of any kind, in ns; unlike the time of writing, it cannot be set back."""


class WeightsWatch:
    """Made before the files are mapped.

    Args:
        checkpoint: the file, or the folder of `files`.

    Raises:
        OSError: a file is not there.
    """

    def __init__(self, checkpoint: Path, files: Sequence[Path]) -> None:
        self._checkpoint, self._digest = checkpoint, ""
        self._states = {file: _state(file) for file in files}

    def settled_digest(self) -> str:
        """The checkpoint's SHA-256; from now on, files that were only touched are known again by it.

        Raises:
            CheckpointError: since they were mapped, others have come: the digest is theirs.
        """
        if not self._digest:
            digest = checkpoint_sha256(self._checkpoint)
            for file, state in self._states.items():
                if _state(file) != state:
                    raise CheckpointError(f"{file} was changed while it was being loaded; run the same command again.")
            self._digest = digest
        return self._digest

    def look(self) -> None:
        """
        Raises:
            WeightsChangedError: a file was written to since it was mapped.
        """
        for file, state in list(self._states.items()):
            try:
                now = _state(file)
            except OSError:
                now = None
            if now is None or now.file != state.file:  # the map is of a file that no longer has this name
                del self._states[file]
            elif now != state:
                if not self._is_the_same(state, now):
                    raise WeightsChangedError(
                        f"{file} was written to while its weights were in use; what was posed since is not kept. Put "
                        "new weights under another name, or move them there in one step (mv), and run again: with the "
                        "same weights the same command continues, others need another output.dir."
                    )
                self._states[file] = now

    def _is_the_same(self, state: _State, now: _State) -> bool:
        if now.size != state.size:
            return False
        if not self._digest:
            return now.written == state.written
        return checkpoint_sha256(self._checkpoint) == self._digest


def _state(file: Path) -> _State:
    found = os.stat(file)
    return _State((found.st_dev, found.st_ino), found.st_size, found.st_mtime_ns, found.st_ctime_ns)
