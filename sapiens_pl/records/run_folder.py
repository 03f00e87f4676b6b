"""The folder of one run: where each result lies, written whole or not at all.

predictions/<name of the image>.json   one per image
parquet/*.parquet                      many images each; where asked for, as all that follow up to failures.jsonl
overlays/<name of the image>.jpg
openpose/<name of the image>.png
coco_keypoints.json, coco_images.json  the whole run's, once it has ended
keypoints.csv                          the same
evaluation.json                        how well the poses fit a COCO annotation file
damaged/                               results that were found empty, cut short or changed, and done again
person_detections.json, person_images.json  with boxes=detector: the boxes, and what their image ids mean
detections/                            the same, while the run goes on (`detection.record`)
failures.jsonl                         a line for each image or box that gave nothing
inputs.txt                             every image of the run, with a digest of its boxes
run.json                               settings, versions, counts, speed
.processes/                            what each process of the run reports at its end

A result is written under another name in a hidden folder beside these, brought to the disk and then renamed, so
what has its name is whole, and the listing of `predictions/` tells what is done: no file is opened for that, but
for the footers of Parquet files. What has become of files since is looked at when a run starts (`wholeness`).
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from sapiens_pl.core.errors import ConfigError, write_error
from sapiens_pl.core.whole_file import whole_file
from sapiens_pl.products.parquet_parts import images_of
from sapiens_pl.records.clearing import empty_folder, remove_file
from sapiens_pl.records.failures import FailureList
from sapiens_pl.records.listing import json_names, read_digests, read_object, visible
from sapiens_pl.records.members import Members
from sapiens_pl.records.run_lock import RunLock, Turn

_UNFINISHED = ".unfinished-"


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
        self.parquet, self.openpose = self.path / "parquet", self.path / "openpose"
        self.run_file, self.inputs_file = self.path / "run.json", self.path / "inputs.txt"
        self.coco_file, self.coco_images_file = self.path / "coco_keypoints.json", self.path / "coco_images.json"
        self.csv_file, self.evaluation_file = self.path / "keypoints.csv", self.path / "evaluation.json"
        self.detections = self.path / "detections"
        self.detections_file = self.path / "person_detections.json"
        self.detected_images_file = self.path / "person_images.json"
        self.processes, self.damaged = self.path / ".processes", self.path / "damaged"
        self.looked = self.processes / "looked"
        results = (self.predictions, self.overlays, self.openpose)
        self._of_images = tuple(os.path.join(place, "") for place in results)
        self.num_shards = num_shards
        self.shard, self.rank = shard, rank
        self.lock, self.turn = RunLock(self.path / ".lock", shard, num_shards), Turn(self.processes / "turn")
        self.merging = Turn(self.processes / "merging")
        self.failures = FailureList(self.path / "failures.jsonl", self.turn, self.write, self.done)
        own = str(shard) if num_shards > 1 else ""
        self._own_unfinished = f"{_UNFINISHED}{own}-" if own else _UNFINISHED
        # No two processes have the same: what one removes at its end is nobody else's.
        self.unfinished = self.path / f"{self._own_unfinished}{rank}-{os.getpid()}-{secrets.token_hex(4)}"
        self.own_processes = f"{shard}of{num_shards}-"
        """How the files in `processes` begin that are of this shard's processes."""
        self.plan_file = self.processes / f"{self.own_processes}.plan"
        self.members = Members(self.processes / f"members-{shard}of{num_shards}")
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
            self.unfinished.mkdir(exist_ok=True)
        except OSError as error:
            raise write_error(self.unfinished, error) from None
        self._opened = True

    def close(self) -> None:
        if self._opened:  # else the place is another run's
            shutil.rmtree(self.unfinished, ignore_errors=True)

    # What is there

    @property
    def files(self) -> tuple[Path, ...]:
        """All single files that a run may write."""
        merged = (self.coco_file, self.coco_images_file, self.csv_file, self.evaluation_file)
        detected = (self.detections_file, self.detected_images_file)
        return (*merged, *detected, self.failures.file, self.inputs_file, self.run_file)

    @property
    def folders(self) -> tuple[Path, ...]:
        """All folders that a run may make."""
        return (
            self.predictions,
            self.parquet,
            self.overlays,
            self.openpose,
            self.damaged,
            self.processes,
            self.detections,
        )

    def prediction_path(self, name: str) -> Path:
        return self.predictions / f"{name}.json"

    def openpose_path(self, name: str) -> Path:
        return self.openpose / f"{name}.png"

    def overlay_path(self, name: str) -> Path:
        return self.overlays / f"{name}.jpg"

    def done(self) -> set[str]:
        """Names of images that have a result."""
        return set(self._done())

    def has_results(self) -> bool:
        """True if an earlier run has left so much as one result or failure here."""
        return self.has_done() or self.failures.has_any()

    def has_done(self) -> bool:
        """True if at least one image has a result."""
        return next(self._done(), None) is not None

    def _done(self) -> Iterator[str]:
        yield from self.with_json()
        for part in self.parts():
            yield from (image.name for image in images_of(part))

    def with_json(self) -> Iterator[str]:
        """Names of images that have a JSON file."""
        return json_names(self.predictions, self.read_inputs)

    def remove_json(self, name: str) -> None:
        """For an image that a part holds."""
        with suppress(OSError):
            self.prediction_path(name).unlink()

    def parts(self) -> list[Path]:
        """The Parquet files, in a fixed order."""
        return visible(self.parquet.glob("poses-*.parquet"))

    def read_run(self) -> dict[str, Any]:
        """What `run.json` holds, or nothing where there is none; raises ConfigError if it is damaged."""
        return read_object(self.run_file)

    def read_inputs(self) -> dict[str, str]:
        """The digest of the boxes that each image was last planned with, by name; ConfigError if that is damaged."""
        return read_digests(self.inputs_file)

    # What becomes of it

    def remove_leftovers(self) -> None:
        """Removes what killed runs have left half written, and old reports; only for the holder of the lock.

        Other shards keep theirs, if they can be at work.
        """
        for leftover in self.path.glob(f"{_UNFINISHED if self.lock.only_one else self._own_unfinished}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        for report in self.processes.glob("*of*.*"):
            if report.name.startswith(self.own_processes) or f"of{self.num_shards}-" not in report.name:
                report.unlink(missing_ok=True)

    def clear(self) -> None:
        """Removes all results of earlier runs, and nothing else; boxes are none.

        Raises:
            ConfigError: something cannot be removed. What says how the rest was made is then still there.
        """
        for folder in self.folders:
            if folder != self.detections:
                empty_folder(folder)
        for file in self.files:
            if file not in (self.detections_file, self.detected_images_file):
                remove_file(file)
        self.predictions.mkdir(exist_ok=True)

    def has_detections(self) -> bool:
        """True if a detector has left so much as one image's boxes here."""
        return self.detected_images_file.is_file() or any(self.detections.glob("part-*"))

    def set_detections_aside(self) -> None:
        """For those of another detector; what may have been edited by hand is kept beside."""
        shutil.rmtree(self.detections, ignore_errors=True)
        for file in (self.detections_file, self.detected_images_file):
            with suppress(FileNotFoundError):
                os.replace(file, file.with_suffix(".old.json"))

    def write_inputs(self, digests: Iterable[tuple[str, str]]) -> None:
        self.write(self.inputs_file, "".join(f"{digest} {json.dumps(name)}\n" for name, digest in digests).encode())

    def write(self, path: Path, data: bytes, durable: bool = True, of_image: bool = False) -> None:
        """`writing`, for what is in memory already."""
        with self.writing(path, durable, of_image) as file:
            file.write(data)

    def writing(self, path: Path, durable: bool = True, of_image: bool = False) -> AbstractContextManager[BinaryIO]:
        """A file that appears under its name only when the block has ended well, as `whole_file` has it."""
        temporary = self.unfinished / f"{os.getpid()}-{next(self._numbers)}"
        return whole_file(path, temporary, durable, of_image or str(path).startswith(self._of_images))
