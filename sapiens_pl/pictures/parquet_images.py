"""Parquet tables with the bytes of pictures in a column, as Hugging Face's datasets and img2dataset write them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sapiens_pl.core.columns import Names, NamesBuilder
from sapiens_pl.core.errors import (
    ConfigError,
    MissingImageError,
    SapiensError,
    StoreRefusedError,
    UnreadableImageError,
)
from sapiens_pl.core.plan import Pictures, ShardColumns
from sapiens_pl.core.remote import hidden, is_url
from sapiens_pl.core.structures import Failure, LoadedImage
from sapiens_pl.core.wording import one_line, shortened
from sapiens_pl.pictures import MAX_MEGAPIXELS, scratch
from sapiens_pl.pictures.by_shards import ByShards
from sapiens_pl.pictures.reading import check_num_bytes, image_of
from sapiens_pl.pictures.row_bytes import OpenTables, parquet_file
from sapiens_pl.pictures.shard_files import list_shards, shard_failure
from sapiens_pl.pictures.stored import Stamp, is_file, stamp_at

_USUAL = ("image", "jpg", "jpeg", "png", "webp", "img", "picture", "bytes", "image_bytes", "content")
"""Names of the picture column where several columns hold bytes."""
_STRETCH = 32
"""How many rows are dealt together where row groups are not dealt whole."""
_ROWS_AT_A_TIME = 1024


class _Table(NamedTuple):
    """`groups` are the numbers of rows of its row groups, `keys` the rows' names, None for their numbers."""

    path: str
    stamp: Stamp
    column: str
    groups: list[int]
    keys: list[Any] | None


class ParquetImages(ByShards):
    """Pictures in rows of tables (`conf/sources/parquet.yaml`).

    A picture is called by its table and its key, `train.parquet/cat_7`, or its row, `train.parquet/000000007`. Its path
    is that of the table, the column and the row.

    Args:
        images: tables, as for `list_shards`.
        max_megapixels: larger pictures are refused.
        columns: `image` has the bytes, None: found by the schema; `key` names the rows, None: rows are named by number.
        scratch_gib: as for `scratch.begin`, where they lie behind URLs.
        carry: other columns that come with each picture.

    Raises:
        ConfigError: there are no such tables.
    """

    def __init__(
        self,
        images: str,
        max_megapixels: float = MAX_MEGAPIXELS,
        columns: Mapping[str, str | None] | None = None,
        scratch_gib: float | None = None,
        carry: Sequence[str] = (),
    ) -> None:
        self._images, self._max_megapixels, self._carry = images, max_megapixels, tuple(carry)
        self._image_column, self._key_column = (dict(columns or {}).get(name) for name in ("image", "key"))
        super().__init__(list_shards(images, (".parquet",), ".parquet"), scratch_gib)

    def _forget(self) -> None:
        self._open = OpenTables()
        self._pictures: Pictures | None = None
        self._tables: list[_Table] = []
        self._begins = np.zeros(1, np.int64)
        self._wrong: dict[int, str] = {}

    def pictures(self) -> Pictures:
        """The pictures in the tables at the time of the first call."""
        if self._pictures is None:
            self._pictures = self._list()
        return self._pictures

    def read(self, index: int) -> LoadedImage:
        """The picture at this position; SapiensError with a sentence if it cannot be read."""
        path = self.pictures().path(index)
        if index in self._wrong:
            raise UnreadableImageError(f"{path} {self._wrong[index]}")
        place = int(np.searchsorted(self._begins, index, side="right")) - 1
        table, row = self._tables[place], index - int(self._begins[place])
        return _read(self._open, table.path, table.column, row, table.stamp, path, self._max_megapixels, self._carry)

    @staticmethod
    def read_path(path: str, max_megapixels: float) -> LoadedImage:
        """The picture at this path: a table's, a column and the number of a row."""
        above, _, row = path.rpartition(os.sep)
        table, column = os.path.split(above)
        if not row.isdecimal() or not is_file(table):
            raise MissingImageError(f"{path} is not there; it names no row of a table.")
        return _read(_OPEN, table, column, int(row), None, path, max_megapixels)

    def values(self, columns: Collection[str]) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
        """What the rows' other columns say; as `core.plan.Samples`."""
        self.pictures()
        for table, begin in zip(self._tables, self._begins.tolist()):
            file = parquet_file(table.path)
            wanted = [name for name in file.schema_arrow.names if name in columns and name != table.column]
            if not wanted:
                continue
            row = begin
            for batch in file.iter_batches(_ROWS_AT_A_TIME, columns=wanted, use_threads=False):
                for values in batch.to_pylist():
                    yield row, values
                    row += 1

    def columns(self) -> list[str]:
        """The columns of all tables, without those of the pictures."""
        self.pictures()
        schemas = [(parquet_file(table.path).schema_arrow.names, table.column) for table in self._tables]
        return list(dict.fromkeys(name for names, column in schemas for name in names if name != column))

    def _list(self) -> Pictures:
        failures: list[Failure] = []
        names, paths, taken = NamesBuilder(), NamesBuilder(), set[str]()
        begins, groups, stretches = [0], [0], [0]
        tables: list[str] = []
        scratch.want_all(self._files.paths)
        for name, path in zip(self._files.names, self._files.paths):
            try:
                with scratch.at_hand(path, even_so=False):
                    table = self._look_at(path)
            except StoreRefusedError:
                raise
            except (OSError, SapiensError) as error:
                failures.append(shard_failure(name, path, error))
                continue
            self._tables.append(table)
            tables.append(name)
            taken.clear()
            for row in range(sum(table.groups)):
                names.add(f"{name}/{self._name_of(table, row, begins[-1], taken)}")
                paths.add(f"{hidden(path)}/{table.column}/{row}")
            for count in table.groups:
                stretches += [*range(groups[-1] + _STRETCH, groups[-1] + count, _STRETCH), groups[-1] + count]
                groups.append(groups[-1] + count)
            begins.append(groups[-1])
        if begins[-1] == 0 and not self._is_part:
            said = failures[0].message if failures else "No table has a row."
            raise ConfigError(f"data.images={shortened(str(self._images))} holds no pictures. {said}")
        self._begins = np.array(begins, np.int64)
        return Pictures(
            self._files.root,
            names.build(),
            self._files.complete,
            tuple(failures),
            paths=paths.build(),
            stretches=np.unique(np.array(stretches, np.int64)),
            dealt_whole=np.unique(np.array(groups, np.int64)),
            shards=ShardColumns(Names.of(tables), self._begins, has_suffixes=False),
            samples=self,
        )

    def _look_at(self, path: str) -> _Table:
        """Raises OSError or SapiensError, whose sentence has no subject."""
        import pyarrow as pa

        stamp = stamp_at(path)
        if not is_url(path) and not os.path.isfile(path):
            raise UnreadableImageError("is not a regular file; only files are read.")
        try:
            file = parquet_file(path)
            schema, metadata = file.schema_arrow, file.metadata
            column = _image_column(schema, self._image_column)
            keys = None if self._key_column is None else self._keys(file)
        except pa.ArrowException as error:
            raise UnreadableImageError(
                f"cannot be read as Parquet ({one_line(error)}); fetch it again or remove it from the list."
            ) from None
        counts = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        return _Table(path, stamp, column, counts, keys)

    def _keys(self, file: Any) -> list[Any]:
        if self._key_column not in file.schema_arrow.names:
            columns = ", ".join(file.schema_arrow.names)
            raise UnreadableImageError(f"has no column {self._key_column} (data.columns.key); it has {columns}.")
        keys: list[Any] = file.read(columns=[self._key_column], use_threads=False).column(0).to_pylist()
        return keys

    def _name_of(self, table: _Table, row: int, begin: int, taken: set[str]) -> str:
        """What a row is called below its table."""
        key = None if table.keys is None else table.keys[row]
        if key is None:
            return f"{row:09d}"
        name = os.path.normpath(str(key))
        if name.startswith(("/", ".")) or "/." in name or "\0" in name or not str(key):
            self._wrong[begin + row] = f"has a key that cannot be a name ({shortened(repr(key))}); correct it."
        elif name in taken:
            self._wrong[begin + row] = f"has the key {shortened(name)}, as an earlier row has; only that one is read."
        else:
            taken.add(name)
            return name
        return f"{row:09d}"


_OPEN = OpenTables()
"""Of `read_path`."""


def _read(
    tables: OpenTables,
    table: str,
    column: str,
    row: int,
    stamp: Stamp | None,
    path: str,
    max_megapixels: float,
    carry: tuple[str, ...] = (),
) -> LoadedImage:
    carried: tuple[str | None, ...] = ()

    def read() -> bytes:
        nonlocal carried
        data, carried = tables.read(table, column, row, stamp, carry)
        check_num_bytes(len(data), max_megapixels)
        return data

    image = image_of(read, path, max_megapixels)
    return image._replace(carried=carried) if carry else image


def _image_column(schema: Any, wanted: str | None) -> str:
    """The column that holds pictures.

    Raises:
        UnreadableImageError: there is none, or several; a sentence without its subject.
    """
    import pyarrow as pa

    def holds_bytes(kind: Any) -> bool:
        if pa.types.is_struct(kind):
            return any(kind.field(place).name == "bytes" and holds_bytes(kind.field(place).type) for place in
                       range(kind.num_fields))  # fmt: skip
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    fitting = [field.name for field in schema if holds_bytes(field.type)]
    if wanted is not None:
        if wanted in fitting:
            return wanted
        raise UnreadableImageError(
            f"has no column {wanted} of bytes (data.columns.image); of bytes are {', '.join(fitting) or 'none'}."
        )
    usual = [name for name in _USUAL if name in fitting]
    if len(fitting) > 1 and usual:
        return usual[0]
    if len(fitting) != 1:
        what = f"has several columns of bytes ({', '.join(fitting)})" if fitting else "has no column of picture bytes"
        raise UnreadableImageError(
            f"{what}; its columns are {', '.join(schema.names)}: name one with data.columns.image."
        )
    return fitting[0]
