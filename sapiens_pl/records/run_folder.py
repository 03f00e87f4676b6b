"""The folder of one run: where each of its files lies, written whole or not at all.

records/                               the outcome of each picture, and the poses of its people (`store`)
predictions/, overlays/, ...           what is made of the records, as `output.formats` asks (`products`)
evaluation.json                        how well the poses fit a COCO annotation file
corrections.csv                        what people have changed in the file of poses that was handed to them
person_detections.json, person_images.json  with boxes=detector: the boxes, and what their image ids mean
detections/                            the same, while the run goes on (`detection.record`); for good, where
                                       pictures are detected tar by tar (`detection.shard_record`)
failures.jsonl                         a line for each image, box or product that gave nothing
changed.txt                            the posed pictures whose boxes are others now
run.json                               settings, versions, counts, speed
.processes/                            what each process of the run reports at its end

A run whose `output.dir` is a URL has such a folder on this machine, which mirrors the URL (`mirror`).

A file is written under another name in a hidden folder beside these, brought to the disk and then renamed, so what has
its name is whole.
"""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial, reduce
from pathlib import Path
from typing import BinaryIO

from sapiens_pl.core.errors import ConfigError, write_error
from sapiens_pl.core.remote import hidden, is_url
from sapiens_pl.core.whole_file import whole_file
from sapiens_pl.records.clearing import empty_folder, remove_file
from sapiens_pl.records.failures import FailureList
from sapiens_pl.records.footers import NOTHING, Tally
from sapiens_pl.records.in_turn import Group, read_in_turn
from sapiens_pl.records.members import Members
from sapiens_pl.records.mirror import Mirror
from sapiens_pl.records.outlet import Outlet, outlet_of, remove, stand_for
from sapiens_pl.records.reading import Records
from sapiens_pl.records.run_lock import RunLock, Turn
from sapiens_pl.records.scratch import FLUSH_SECONDS, UrlLock, claimed, plain_url, scratch_folder, standing_mirror
from sapiens_pl.records.store import FOLDER

_UNFINISHED = ".unfinished-"


class RunFolder:
    """Paths and files of one run.

    Args:
        path: made if it is not there; or a URL.
        rank: which of the run's processes this is.
        shard, num_shards: which of the runs that share the folder.
        scratch, flush_seconds: what `output` says of them; of a URL.

    Attributes:
        path: on this machine.
        address: its name for the user, without secrets.

    Raises:
        ConfigError: it cannot be made.
    """

    def __init__(
        self,
        path: str | Path,
        rank: int | str = 0,
        shard: int = 0,
        num_shards: int = 1,
        scratch: str | None = None,
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        url = plain_url(str(path)) if is_url(path) else None
        self.path = scratch_folder(url, scratch) if url else Path(path).expanduser().absolute()
        self.mirror = Mirror(url, self.path, flush_seconds) if url else standing_mirror(self.path)
        self.address = hidden(self.mirror.url) if self.mirror else str(self.path)
        self.records, self.predictions = self.path / FOLDER, self.path / "predictions"
        self.run_file, self.evaluation_file = self.path / "run.json", self.path / "evaluation.json"
        self.changed_file, self.corrections_file = self.path / "changed.txt", self.path / "corrections.csv"
        self.detections = self.path / "detections"
        self.shard_detections = self.detections / "shards"
        self.detections_file = self.path / "person_detections.json"
        self.detected_images_file = self.path / "person_images.json"
        self.processes = self.path / ".processes"
        self.looked, self.closed = self.processes / "looked", self.processes / "closed"
        self.num_shards = num_shards
        self.shard, self.rank = shard, rank
        self.lock: RunLock | UrlLock = RunLock(self.path / ".lock", shard, num_shards)
        self.turn, self.merging = Turn(self.processes / "turn"), Turn(self.processes / "merging")
        if self.mirror is not None:
            self.lock = UrlLock(self.lock, self.mirror, self.processes, shard, num_shards)
            stand_for(self.path, self.mirror)
        self.own_processes = f"{shard}of{num_shards}-"
        """How the files in `processes` begin that are of this shard's processes."""
        self.failures = FailureList(
            self.path / "failures.jsonl", self._others(), self.turn, self.write, partial(read_in_turn, self.path)
        )
        own = str(shard) if num_shards > 1 else ""
        self._own_unfinished = f"{_UNFINISHED}{own}-" if own else _UNFINISHED
        # No two processes share one, so each removes only its own at its end.
        self.unfinished = self.path / f"{self._own_unfinished}{rank}-{os.getpid()}-{secrets.token_hex(4)}"
        self.plan_file = self.processes / f"{self.own_processes}.plan"
        self.members = Members(self.processes / f"members-{shard}of{num_shards}")
        self._numbers = itertools.count()
        self._opened = False
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"output.dir={path} cannot be made ({error.strerror}); choose another.") from None

    @property
    def is_first_of_all(self) -> bool:
        """Whether this is the first process of the first shard."""
        return self.shard == 0 and self.rank == 0

    def _others(self) -> Path:
        name = "others" if self.is_first_of_all else f"others-{self.own_processes}{self.rank}"
        return self.records / f"{name}.jsonl"

    # Who may write

    def open(self) -> None:
        """Makes the place for unfinished files; `write` needs it."""
        try:
            self.unfinished.mkdir(exist_ok=True)
        except OSError as error:
            raise write_error(self.unfinished, error) from None
        self._opened = True

    @property
    def outlet(self) -> Outlet:
        """Shows its files to others, if it mirrors a URL."""
        return outlet_of(self.path)

    @contextmanager
    def summing(self) -> Iterator[None]:
        """One process at a time, on all machines; it sees what the others have put, and they see what it does.

        Raises:
            SapiensError: the store of the URL cannot be read or written.
        """
        with self.turn():
            if self.mirror is None:
                yield
                return
            with claimed(self.mirror.url, "sum"):
                self.mirror.refresh()
                yield
                self.mirror.wait()

    def close(self) -> None:
        if self._opened:  # else the folder belongs to another run
            shutil.rmtree(self.unfinished, ignore_errors=True)

    # What is there

    @property
    def files(self) -> tuple[Path, ...]:
        """All single files that a run may write, besides its products."""
        detected = (self.detections_file, self.detected_images_file)
        evaluated = (self.evaluation_file, self.corrections_file)
        return (*detected, *evaluated, self.failures.file, self.changed_file, self.run_file)

    @property
    def folders(self) -> tuple[Path, ...]:
        """All folders that a run may make, besides those of its products."""
        return self.records, self.processes, self.detections

    def prediction_path(self, name: str) -> Path:
        return self.predictions / f"{name}.json"

    def read_records(self) -> Records:
        """What became of each image; raises ConfigError if that is damaged."""
        return Records.read(self.path)

    def tally(self) -> Tally:
        """Counts of all records; raises as `read_records`, and needs less memory."""
        return reduce(Tally.plus, read_in_turn(self.path, Group.tally), NOTHING)

    def has_results(self) -> bool:
        """True if an earlier run has left any result or failure here."""
        return self.tally().pictures.total() > 0

    # What becomes of it

    def remove_leftovers(self) -> None:
        """Removes what killed runs have left half written, and old reports; only for the holder of the lock.

        Other shards keep theirs, if they can be at work.
        """
        self.remove_unfinished()
        remove(self.closed)
        for report in self.processes.glob("*of*.*"):
            if report.name.startswith(self.own_processes) or f"of{self.num_shards}-" not in report.name:
                remove(report)
        for others in self.records.glob("others-*"):
            if others.name.startswith(f"others-{self.own_processes}") or f"of{self.num_shards}-" not in others.name:
                remove(others)

    def remove_unfinished(self) -> None:
        """Removes what killed processes have left half written; only for the holder of the lock."""
        for leftover in self.path.glob(f"{_UNFINISHED if self.lock.only_one else self._own_unfinished}*"):
            if leftover != self.unfinished:
                shutil.rmtree(leftover, ignore_errors=True)

    def clear(self) -> None:
        """Removes all results of earlier runs, and nothing else; boxes are not results.

        Raises:
            ConfigError: something cannot be removed. The file that says how the rest was made is then still there.
        """
        for folder in self.folders:
            if folder != self.detections:
                empty_folder(folder)
        for file in self.files:
            if file not in (self.detections_file, self.detected_images_file):
                remove_file(file)

    def has_detections(self) -> bool:
        """True if a detector has left boxes of any image here."""
        here = self.detected_images_file.is_file() or any(self.detections.glob("part-*"))
        return here or bool(self.outlet.elsewhere(self.detections)) or any(self.shard_detections.rglob("*.jsonl"))

    def set_detections_aside(self) -> None:
        """Makes room for another detector's boxes; the old ones, which may have been edited by hand, are kept."""
        empty_folder(self.detections)
        for file in (self.detections_file, self.detected_images_file):
            with suppress(FileNotFoundError):
                os.replace(file, file.with_suffix(".old.json"))
                self.outlet.put(file.with_suffix(".old.json"))
                self.outlet.remove(file)

    def write(self, path: Path, data: bytes, durable: bool = True, of_image: bool = False) -> None:
        """`writing`, for what is in memory already."""
        with self.writing(path, durable, of_image) as file:
            file.write(data)

    @contextmanager
    def writing(self, path: Path, durable: bool = True, of_image: bool = False) -> Iterator[BinaryIO]:
        """A file that appears under its name only when the block has ended well, as `whole_file` has it."""
        temporary = self.unfinished / f"{os.getpid()}-{next(self._numbers)}"
        with whole_file(path, temporary, durable, of_image) as file:
            yield file
        self.outlet.put(path)
