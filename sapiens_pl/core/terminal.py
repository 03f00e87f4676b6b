"""Output never affects a run: streams that cannot be written do not end it, and names cannot command a terminal."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, TextIO


def printable(text: str, keep: str = "") -> str:
    """Text in which nothing commands a terminal or begins a line of its own: such characters stand as escapes.

    Args:
        text: may hold names of files, which may hold anything.
        keep: characters that stay, such as the line breaks of a table.
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in keep else ascii(sign)[1:-1] for sign in text)


def keep_going_without_a_terminal() -> None:
    """Makes the standard streams harmless: closed, a pipe that nobody reads, a full disk behind them.

    To be called first of all: a file that is opened while number 1 or 2 is free would become the terminal.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):  # else somebody else has made it, or this has been done
            setattr(sys, name, _Harmless(stream))
        elif stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115


class _Harmless:
    """A text stream that falls silent after its first failure."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except UnicodeEncodeError:  # names on the disk need not be text, nor is each terminal UTF-8
            plain = text.encode(self._stream.encoding, "backslashreplace").decode(self._stream.encoding)
            return self.write(plain)
        except OSError:
            self._fall_silent()
            return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._fall_silent()

    def _fall_silent(self) -> None:
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())  # what is still in the buffer must go somewhere at the end
            os.close(nowhere)
            self._stream.flush()
