"""`predict.log`: what a run has said, in its folder, wherever that is and whoever has named it.

The run itself writes it, not Hydra: Hydra opens its file before a job begins, so in the folder of a run that then
refuses the job, and of several processes and shards each needs one of its own. What is said before the folder is the
run's is held back until it is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sapiens_pl import __version__
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.logs import Lines, note
from sapiens_pl.records.outlet import outlet_of

if TYPE_CHECKING:
    from sapiens_pl.records.run_folder import RunFolder

LOG_NAME = "predict.log"
_MOST_HELD = 1000


class _RunLog(logging.Handler):
    """Holds records back until there is a file to write them to."""

    def __init__(self) -> None:
        super().__init__()
        self.file: logging.FileHandler | None = None
        self._held: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        if self.file is not None:
            self.file.handle(record)
        elif len(self._held) < _MOST_HELD:
            self._held.append(record)

    def begin(self, path: Path) -> None:
        self.file = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
        self.file.setFormatter(Lines())
        for record in self._held:
            self.file.handle(record)
        self._held.clear()

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
        super().close()


@contextmanager
def held_back() -> Iterator[None]:
    """Holds back what is said inside, until `log_into`; what is held back at the end goes nowhere."""
    handler, root = _RunLog(), logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()


def log_into(folder: Path, name: str = LOG_NAME) -> None:
    """From now on, and from the beginning on, what this process says stands in the run's folder too.

    Raises:
        ConfigError: the file cannot be written.
    """
    handler = next((each for each in logging.getLogger().handlers if isinstance(each, _RunLog)), None)
    if handler is None or handler.file is not None:
        return
    with suppress(FileNotFoundError):  # of an earlier run or command: what is said now follows
        outlet_of(folder).fetch(folder / name)
    try:
        handler.begin(folder / name)
    except OSError as error:
        raise ConfigError(
            f"{folder / name} cannot be used ({error.strerror}); fix that and run the same command again."
        ) from None


def log_name(folder: RunFolder) -> str:
    """No two processes of a run have the same."""
    shard = f"-shard{folder.shard}" if folder.num_shards > 1 else ""
    rank = f"-rank{folder.rank}" if folder.rank else ""
    return f"predict{shard}{rank}.log"


@contextmanager
def logged_in(folder: Path, command: str) -> Iterator[None]:
    """For a command on a run that is there: what it says is appended to that run's log."""
    log_into(folder)
    note(f"sapiens_pl {__version__}: {command}")
    yield
    outlet_of(folder).put(folder / LOG_NAME)
