"""Parts: some pictures and their people as two Parquet files, sorted by the pictures' names; whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sapiens_pl.core.errors import ConfigError, write_error
from sapiens_pl.core.whole_file import bring_to_disk, put_in_place
from sapiens_pl.records.footers import Footer, footer_of
from sapiens_pl.records.outlet import outlet_of
from sapiens_pl.records.schema import PICTURES, people_schema

_DIGEST_BYTES = 8
_PICTURES_A_GROUP, _PEOPLE_A_GROUP = 2048, 4096
_KEYPOINTS_A_GROUP = 262_144
"""Rows that are read at once: 3 MB of coordinates and scores."""
_MARK = b"sapiens_pl"
_TEXT_COLUMNS = ["name", "status", "error", "shard"]


def digest_of(content: bytes) -> str:
    """The digest at the end of a part's name."""
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()


def write_parts(
    records: Path,
    pair: str,
    pictures: pa.Table,
    people: Iterable[pa.Table],
    mark: dict[str, Any],
    about: dict[str, Any],
) -> list[Path]:
    """Writes both parts, the pictures' last, and returns them in this order.

    Args:
        pair: what their names have in common (`store.pair_of`).
        pictures: sorted by name, each once.
        people: theirs, in the order of the pictures, some at a time; at least one table, which may be empty.
        mark: which store they belong to, and what the parts say of themselves.
        about: what the people's file says of its keypoints, for other programs.

    Raises:
        WriteError: no space, no permission, a vanished disk.
        FileNotFoundError: the folder, or what the people are read from, has gone.
    """
    group = max(1, min(_PEOPLE_A_GROUP, _KEYPOINTS_A_GROUP // max(1, mark["num_keypoints"])))
    of_people = _write(records, f"people-{pair}", _grouped(people, group), about | {_MARK: json.dumps(mark)}, group)
    counts = {row["values"]: row["counts"] for row in pc.value_counts(pictures.column("status")).to_pylist()}
    num_people = int(pc.sum(pictures.column("num_people")).as_py() or 0)
    mark = mark | {"people": of_people.name, "num_people": num_people, "counts": counts}
    of_pictures = _write(records, f"pictures-{pair}", [pictures], {_MARK: json.dumps(mark)}, _PICTURES_A_GROUP)
    return [of_people, of_pictures]


def _grouped(tables: Iterable[pa.Table], size: int) -> Iterator[pa.Table]:
    """The same rows, so many at a time; the last table has the rest."""
    held: pa.Table | None = None
    for table in tables:
        held = table if held is None else pa.concat_tables([held, table])
        whole = held.num_rows // size * size
        if whole:
            yield held.slice(0, whole)
            held = held.slice(whole)
    if held is not None:
        yield held


class _Digested:
    """A write-only file that computes a digest of its content."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._digest = file, hashlib.blake2b(digest_size=_DIGEST_BYTES)

    def write(self, content: bytes) -> int:
        self._digest.update(content)
        return self._file.write(content)

    def flush(self) -> None:
        self._file.flush()

    def digest(self) -> str:
        return self._digest.hexdigest()


def _write(records: Path, stem: str, tables: Iterable[pa.Table], metadata: dict, rows_a_group: int) -> Path:
    temporary = records / f".new-{secrets.token_hex(8)}"
    tables = iter(tables)
    first = next(tables)
    try:
        with open(temporary, "wb") as file:
            digested = _Digested(file)
            with pq.ParquetWriter(
                digested,
                first.schema.with_metadata(metadata),
                compression="zstd",
                use_dictionary=[name for name in _TEXT_COLUMNS if name in first.column_names],
                write_page_checksum=True,
            ) as writer:
                for table in chain([first], tables):
                    writer.write_table(table.replace_schema_metadata(metadata), rows_a_group)
            bring_to_disk(file)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):  # that may be a part that is merged
            raise write_error(records / stem, error) from None
        raise
    path = records / f"{stem}-{digested.digest()}.parquet"
    put_in_place(temporary, path, False)
    outlet_of(path).put(path)
    return path


def bring_names_to_disk(records: Path) -> None:
    """Syncs the names of new files, before what they replace is removed."""
    try:
        handle = os.open(records, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError:  # not every system can sync a folder
        return


class Part:
    """One pair of files, of which the pictures' is named. At a URL, the people's is fetched when they are asked for.

    Attributes:
        mark: which store it belongs to, and what it says of itself.
        people_counts, picture_counts: rows of each group of people, and of pictures.
        no_people: a table without rows.

    Args:
        path: of the pictures.
        carry: the columns that the people carry along.

    Raises:
        ConfigError: one of the two is damaged or not there.
        FileNotFoundError: the pictures' is not there, nor is there damage: its rows are in another part now. The
            methods raise it too.
    """

    def __init__(self, path: Path, carry: Sequence[str] = ()) -> None:
        self.path = path
        try:
            outlet_of(path).fetch(path)
            self._pictures = pq.read_metadata(path)
            self.mark: dict[str, Any] = json.loads((self._pictures.metadata or {})[_MARK])
            self.people_path = path.parent / self.mark["people"]
            self.picture_counts = _rows_of_groups(self._pictures)
            self._of_people = people_schema(self.mark["num_keypoints"], carry)
            self.no_people = self._of_people.empty_table()
            _check_columns(self._pictures, PICTURES)
            if self.people_path.exists() or outlet_of(path).size(self.people_path) is None:
                _ = self._people
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise self.damaged(error) from None

    @property
    def people_counts(self) -> list[int]:
        return _rows_of_groups(self._people)

    @property
    def footer(self) -> Footer:
        return footer_of(self._pictures, self.mark)

    @cached_property
    def _people(self) -> Any:
        try:
            outlet_of(self.path).fetch(self.people_path)
            metadata = pq.read_metadata(self.people_path)
            _check_columns(metadata, self._of_people)
            if metadata.num_rows != self.mark["num_people"]:
                raise ValueError(f"{metadata.num_rows} people instead of {self.mark['num_people']}")
        except (OSError, ValueError, pa.ArrowException) as error:
            raise self.damaged(error) from None
        return metadata

    def pictures(self, columns: list[str] | None = None) -> pa.Table:
        """All rows, or some columns of them."""
        try:
            with pq.ParquetFile(self.path, metadata=self._pictures, page_checksum_verification=True) as file:
                return file.read(columns)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise self.damaged(error) from None

    def picture_group(self, index: int) -> pa.Table:
        return self._group(self.path, self._pictures, index)

    def people(self, index: int) -> pa.Table:
        """The people of one group."""
        return self._group(self.people_path, self._people, index)

    def _group(self, path: Path, metadata: Any, index: int) -> pa.Table:
        try:
            with pq.ParquetFile(path, metadata=metadata, page_checksum_verification=True) as file:
                return file.read_row_group(index)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise self.damaged(error) from None

    def damaged(self, error: Exception) -> Exception:
        """A ConfigError with the sentence; the error itself if the part is gone."""
        if isinstance(error, FileNotFoundError) and not self.path.exists():
            return error
        reason = " ".join(str(error).split())[:200]
        return ConfigError(
            f"{self.path} cannot be read ({type(error).__name__}: {reason}); run the same command again: it sets the "
            "part aside and does its pictures again."
        )


def mark_of(path: Path) -> dict[str, Any]:
    """The mark of a part of pictures; empty if it cannot be read."""
    try:
        outlet_of(path).fetch(path)
        mark: dict[str, Any] = json.loads((pq.read_metadata(path).metadata or {})[_MARK])
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return {}
    return mark


def _check_columns(metadata: Any, schema: pa.Schema) -> None:
    found = metadata.schema.to_arrow_schema()
    if found.names != schema.names:
        raise ValueError(f"columns {', '.join(found.names)[:100]}")


def _rows_of_groups(metadata: Any) -> list[int]:
    return [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]


def is_whole(path: Path, digest: str) -> bool:
    """True if the file is as it was written; a file without read permission is taken to be.

    Raises:
        WriteError: the disk fails to read it.
    """
    try:
        return digest_of(path.read_bytes()) == digest
    except PermissionError:
        return True
    except FileNotFoundError:
        return False
    except OSError as error:
        raise write_error(path, error) from None
