"""`failures.jsonl`: a line for each picture or box that gave nothing, and for each product that could not be made.

It is a view: what it says of pictures and boxes stands in the records. The processes of a run append to it while they
work, in turns; when a run begins and when it ends, it is written again from the records, sorted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError, write_error
from sapiens_pl.core.structures import Failure
from sapiens_pl.core.text_files import to_json
from sapiens_pl.records.in_turn import Group
from sapiens_pl.records.outlet import remove
from sapiens_pl.records.run_lock import Turn

_Found = tuple[list[Failure], list[str]]


class FailureList:
    """The list of one run.

    Args:
        file: where it lies.
        others: this process's file for what belongs to no picture: folders that cannot be listed, rows of a box file;
            `others*.jsonl` beside it are those of the other processes.
        turn: one process at a time.
        write: writes a file whole or not at all.
        in_turn: has the run's records read, as `read_in_turn`.
    """

    def __init__(
        self,
        file: Path,
        others: Path,
        turn: Turn,
        write: Callable[[Path, bytes], None],
        in_turn: Callable[[Callable[[Group], _Found]], list[_Found]],
    ) -> None:
        self.file, self._others = file, others
        self._turn, self._write, self._in_turn = turn, write, in_turn

    def append(self, failure: Failure) -> None:
        """One line; processes take turns, so that their lines do not mix. A line that a killed process has left
        incomplete is ended.

        Raises:
            WriteError: no space, no permission, a vanished disk.
        """
        line = _line(failure)
        try:
            with self._turn():
                handle = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
                try:
                    size = os.fstat(handle).st_size
                    if size and os.pread(handle, 1, size - 1) != b"\n":
                        line = b"\n" + line
                    while line:  # a full disk may take a part
                        line = line[os.write(handle, line) :]
                finally:
                    os.close(handle)
        except OSError as error:
            raise write_error(self.file, error) from None

    def keep_others(self, failures: Collection[Failure]) -> None:
        """Replaces the failures that belong to no picture; each run writes them again.

        Raises:
            WriteError: no space, no permission, a vanished disk.
        """
        if failures:
            self._write(self._others, b"".join(map(_line, failures)))
        else:
            remove(self._others)

    def of_products(self) -> list[Failure]:
        """The products that could not be made."""
        return [failure for failure in read_failures(self.file) if failure.product is not None]

    def everything(self) -> Iterator[Failure]:
        """All lines of the list; none if there is no list."""
        with suppress(FileNotFoundError), open(self.file, encoding="utf-8", errors="replace", newline="\n") as lines:
            yield from _failures(lines)

    def settle(self, forgotten: Callable[[Failure], bool] = lambda failure: False) -> None:
        """Writes the list again. Of products, the lines of pictures that are done and of the whole run are kept.

        Args:
            forgotten: which lines of products are dropped, as these are tried again or have been made.

        Raises:
            ConfigError: something else has its name, or the records are damaged.
            WriteError: no space, no permission, a vanished disk.
        """
        if os.path.lexists(self.file) and not self.file.is_file():
            raise ConfigError(f"{self.file} is not a file; move it away, and run the same command again.")
        with self._turn():
            products = [failure for failure in self.of_products() if not forgotten(failure)]
            found = self._in_turn(partial(_failures_and_done, among={failure.image for failure in products}))
            done = {name for _, names in found for name in names}
            products = [failure for failure in products if failure.image in done or not failure.image]
            others = [row for file in sorted(self._others.parent.glob("others*.jsonl")) for row in read_failures(file)]
            everything = [*(failure for failures, _ in found for failure in failures), *others, *products]
            lines = dict.fromkeys(map(_line, sorted(everything, key=_order)))
            if lines:
                self._write(self.file, b"".join(lines))
            else:
                remove(self.file)


def _failures_and_done(group: Group, among: Collection[str]) -> _Found:
    """Of some records: what failed, and which of these pictures and videos are done."""
    if not among:
        return group.failures(), []
    records = group.records()
    return group.failures(), [*records.done_among(Names.of(among)), *(set(records.videos()) & set(among))]


def _order(failure: Failure) -> tuple[Any, ...]:
    whole = failure.instance_id is None
    return failure.image, failure.product or "", not whole, failure.instance_id or 0


def _line(failure: Failure) -> bytes:
    return (to_json(failure.row()) + "\n").encode()


def read_failures(file: Path) -> list[Failure]:
    """The lines that are whole; a killed run may have left others."""
    try:
        lines: Iterable[str] = file.read_text("utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(f"{file} cannot be read ({error.strerror}); fix that and run again.") from None
    return list(_failures(lines))


def _failures(lines: Iterable[str]) -> Iterator[Failure]:
    for line in lines:
        try:
            row = json.loads(line)
            number, product = row["instance_id"], row.get("product")
            if not isinstance(row["image"], str) or not (number is None or type(number) is int):
                continue
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            continue
        yield Failure(row["image"], number, str(row.get("error")), str(row.get("message")), product and str(product))
