"""`failures.jsonl`: a line for each image or box that gave nothing, from all processes of a run."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from sapiens_pl.core.errors import ConfigError, UnreadableFolderError, write_error
from sapiens_pl.core.structures import Failure
from sapiens_pl.products.json_files import to_json
from sapiens_pl.records.run_lock import Turn

log = logging.getLogger(__name__)


class FailureList:
    """Appended to by all processes of a run, in turns; brought in order when a run starts and ends.

    Args:
        file: where it lies.
        turn: one process at a time.
        write: writes a file whole or not at all.
        done: names of the images that have a result.
    """

    def __init__(
        self, file: Path, turn: Turn, write: Callable[[Path, bytes], None], done: Callable[[], set[str]]
    ) -> None:
        self.file = file
        self._turn, self._write, self._done = turn, write, done

    def append(self, failure: Failure) -> None:
        """One line; processes take turns, so that their lines do not mix. What a killed one has begun is ended.

        Raises:
            WriteError: no space, no permission, a vanished disk.
        """
        line = (to_json(failure.row()) + "\n").encode()
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

    def images(self) -> set[str]:
        """Names of the images that are on record as failed, as a whole."""
        return {row["image"] for row in self._rows() if row.get("instance_id") is None and row.get("product") is None}

    def boxes(self) -> dict[str, set[int]]:
        """The boxes that are on record as failed, by image."""
        boxes: dict[str, set[int]] = {}
        for row in self._rows():
            if row.get("instance_id") is not None:
                boxes.setdefault(row["image"], set()).add(row["instance_id"])
        return boxes

    def of_products(self) -> list[Failure]:
        """The products that could not be made."""
        return [
            Failure(row["image"], None, str(row.get("error")), str(row.get("message")), str(row["product"]))
            for row in self._rows()
            if row.get("product") is not None
        ]

    def has_any(self) -> bool:
        return bool(self._rows())

    def tidy(self, retry_failed: bool) -> None:
        """Brings the list in line with the results; with `retry_failed` it forgets the failed images.

        Lines that are not whole go, and that is said; so do the lines of boxes whose image has no result, and of
        folders: there will be others when the image's turn comes again, or the folder cannot be listed again.

        Raises:
            ConfigError: something else has its name.
        """
        if not self.file.is_file():
            if os.path.lexists(self.file):
                raise ConfigError(f"{self.file} is no file; move it away, and run the same command again.")
            return
        with self._turn():
            rows = self._rows()
            lines = self.file.read_bytes().split(b"\n")
            if len(rows) < sum(map(bool, lines)):
                log.warning(
                    "%s had lines that were not whole (%d of %d can be read); the images that they told of, and that "
                    "have no result, are done again.",
                    *(self.file, len(rows), sum(map(bool, lines))),
                )
            rows = [row for row in rows if row.get("error") != UnreadableFolderError.__name__]
            done = self._done() if any(row.get("instance_id") is not None for row in rows) else frozenset()
            self._replace(
                row for row in rows if (not retry_failed if row.get("instance_id") is None else row["image"] in done)
            )

    def settle(self) -> None:
        """Removes what stands there twice, and images that have come to a result since."""
        if not self.file.is_file():
            return
        with self._turn():
            rows = self._rows()
            unique = {to_json(row) for row in rows}
            done = self._done() if any(row.get("instance_id") is None for row in rows) else frozenset()
            kept = [row for row in rows if row.get("instance_id") is not None or row["image"] not in done]
            if len(kept) < len(rows) or len(unique) < len(rows):
                self._replace(kept)

    def _replace(self, rows: Iterable[dict]) -> None:
        unique = dict.fromkeys(to_json(row) for row in rows)
        self._write(self.file, "".join(f"{line}\n" for line in unique).encode())

    def _rows(self) -> list[dict]:
        if not self.file.is_file():
            return []
        rows = []
        for line in self.file.read_text("utf-8", errors="replace").split("\n"):
            try:
                rows.append(json.loads(line))
            except (ValueError, RecursionError):  # the last line of a killed run
                continue
        return [row for row in rows if isinstance(row, dict) and _is_failure(row)]


def _is_failure(row: dict) -> bool:
    number = row.get("instance_id")
    return isinstance(row.get("image"), str) and (number is None or type(number) is int)
