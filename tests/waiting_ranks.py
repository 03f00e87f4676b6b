"""Ranks that Lightning's launcher starts within a forked command: forked too, before the command has begun.

A rank is the same command once more, so it cannot be forked when the launcher asks for it: the first one has threads,
locks and half a run behind it then. So each waits from the beginning, as a child of the first one, and goes when the
launcher would start a process.
"""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Start(NamedTuple):
    """With what a command starts."""

    arguments: list[str]
    working: Path
    variables: dict[str, str]


def ranks_in_waiting(arguments: list[str]) -> Start | None:
    """Forks as many as `trainer.devices` will need; gives what it starts with in a rank whose turn has come.

    In the first rank it gives None. One whose turn does not come ends with it.
    """
    said = [text.partition("=")[2] for text in arguments if text.startswith("trainer.devices=")]
    ends: list[int] = []
    for rank in range(1, int(said[-1]) if said and said[-1].isdecimal() else 1):
        end, own = os.pipe()
        if (pid := os.fork()) == 0:
            for other in (own, *ends):
                os.close(other)
            Path("/proc/self/comm").write_text(f"rank {rank}")
            return _wait(end)
        os.close(end)
        ends.append(own)
        _WAITING.append((pid, own))
    if ends:
        from lightning.pytorch.strategies.launchers import subprocess_script

        subprocess_script.subprocess = _InsteadOfSubprocess  # type: ignore[assignment, attr-defined]
    return None


def rank_of(pid: int) -> str:
    """A process's name, which is "rank 1" for one that Lightning has started within a forked command."""
    return Path(f"/proc/{pid}/comm").read_text().strip()


_WAITING: list[tuple[int, int]] = []


def _wait(end: int) -> Start:
    _WAITING.clear()
    with os.fdopen(end, "rb") as stream:
        said = stream.read()
    if not said:
        os._exit(0)
    return pickle.loads(said)


class _Rank:
    """A rank that has started, as a `subprocess.Popen` of it would be."""

    def __init__(self, command: list[str], env: Mapping[str, str], cwd: str | None) -> None:
        self.pid, end = _WAITING.pop(0)
        self.returncode: int | None = None
        first = next(index for index, text in enumerate(command) if "=" in text)
        start = Start(command[first:], Path(cwd or os.getcwd()), dict(env))
        with os.fdopen(end, "wb") as stream:
            stream.write(pickle.dumps(start))

    def poll(self) -> int | None:
        return self._ended(os.WNOHANG)

    def wait(self) -> int | None:
        return self._ended(0)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _ended(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode


class _InsteadOfSubprocess:
    Popen = _Rank
