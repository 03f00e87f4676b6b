"""How far something is: a bar in a terminal, lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread
from typing import Any, TypeVar

from tqdm import tqdm

from sapiens_pl.core.logs import rank, say_line

Item = TypeVar("Item")

SECONDS_BETWEEN_LINES = 30.0
_SECONDS_BETWEEN_LOOKS = 0.5
_PATIENT_SECONDS = 2.0
_KNOWN = "{desc}: {percentage:3.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
_SECONDS = "{desc}: {percentage:3.0f}% {n_fmt}/{total_fmt} s"
_OPEN = "{desc}: {n_fmt}{unit} [{elapsed}, {rate_fmt}{postfix}]"


class Bar:
    """A progress bar in a terminal; in a log, a line at its beginning and end, and at regular times between.

    The lines between come from a thread of its own: also where nothing goes on, somebody who watches sees that.

    Args:
        name: of what goes on.
        unit: of what is counted; bytes (`B`) are told in MB and GB.
        shown: if not, it is silent.
        seconds: between two lines in a log.
        measure: gives what is done, where nobody calls `show` or `step`.
        patient: show nothing of what is done before the first line between would come.
        stays: in a terminal, when it is closed.
    """

    def __init__(
        self,
        name: str,
        unit: str,
        shown: bool = True,
        seconds: float = SECONDS_BETWEEN_LINES,
        measure: Callable[[], int] | None = None,
        patient: bool = False,
        stays: bool = True,
    ) -> None:
        self._name, self._seconds, self._measure, self._patient = name, seconds, measure, patient
        self._form: dict[str, Any] = {"unit": unit, "unit_scale": unit == "B"}
        self._begin = time.monotonic()
        self._done, self._note = 0, ""
        self._total: int | None = 0
        self._said: tuple[int, str] | None = None
        self._counting, self._end = Lock(), Event()
        self._thread: Thread | None = None
        watched = has_terminal()
        self._tqdm = None
        if shown and watched:
            delay = _PATIENT_SECONDS if patient else 0.0
            self._tqdm = tqdm(desc=name, dynamic_ncols=True, smoothing=0.05, delay=delay, leave=stays, **self._form)
        self._in_log = shown and not watched

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def show(self, done: int, total: int | None, note: str = "") -> None:
        """
        Args:
            total: 0 while there is nothing to do, None where nobody knows.
            note: stands behind the numbers.
        """
        with self._counting:
            self._done, self._total, self._note = done, total, note
            self._draw()
            begins = self._thread is None and (self._in_log or self._measure is not None) and total != 0
            if begins:
                if not self._patient:
                    self._line()
                self._thread = Thread(target=self._go_on, name=f"progress of {self._name}", daemon=True)
        if begins and self._thread is not None:
            self._thread.start()

    def step(self, num: int = 1) -> None:
        """So much more is done; several threads may say so."""
        with self._counting:
            self._done += num
            self._draw()

    def counted(self, items: Callable[[], Iterator[Item]], most: int) -> Iterator[Item]:
        """The items, each a step until `most` are done: they may be gone through more than once."""
        for item in items():
            yield item
            if self._done < most:
                self.step()

    def say(self, note: str) -> None:
        """What stands behind the numbers from now on."""
        with self._counting:
            self._note = note

    @property
    def done(self) -> int:
        return self._done

    def close(self) -> None:
        """Leaves the last numbers on the screen."""
        self._end.set()
        with self._counting:
            self._look()
            if self._tqdm is not None:
                self._draw()
                self._tqdm.close()
                self._tqdm = None
            elif self._said is not None and self._said != (self._done, self._note):
                self._line()
            self._in_log = False

    def _go_on(self) -> None:
        wait = self._seconds if self._in_log else _SECONDS_BETWEEN_LOOKS
        while not self._end.wait(wait):
            with self._counting:
                if not self._end.is_set():
                    self._look()
                    self._draw()
                    self._line()

    def _look(self) -> None:
        if self._measure is not None:
            with suppress(OSError):
                self._done = max(self._done, self._measure())

    def _draw(self) -> None:
        if self._tqdm is not None:
            self._tqdm.total = self._total or None
            self._tqdm.set_postfix_str(self._note, refresh=False)
            self._tqdm.update(self._done - self._tqdm.n)

    def _line(self) -> None:
        if not self._in_log or self._total == 0:
            return
        self._said = self._done, self._note
        form = _OPEN if not self._total else _SECONDS if self._form["unit"] == "s" else _KNOWN
        seconds = time.monotonic() - self._begin
        line = tqdm.format_meter(
            self._done, self._total, seconds, 0, self._name, postfix=self._note, bar_format=form, **self._form
        )
        with suppress(OSError, ValueError):  # a closed log ends no run
            say_line(line)


@contextmanager
def watched(name: str, unit: str, total: int | None, measure: Callable[[], int], **options: Any) -> Iterator[None]:
    """A bar of something that says nothing while it works, as a download: `measure` looks how far it is.

    Of several ranks, which all wait for the same, the first one shows it.
    """
    options["shown"] = options.get("shown", True) and not rank()
    with Bar(name, unit, measure=measure, **options) as bar:
        bar.show(0, total)
        yield


def has_terminal() -> bool:
    """Whether a library's own bar would be seen as one."""
    return sys.stderr.isatty()
