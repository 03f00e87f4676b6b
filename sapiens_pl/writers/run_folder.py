"""The folder of one run: where each result lies, written whole or not at all.

predictions/<name of the image>.json   one per image
overlays/<name of the image>.jpg       where asked for
failures.jsonl                         a line for each image or box that gave nothing
inputs.txt                             every image of the run, with a digest of its boxes
run.json                               settings, versions, counts, speed
.processes/                            what each process of the run reports at its end

A result is written under another name in a hidden folder beside these and then renamed, so what has
its name is whole, and the listing of `predictions/` tells what is done: no file is opened for that.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from sapiens_pl.errors import ConfigError, ResultNameError, WriteError
from sapiens_pl.structures import Failure
from sapiens_pl.writers.run_lock import RunLock, Turn

_UNFINISHED = ".unfinished-"
_NAME_ERRORS = frozenset(
    [errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.EINVAL, errno.EILSEQ, errno.ENOTEMPTY]
)


class RunFolder:
    """Paths and files of one run.

    Args:
        path: made if it is not there.
        rank: which of the run's processes this is.
        shard, num_shards: which of the runs that share the folder.

    Raises:
        ConfigError: it cannot be made.
    """

    def __init__(self, path: str | Path, rank: int | str = 0, shard: int = 0, num_shards: int = 1) -> None:
        self.path = Path(path).expanduser().absolute()
        self.predictions, self.overlays = self.path / "predictions", self.path / "overlays"
        self.failures_file, self.run_file = self.path / "failures.jsonl", self.path / "run.json"
        self.inputs_file = self.path / "inputs.txt"
        self.processes = self.path / ".processes"
        self.num_shards = num_shards
        self.shard, self.rank = shard, rank
        self.lock, self.turn = RunLock(self.path / ".lock", shard, num_shards), Turn(self.processes / "turn")
        own = str(shard) if num_shards > 1 else ""
        self._own_unfinished = f"{_UNFINISHED}{own}-" if own else _UNFINISHED
        self._unfinished = self.path / f"{self._own_unfinished}{rank}"
        self._own_reports = f"{shard}of{num_shards}-"
        self._report = self.processes / f"{self._own_reports}{rank}.json"
        self._progress = self._report.with_suffix(".progress")
        self._numbers = itertools.count()
        self._opened = False
        try:
            self.predictions.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"output.dir={path} cannot be made ({error.strerror}); choose another.") from None

    # Who may write

    def open(self) -> None:
        """Makes the place for unfinished files; `write` needs it."""
        try:
            self._unfinished.mkdir(exist_ok=True)
        except OSError as error:
            raise _write_error(self._unfinished, error) from None
        self._opened = True

    def close(self) -> None:
        if self._opened:  # else the place is another run's
            shutil.rmtree(self._unfinished, ignore_errors=True)

    # What is there

    def prediction_path(self, name: str) -> Path:
        return self.predictions / f"{name}.json"

    def overlay_path(self, name: str) -> Path:
        return self.overlays / f"{name}.jpg"

    def done(self) -> set[str]:
        """Names of images that have a result."""
        return set(self._done())

    def failed(self) -> set[str]:
        """Names of images that are on record as failed, as a whole."""
        return {row["image"] for row in self._failure_rows() if row.get("instance_id") is None}

    def has_results(self) -> bool:
        """True if an earlier run has left so much as one result or failure here."""
        return self.has_done() or bool(self._failure_rows())

    def has_done(self) -> bool:
        """True if at least one image has a result."""
        return next(self._done(), None) is not None

    def _done(self) -> Iterator[str]:
        root = os.path.join(self.predictions, "")
        for parent, _, files in os.walk(root):
            below = os.path.join(parent, "")[len(root) :]
            for file in files:
                if file.endswith(".json"):
                    yield below + file[: -len(".json")]

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

    def read_run(self) -> dict[str, Any]:
        """What `run.json` holds, or nothing where there is none or it is no longer whole."""
        try:
            data = json.loads(self.run_file.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}

    def read_inputs(self) -> dict[str, str]:
        """The digest of the boxes that each image was last planned with, by name."""
        digests = {}
        try:
            with open(self.inputs_file, encoding="utf-8") as file:
                for line in file:
                    digest, _, name = line.partition(" ")
                    digests[json.loads(name)] = digest
        except (OSError, ValueError):
            return {}
        return digests

    # What becomes of it

    def remove_leftovers(self) -> None:
        """Removes what killed runs have left half written, and old reports; only for the holder of the lock.

        Other shards keep theirs, if they can be at work.
        """
        for leftover in self.path.glob(f"{_UNFINISHED if self.lock.only_one else self._own_unfinished}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        for report in self.processes.glob("*of*.*"):
            if report.name.startswith(self._own_reports) or f"of{self.num_shards}-" not in report.name:
                report.unlink(missing_ok=True)

    def tidy_failures(self, retry_failed: bool) -> None:
        """Brings `failures.jsonl` in line with the results; with `retry_failed` it forgets the failed images.

        A torn last line goes, and so do the lines of boxes whose image has no result: there will be others
        when the image's turn comes again.
        """
        if not self.failures_file.is_file():
            return
        with self.turn():
            rows = self._failure_rows()
            done = self.done() if any(row.get("instance_id") is not None for row in rows) else frozenset()
            self._write_failures(
                row for row in rows if (not retry_failed if row.get("instance_id") is None else row["image"] in done)
            )

    def settle_failures(self) -> None:
        """Removes from `failures.jsonl` what stands there twice, and images that have come to a result since."""
        if not self.failures_file.is_file():
            return
        with self.turn():
            rows = self._failure_rows()
            unique = {to_json(row) for row in rows}
            done = self.done() if any(row.get("instance_id") is None for row in rows) else frozenset()
            kept = [row for row in rows if row.get("instance_id") is not None or row["image"] not in done]
            if len(kept) < len(rows) or len(unique) < len(rows):
                self._write_failures(kept)

    def _write_failures(self, rows: Iterable[dict]) -> None:
        unique = dict.fromkeys(to_json(row) for row in rows)
        self.write(self.failures_file, "".join(f"{line}\n" for line in unique).encode())

    def clear(self) -> None:
        """Removes all results of earlier runs, and nothing else."""
        for folder in (self.predictions, self.overlays, self.processes):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (self.failures_file, self.run_file, self.inputs_file):
            file.unlink(missing_ok=True)
        self.predictions.mkdir(exist_ok=True)

    def write_run(self, data: dict[str, Any]) -> None:
        self.write(self.run_file, (json.dumps(data, indent=2, default=str) + "\n").encode())

    def write_report(self, data: dict[str, Any]) -> None:
        """What this process has to say at its end."""
        data = {"shard": self.shard, "num_shards": self.num_shards, "rank": self.rank} | data
        self.write(self._report, (json.dumps(data, default=str) + "\n").encode())

    def read_reports(self) -> list[dict[str, Any]]:
        """What the processes of this run, of all its shards, have said at their ends so far."""
        reports = []
        for path in self.processes.glob("*of*.json"):
            with suppress(OSError, ValueError):
                reports.append(json.loads(path.read_text("utf-8")))
        return sorted(reports, key=lambda report: (report["shard"], report["rank"]))

    def write_progress(self, crops: int, images: int) -> None:
        """How far this process has come."""
        with suppress(WriteError):  # it only feeds a bar
            self.write(self._progress, json.dumps([crops, images]).encode())

    def progress_of_others(self) -> tuple[int, int]:
        """Crops and images that the other processes of this shard have done."""
        crops = images = 0
        for path in self.processes.glob(f"{self._own_reports}*.progress"):
            with suppress(OSError, ValueError):
                if path != self._progress:
                    done = json.loads(path.read_text("utf-8"))
                    crops, images = crops + done[0], images + done[1]
        return crops, images

    def write_inputs(self, digests: Iterable[tuple[str, str]]) -> None:
        self.write(self.inputs_file, "".join(f"{digest} {json.dumps(name)}\n" for name, digest in digests).encode())

    def append_failure(self, failure: Failure) -> None:
        """One line; processes take turns, so that their lines do not mix."""
        line = (to_json(failure._asdict()) + "\n").encode()
        try:
            with self.turn():
                handle = os.open(self.failures_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
                try:
                    while line:  # a full disk may take a part
                        line = line[os.write(handle, line) :]
                finally:
                    os.close(handle)
        except OSError as error:
            raise _write_error(self.failures_file, error) from None

    def write(self, path: Path, data: bytes) -> None:
        """Writes a file that appears under its name only when it is complete.

        Raises:
            ResultNameError: the file system takes no file of that name.
            WriteError: no space, no permission, a vanished disk.
        """
        temporary = self._unfinished / f"{os.getpid()}-{next(self._numbers)}"
        try:
            temporary.write_bytes(data)
        except OSError as error:
            _remove(temporary)
            raise _write_error(path, error) from None
        try:
            try:
                os.replace(temporary, path)
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                os.replace(temporary, path)
        except OSError as error:
            _remove(temporary)
            if error.errno in _NAME_ERRORS:
                message = f"The result cannot be named {path} ({error.strerror}); rename the image."
                raise ResultNameError(message) from None
            raise _write_error(path, error) from None


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


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
