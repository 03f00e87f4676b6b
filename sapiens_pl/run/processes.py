"""The processes of one run: what they know of each other, through its folder.

The first one writes there the list of what is left to do, on which all must agree; which processes have died is seen
when the first one waits for the others at its end.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import lightning as L

from sapiens_pl.core.columns import Names
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.run.ranks import RUN_ID, are_independent, forget_started_ranks, ranks_started_by

_BETWEEN_LOOKS_SECONDS = 1.0
_BETWEEN_TRIES_SECONDS = 0.1


class Processes:
    """What the processes of one run know of each other, through its folder.

    Args:
        folder: the run's.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._id = os.environ.get(RUN_ID) if folder.rank else None  # set: the first rank has started this one
        self._starters: list[Callable[[], list[subprocess.Popen]]] = []
        self._independent = False
        self._end = threading.Event()
        self.agreed = False
        """True once it is known what is left to do, and the ranks can do without the first one."""

    @property
    def is_started(self) -> bool:
        """True in a rank that the first one has started."""
        return self._folder.rank != 0 and self._id is not None

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """In the first rank, which has the folder's lock, a new run begins; the other ranks join it."""
        if self._folder.rank == 0:
            self._id = f"{os.getpid()}-{secrets.token_hex(8)}"
            self._folder.members.take_over(self._id, alone=self._folder.lock.only_one)
            os.environ[RUN_ID] = self._id
        elif self.is_started:
            self._join()
        try:
            yield
        finally:
            self._end.set()
            if self._folder.rank == 0:
                del os.environ[RUN_ID]
                if self.started():
                    forget_started_ranks()

    def trained_by(self, trainer: L.Trainer) -> None:
        """Is told of each trainer of the run, before it works."""
        if self._folder.rank == 0 and self._id is not None:
            self._folder.members.take_over(self._id)  # once more: the folder may have been emptied since
        self._starters.append(ranks_started_by(trainer))
        self._independent = are_independent(trainer)

    def started(self) -> list[subprocess.Popen]:
        """The ranks that this process has started."""
        return next((ranks for starter in self._starters if (ranks := starter())), [])

    def agree(self, names: Names) -> Names:
        """What is left to do as the first rank sees it: the others may have started later, and see its results.

        Args:
            names: the images that this process finds left.
        """
        self.agreed = True
        if not self._independent:
            if self._folder.rank and self._id is None:
                self._join()
            return names
        if self._folder.rank == 0:
            self._folder.write(self._folder.plan_file, json.dumps({"run": self._id, "names": list(names)}).encode())
            return names
        while (plan := self._read_plan()) is None:
            if self._is_orphan():
                self._leave()
            time.sleep(_BETWEEN_TRIES_SECONDS)
        return Names.of(plan)

    def wait(self, meanwhile: Callable[[], None] = lambda: None) -> list[int]:
        """The exit codes of the ranks that this one has started, when all have ended.

        Args:
            meanwhile: called now and then.
        """
        while any(process.poll() is None for process in self.started()):
            meanwhile()
            time.sleep(_BETWEEN_TRIES_SECONDS)
        return [process.wait() for process in self.started()]

    def end_or_wait(self) -> list[int]:
        """For a first rank that cannot go on: the others finish their shares, if they know them."""
        if not self.agreed:
            for process in self.started():
                process.kill()
        return self.wait()

    def _join(self) -> None:
        self._folder.members.join(self._id)
        threading.Thread(target=self._watch, name="run watch", daemon=True).start()

    def _watch(self) -> None:
        """Ends this process when another run has begun in the folder."""
        while not self._end.wait(_BETWEEN_LOOKS_SECONDS):
            with suppress(OSError):  # the folder is gone; the next write will report it
                if self._folder.members.is_over():
                    self._leave()

    def _leave(self) -> None:
        for child in multiprocessing.active_children():
            child.kill()
        self._folder.close()
        os._exit(1)

    def _is_orphan(self) -> bool:
        return self._id is not None and os.getppid() != int(self._id.partition("-")[0])

    def _read_plan(self) -> list[str] | None:
        with suppress(OSError, ValueError):
            plan = json.loads(self._folder.plan_file.read_text("utf-8"))
            if plan["run"] == self._id:
                return plan["names"]
        return None
