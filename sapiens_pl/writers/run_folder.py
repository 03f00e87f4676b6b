"""The folder of one run: where each result lies, written whole or not at all.

predictions/<name of the image>.json   one per image
overlays/<name of the image>.jpg       where asked for
failures.jsonl                         a line for each image or box that gave nothing
run.json                               settings, versions, counts, speed
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sapiens_pl.errors import ConfigError, WriteError
from sapiens_pl.structures import Failure

_TEMPORARY = ".unfinished-"


class RunFolder:
    """Paths and files of one run.

    Args:
        path: made if it is not there.

    Raises:
        ConfigError: it cannot be made.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser().absolute()
        self.predictions, self.overlays = self.path / "predictions", self.path / "overlays"
        self.failures_file, self.run_file = self.path / "failures.jsonl", self.path / "run.json"
        try:
            self.predictions.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"output.dir={path} cannot be made ({error.strerror}); choose another.") from None

    def prediction_path(self, name: str) -> Path:
        return self.predictions / f"{name}.json"

    def overlay_path(self, name: str) -> Path:
        return self.overlays / f"{name}.jpg"

    def finished(self, retry_failed: bool) -> set[str]:
        """Names of images that need not be done again: those with a result, and those that failed.

        A result appears under its name only when it is whole, so the folder's listing tells; no file
        is opened.
        """
        names = {os.path.relpath(path, self.predictions)[: -len(".json")] for path in self._results()}
        if not retry_failed:
            names |= {row["image"] for row in self._failure_rows() if row.get("instance_id") is None}
        return names

    def has_results(self) -> bool:
        """True if an earlier run has left so much as one result or failure here."""
        return next(self._results(), None) is not None or bool(self._failure_rows())

    def _results(self) -> Iterator[str]:
        for parent, _, files in os.walk(self.predictions):
            for file in files:
                path = os.path.join(parent, file)
                if file.startswith(_TEMPORARY):
                    os.unlink(path)  # a killed run left it
                elif file.endswith(".json"):
                    yield path

    def _failure_rows(self) -> list[dict]:
        if not self.failures_file.is_file():
            return []
        rows = []
        for line in self.failures_file.read_text("utf-8", errors="replace").split("\n"):
            try:
                rows.append(json.loads(line))
            except ValueError:  # the last line of a killed run
                continue
        return [row for row in rows if isinstance(row, dict) and "image" in row]

    def forget_failures(self) -> None:
        """Takes failed images off the list, so that they can be tried and listed again."""
        kept = [row for row in self._failure_rows() if row.get("instance_id") is not None]
        self.write(self.failures_file, "".join(f"{to_json(row)}\n" for row in kept).encode())

    def clear(self) -> None:
        """Removes all results of earlier runs, and nothing else."""
        for folder in (self.predictions, self.overlays):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (self.failures_file, self.run_file):
            file.unlink(missing_ok=True)
        self.predictions.mkdir(exist_ok=True)

    def read_run(self) -> dict[str, Any]:
        """What `run.json` holds, or nothing where there is none or it is no longer whole."""
        try:
            data = json.loads(self.run_file.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}

    def write_run(self, data: dict[str, Any]) -> None:
        self.write(self.run_file, (json.dumps(data, indent=2, default=str) + "\n").encode())

    def append_failure(self, failure: Failure) -> None:
        """One line, by one write, so that the lines of several processes do not mix."""
        line = to_json(failure._asdict()) + "\n"
        try:
            handle = os.open(self.failures_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(handle, line.encode())
            finally:
                os.close(handle)
        except OSError as error:
            raise _write_error(self.failures_file, error) from None

    def write(self, path: Path, data: bytes) -> None:
        """Writes a file that appears under its name only when it is complete.

        Raises:
            WriteError: no space, no permission, a vanished disk.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=_TEMPORARY, dir=path.parent)
            try:
                with open(handle, "wb") as file:
                    file.write(data)
                os.chmod(temporary, 0o644)
                os.replace(temporary, path)
            except BaseException:
                os.unlink(temporary)
                raise
        except OSError as error:
            raise _write_error(path, error) from None


def _write_error(path: Path, error: OSError) -> WriteError:
    remedy = "make room and run the same command again" if error.errno == errno.ENOSPC else "mend that and run again"
    return WriteError(f"{path} could not be written ({error.strerror}); what is written stays, {remedy}.")


def to_json(value: Any) -> str:
    """Readable UTF-8 JSON; escapes only where a file name is not valid Unicode."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, allow_nan=False)
    return text
