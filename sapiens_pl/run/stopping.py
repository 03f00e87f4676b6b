"""Ending a run early and in order: on SIGINT, on SIGTERM, or because a part of the run asks for it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import lightning as L

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_FROM_FIRST_RANK = signal.SIGUSR1
"""How the first rank passes a signal on to those that it has started: if they get one Ctrl-C twice, they must not take
it
for two."""
_ONE_EVENT_SECONDS = 0.5
"""A launcher and the terminal may both pass on one and the same Ctrl-C."""


class StopRequest(L.Callback):
    """Whether the run shall end after the batch in flight, and why.

    Calling it gives True once a stop was asked for; the loader then hands out no further batch. Before
    the first batch there is nothing to finish, and a signal ends the process by `SystemExit`.

    Args:
        others: gives the ranks that this process has started; a signal is passed on to them.
        is_started: the first rank has started this process, and passes signals on to it.

    Attributes:
        signal: the first signal that came, or None.
        reason: the sentence of the part that asked, or None.
    """

    def __init__(self, others: Callable[[], list[subprocess.Popen]] = lambda: [], is_started: bool = False) -> None:
        self._others = others
        self._signals = (*SIGNALS, _FROM_FIRST_RANK) if is_started else SIGNALS
        self.signal: signal.Signals | None = None
        self.reason: str | None = None
        self._in_loop = False
        self._several_processes = False
        self._time = 0.0

    def __call__(self) -> bool:
        return self.signal is not None or self.reason is not None

    def ask(self, reason: str) -> None:
        """Ends the run after the batch in flight; the first reason stays."""
        self.reason = self.reason or reason

    @property
    def exit_code(self) -> int | None:
        """128 + the signal's number, as shells have it; None without a signal."""
        return None if self.signal is None else 128 + self.signal

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Takes over the signals, and gives them back at the end.

        Where a signal comes while Python collects garbage, its `SystemExit` gets lost; the run then ends before the
        first batch, and no traceback tells of it.
        """
        if threading.current_thread() is not threading.main_thread():  # Python hands signals to no other
            yield
            return
        before = {number: signal.signal(number, self._handle) for number in self._signals}
        tell = sys.unraisablehook
        sys.unraisablehook = lambda lost: None if self() and lost.exc_type is SystemExit else tell(lost)
        try:
            yield
        finally:
            sys.unraisablehook = tell
            for number, handler in before.items():
                signal.signal(number, handler)

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._in_loop, self._several_processes = True, trainer.world_size > 1
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:  # Lightning has put its own in between
                signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        passed_on = number == _FROM_FIRST_RANK
        if self.signal is None:
            self.signal = signal.SIGTERM if passed_on else signal.Signals(number)
            self._time = time.monotonic()
            for process in self._others():
                process.send_signal(_FROM_FIRST_RANK)
            if not self._in_loop:
                sys.exit(self.exit_code)
            if not passed_on:
                _say(f"{self.signal.name}: finishing the batch in flight and its files; a second signal stops at once.")
        elif passed_on:
            return
        elif not self._several_processes or time.monotonic() - self._time > _ONE_EVENT_SECONDS:
            for child in multiprocessing.active_children():
                child.kill()
            for process in self._others():
                process.kill()
            os._exit(128 + number)


def _say(sentence: str) -> None:
    # Not by print: the signal may have come in the middle of one.
    with suppress(OSError, ValueError):  # a closed terminal must not raise here
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"\n{sentence}\n".encode())
