"""How far something is: a bar in a terminal, lines in a log."""

from __future__ import annotations

import math
import sys
import time
from contextlib import suppress

from tqdm import tqdm

_SECONDS_BETWEEN_LOG_LINES = 30.0
_LOG_LINE = "{desc}: {percentage:3.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"


class Bar:
    """A progress bar in a terminal; in a log, a line at its beginning and end and now and then between.

    Args:
        name: of what goes on.
        unit: of what is counted.
        shown: if not, it is silent.
        stays: in a terminal, when it is closed.
    """

    def __init__(self, name: str, unit: str, shown: bool = True, stays: bool = True) -> None:
        self._name, self._unit = name, unit
        self._begin = time.monotonic()
        self._last_line = -math.inf
        self._done = self._total = 0
        self._said: int | None = None
        watched = sys.stderr.isatty()
        self._tqdm = tqdm(desc=name, unit=unit, dynamic_ncols=True, smoothing=0.05, leave=stays) if shown and watched else None
        self._in_log = shown and not watched

    def show(self, done: int, total: int, note: str) -> None:
        """`note` is what stands behind the numbers."""
        self._done, self._total, self._note = done, total, note
        if self._tqdm is not None:
            self._tqdm.total = total
            self._tqdm.set_postfix_str(note, refresh=False)
            self._tqdm.update(done - self._tqdm.n)
        elif time.monotonic() - self._last_line > _SECONDS_BETWEEN_LOG_LINES:
            self._line()

    def close(self) -> None:
        """Leaves the last numbers on the screen."""
        if self._tqdm is not None:
            self._tqdm.close()
        elif self._done != self._said:
            self._line()

    def _line(self) -> None:
        if not self._in_log or not self._total:
            return
        self._last_line, self._said = time.monotonic(), self._done
        seconds = self._last_line - self._begin
        line = tqdm.format_meter(
            self._done, self._total, seconds, 0, self._name, unit=self._unit, postfix=self._note, bar_format=_LOG_LINE
        )
        with suppress(OSError, ValueError):  # a closed log ends no run
            print(line, file=sys.stderr, flush=True)
