"""A run's results from Python, without its network and without torch: `sapiens_pl.open_run(folder)`."""

from __future__ import annotations

import os
import weakref
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sapiens_pl.core import protocols
from sapiens_pl.core.columns import as_unicode
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.settings import check, either, one_of
from sapiens_pl.core.structures import Failure, LoadedImage, PoseResult
from sapiens_pl.core.wording import counted
from sapiens_pl.pictures import MAX_MEGAPIXELS
from sapiens_pl.products.frame_columns import told_of_videos
from sapiens_pl.products.parquet_table import pose_table
from sapiens_pl.records.at_hand import at_hand, shown
from sapiens_pl.records.failures import read_failures
from sapiens_pl.records.listing import read_object, section
from sapiens_pl.records.reading import Records
from sapiens_pl.records.schema import ABSENT, DONE, FAILED, STATUSES
from sapiens_pl.records.store import FOLDER, read_store

if TYPE_CHECKING:
    import pyarrow as pa

_PICTURES_AT_ONCE = 4096
_STATUS = {"status": either(one_of(*STATUSES), None)}
_HIDDEN = ("boxes_digest", "failures", "generation")
"""Columns of the store that are only for internal use."""


def open_run(folder: str | os.PathLike[str]) -> OpenedRun:
    """Opens the results of a run as they are now; also while it goes on.

    Args:
        folder: `output.dir` of the run; of a URL a copy is made on this machine, for as long as the result is used.

    Raises:
        ConfigError: it holds no records, or a part of them is damaged.
    """
    address = os.fspath(folder)
    kept = ExitStack()
    try:
        path = kept.enter_context(at_hand(address, only_read=True)).expanduser()
        if read_store(path / FOLDER) is None:
            raise ConfigError(f"{shown(address)} holds no records; name the output folder of a run.")
        run = OpenedRun(path, shown(address))
    except BaseException:
        kept.close()
        raise
    weakref.finalize(run, kept.close)
    return run


class OpenedRun:
    """The results of one run, as they stood when it was opened.

    Names of pictures (`names`) may be one name, one pattern (`"train/*"`), or a list of names.

    Attributes:
        folder: where the run is on this machine.
        keypoint_set: what the keypoints are.
    """

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self._address = folder, address
        self._records = Records.read(folder)
        self.keypoint_set: KeypointSet = self._records.keypoint_set

    def __repr__(self) -> str:
        records = self._records
        counts = [counted(records.count(DONE), "picture", "pictures"), f"{records.count(FAILED):,} failed"]
        counts += [f"{records.count(ABSENT):,} absent"] if records.count(ABSENT) else []
        counts += [counted(int(records.num_people[records.is_status(DONE)].sum()), "person", "people")]
        return f"OpenedRun({self._address}: {', '.join(counts)}; {self.keypoint_set!r})"

    def __len__(self) -> int:
        """Pictures that are done."""
        return self._records.count(DONE)

    def __iter__(self) -> Iterator[PoseResult]:
        """As `results()`."""
        return self.results()

    def __getitem__(self, name: str) -> PoseResult:
        """The result of one picture that is done, by its name; raises KeyError if there is none.

        Of a picture that failed, the error says why.
        """
        result = next(self._found.results([name]), None)
        if result is None:
            messages = self.pictures([name])["message"].to_pylist()
            raise KeyError(f"{name} has no result: {messages[0]}" if messages and messages[0] else name)
        return result

    @cached_property
    def info(self) -> dict[str, Any]:
        """`run.json`: configuration, versions, counts, speed; empty where a run has not written it yet."""
        return read_object(self.folder / "run.json")

    def pictures(self, names: str | Collection[str] | None = None, status: str | None = None) -> pa.Table:
        """A row a picture, sorted by name; `.to_pandas()` makes a data frame of it.

        Columns: `name`, `status` (done, failed or absent), `error` and `message` (why it failed), `width` and `height`
        (px, upright), `image_id`, `num_people`, `path`; of frames `video`, `frame`, `pts`, `seconds`; of members of
        tars and rows of tables `shard` and `key`.

        Args:
            names: only of these.
            status: only pictures with that status.
        """
        import pyarrow as pa

        check(_STATUS, {"status": status})
        table = self._records.table(self._named(names), status)
        for index, field in enumerate(table.schema):
            if pa.types.is_binary(field.type):
                texts = [None if cell is None else as_unicode(_text(cell)) for cell in table.column(index).to_pylist()]
                table = table.set_column(index, field.name, pa.array(texts, pa.string()))
        return table.drop_columns([name for name in _HIDDEN if name in table.column_names])

    def people(self, names: str | Collection[str] | None = None) -> pa.Table:
        """A row a person, sorted by picture; the columns of `output.formats=[parquet]`.

        Args:
            names: only of these pictures. All people of a large run at once need memory; `results` does not.
        """
        import pyarrow as pa

        told, chunks = told_of_videos(self._found), _chunks(self.results(names))
        tables = [pose_table(chunk, self.keypoint_set, told) for chunk in chunks]
        tables = tables or [pose_table([_nobody(self.keypoint_set)], self.keypoint_set, told)]
        return pa.concat_tables([table.replace_schema_metadata(None) for table in tables], promote_options="default")

    def results(self, names: str | Collection[str] | None = None) -> Iterator[PoseResult]:
        """The poses of each picture that is done, sorted by name, in bounded memory.

        Args:
            names: only of these.
        """
        return self._found.results(self._named(names))

    def failures(self) -> list[Failure]:
        """Pictures, boxes and products that gave nothing, and why."""
        listed = read_failures(self.folder / "failures.jsonl")
        return list(dict.fromkeys([*self._records.failures(), *listed]))

    def pixels(self, result: PoseResult) -> np.ndarray:
        """Reads a picture again, also frames of videos and members of tars: (H, W, 3) uint8 BGR, upright.

        Raises:
            SapiensError: it is not there any more, cannot be read, or is now the frame of another video.
        """
        from sapiens_pl.pictures.same_frame import check_same_time

        image: LoadedImage = self._read(result.name, result.path)
        check_same_time(image, result.path, result.name, None if result.frame is None else result.frame.pts)
        return image.pixels

    @cached_property
    def _read(self) -> Any:
        from sapiens_pl.pictures.sources import open_again

        data = section(self.info, "config", "data")
        return open_again(data.get("images"), data.get("max_megapixels", MAX_MEGAPIXELS), data.get("source"))

    @cached_property
    def _found(self) -> protocols.Records:
        """The records with the tracks of videos, by the run's settings."""
        if not self._records.videos():
            return self._records
        from sapiens_pl.run.make_settings import make_settings
        from sapiens_pl.tracking.of_records import TrackingOfRun

        return TrackingOfRun(make_settings(self.folder, []))(self._records)

    def _named(self, names: str | Collection[str] | None) -> Collection[str] | None:
        if not isinstance(names, str):
            return names
        known = self._records.names(None)
        return [names] if names in known else [name for name in known if fnmatchcase(name, names)]


def _chunks(results: Iterator[PoseResult]) -> Iterator[list[PoseResult]]:
    while chunk := list(islice(results, _PICTURES_AT_ONCE)):
        yield chunk


def _nobody(keypoint_set: KeypointSet) -> PoseResult:
    """For the columns of a table without rows."""
    none = np.zeros((0, keypoint_set.num_keypoints), np.float32)
    points, boxes, ids = np.stack([none, none], 2), np.zeros((0, 4)), np.zeros(0, np.int64)
    return PoseResult("", points, none, boxes, np.zeros(0), ids, (1, 1), "", ())


def _text(cell: bytes) -> str:
    return cell.decode("utf-8", "surrogatepass")
