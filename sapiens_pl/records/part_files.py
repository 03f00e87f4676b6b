"""Parts: a journal's rows as two Parquet files, sorted by the pictures' names; written whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sapiens_pl.core.errors import ConfigError, write_error
from sapiens_pl.core.whole_file import whole_file
from sapiens_pl.records.outlet import outlet_of
from sapiens_pl.records.schema import PICTURES, people_schema

_DIGEST_BYTES = 8
_PICTURES_A_GROUP, _PEOPLE_A_GROUP = 2048, 4096
_KEYPOINTS_A_GROUP = 262_144
"""What is read at once: 3 MB of coordinates and scores."""
_MARK = b"sapiens_pl"
_TEXT_COLUMNS = ["name", "status", "error"]


def digest_of(content: bytes) -> str:
    """What a part's name ends with."""
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()


def write_parts(
    records: Path, stem: str, pictures: pa.Table, people: pa.Table, mark: dict[str, Any], names: dict[str, Any]
) -> None:
    """Writes both parts, the pictures' last.

    Args:
        pictures, people: the people in the order of the pictures.
        mark: which store they belong to.
        names: what the people's file says of its keypoints, for other programs.

    Raises:
        WriteError: no space, no permission, a vanished disk.
    """
    pictures, people = _sorted(pictures, people)
    group = max(1, min(_PEOPLE_A_GROUP, _KEYPOINTS_A_GROUP // max(1, mark["num_keypoints"])))
    file = _write(records, f"people-{stem}", people, names | {_MARK: json.dumps(mark)}, group)
    _write(
        records,
        f"pictures-{stem}",
        pictures,
        {_MARK: json.dumps(mark | {"people": file, "num_people": people.num_rows})},
        _PICTURES_A_GROUP,
    )


def _sorted(pictures: pa.Table, people: pa.Table) -> tuple[pa.Table, pa.Table]:
    """By name; of a picture that stands there twice, the later row."""
    counts = pictures.column("num_people").to_numpy()
    starts = np.cumsum(counts) - counts
    order = pc.sort_indices(pictures.column("name")).to_numpy()  # stable
    names = pictures.column("name").take(pa.array(order))
    if len(order) > 1:
        last = pc.not_equal(names.slice(1), names.slice(0, len(order) - 1)).to_numpy()
        order = order[np.append(last, True)]
    rows = np.concatenate(
        [
            np.empty(0, np.int64),
            *(np.arange(start, start + count) for start, count in zip(starts[order], counts[order])),
        ]
    )
    return pictures.take(pa.array(order)), people.take(pa.array(rows))


def _write(records: Path, stem: str, table: pa.Table, metadata: dict, rows_a_group: int) -> str:
    buffer = io.BytesIO()
    pq.write_table(
        table.replace_schema_metadata(metadata),
        buffer,
        row_group_size=rows_a_group,
        compression="zstd",
        use_dictionary=[name for name in _TEXT_COLUMNS if name in table.column_names],
        write_page_checksum=True,
    )
    content = buffer.getvalue()
    path = records / f"{stem}-{digest_of(content)}.parquet"
    with whole_file(path, records / f".new-{secrets.token_hex(8)}", True, False) as file:
        file.write(content)
    outlet_of(path).put(path)
    return path.name


def bring_names_to_disk(records: Path) -> None:
    """Of new files; before what they replace is removed."""
    try:
        handle = os.open(records, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError:  # not everywhere can a folder be brought to the disk
        return


class Part:
    """One pair of files, of which the pictures' is named.

    Attributes:
        mark: which store it belongs to.
        people_counts, picture_counts: rows of each group of people, and of pictures.

    Raises:
        ConfigError: one of the two is damaged or not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            outlet_of(path).fetch(path)
            self._pictures = pq.read_metadata(path)
            self.mark: dict[str, Any] = json.loads((self._pictures.metadata or {})[_MARK])
            self._people_path = path.parent / self.mark["people"]
            outlet_of(path).fetch(self._people_path)
            self._people = pq.read_metadata(self._people_path)
            self.people_counts = _rows_of_groups(self._people)
            self.picture_counts = _rows_of_groups(self._pictures)
            self._check()
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise self.damaged(error) from None

    def _check(self) -> None:
        for metadata, schema in ((self._pictures, PICTURES), (self._people, people_schema(self.mark["num_keypoints"]))):
            found = metadata.schema.to_arrow_schema()
            if found.names != schema.names:
                raise ValueError(f"columns {', '.join(found.names)[:100]}")
        if sum(self.people_counts) != self.mark["num_people"]:
            raise ValueError(f"{sum(self.people_counts)} people instead of {self.mark['num_people']}")

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
        return self._group(self._people_path, self._people, index)

    def _group(self, path: Path, metadata: Any, index: int) -> pa.Table:
        try:
            with pq.ParquetFile(path, metadata=metadata, page_checksum_verification=True) as file:
                return file.read_row_group(index)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise self.damaged(error) from None

    def damaged(self, error: Exception) -> ConfigError:
        """The sentence for it."""
        reason = " ".join(str(error).split())[:200]
        return ConfigError(
            f"{self.path} cannot be read ({type(error).__name__}: {reason}); run the same command again: it sets the "
            "part aside and does its pictures again."
        )


def _rows_of_groups(metadata: Any) -> list[int]:
    return [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]


def is_whole(path: Path, digest: str) -> bool:
    """True if the file is what was written; one that may not be read is taken for that.

    Raises:
        WriteError: the disk does not give it.
    """
    try:
        return digest_of(path.read_bytes()) == digest
    except PermissionError:
        return True
    except FileNotFoundError:
        return False
    except OSError as error:
        raise write_error(path, error) from None
