"""Ctrl-C from a command's first moment: no traceback, and exit code 130. Imports nothing large, to be early."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise

_COMMANDS = {
    f"sapiens_pl.{name}" for name in ("predict", "evaluate", "collect", "convert", "make", "models", "report", "doctor")
}
_EXIT_CODE = 128 + signal.SIGINT
_SAID = "interrupted; what is done stays, and the same command continues."


def module_to_run() -> str | None:
    """The module of this package that `python -m` is about to run; None where the package is only imported."""
    if sys.argv[:1] != ["-m"]:
        return None
    named = [second for first, second in pairwise(sys.orig_argv) if first == "-m"]
    return next((name for name in named if name.partition(".")[0] == "sapiens_pl"), None)


def end_at_once() -> None:
    """While a command imports what it needs, there is nothing that Ctrl-C could harm."""
    if module_to_run() in _COMMANDS:
        signal.signal(signal.SIGINT, _end)


def _end(number: int, frame: object) -> None:
    with suppress(OSError):
        os.write(2, b"interrupted.\n")  # no print: the import of what that needs may be under way
    os._exit(_EXIT_CODE)


@contextmanager
def importing() -> Iterator[None]:
    """Around what a command imports late: libraries may make anything of a Ctrl-C in the midst of it."""
    before = signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def say_interrupted() -> None:
    """A second Ctrl-C would only add a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("interrupted.", file=sys.stderr)


def run(main: Callable[[], int | None]) -> None:
    """Runs a command whose imports are done; Ctrl-C then ends it in order, with one line."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = main()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would only add a traceback
        print(_SAID, file=sys.stderr)
        code = _EXIT_CODE
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done: one that comes now changes nothing
    sys.exit(code)
