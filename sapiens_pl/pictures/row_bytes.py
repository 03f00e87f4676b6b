"""The bytes in a column of a Parquet file, row by row, in bounded memory.

Rows are read forwards, some at a time: at most 256 rows, and no more than make about 64 MiB. Asked for in order,
each row is decoded once; a row further back in its row group costs another pass through that.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from sapiens_pl.core.errors import UnreadableImageError
from sapiens_pl.core.wording import one_line
from sapiens_pl.pictures.carrying import carried_values, fields_of
from sapiens_pl.pictures.stored import Stamp, arrow_file, stamp_at

_BYTES_AT_A_TIME, _ROWS_AT_A_TIME = 64 << 20, 256
_BUFFER_BYTES = 1 << 20
"""Bytes of a column's chunk that are read at a time; without a buffer it would be all of it."""
_MOST_OPEN = 4


def parquet_file(path: str) -> Any:
    """A `pyarrow.parquet.ParquetFile` that reads pieces; it raises OSError and ArrowException."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(arrow_file(path), buffer_size=_BUFFER_BYTES, pre_buffer=False)


class RowBytes:
    """One column of one file.

    Args:
        path: where it is.
        column: binary, or a struct with a binary `bytes`.
        carry: the other columns that are read.
    """

    def __init__(self, path: str, column: str, carry: Sequence[str] = ()) -> None:
        self._column = column
        self.stamp = stamp_at(path)
        self._file = parquet_file(path)
        metadata = self._file.metadata
        counts = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self._starts = np.cumsum([0, *counts])
        self._leaf = leaf_of(self._file.schema_arrow.field(column))
        there = [name for name in self._file.schema_arrow.names if name != column]
        self._fields = [name for name in fields_of(carry, there) if name in there]
        places = {metadata.schema.column(place).path: place for place in range(metadata.num_columns)}
        self._place = places[self._leaf]
        self._group, self._begin = -1, 0
        self._held: Any = ()
        self._others: Any = None
        self._batches: Iterator[Any] = iter(())

    def read(self, row: int) -> bytes | None:
        """None for a null."""
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        if row < 0 or row >= self._starts[-1]:
            raise UnreadableImageError("is no row of its table.")
        place = row - int(self._starts[group])
        if group != self._group or place < self._begin:
            self._go_to(group)
        while place >= self._begin + len(self._held):
            self._begin += len(self._held)
            self._others = next(self._batches)
            batch = self._others.column(self._column)
            self._held = batch.flatten()[0] if hasattr(batch, "field") else batch
        value: bytes | None = self._held[place - self._begin].as_py()
        return value

    def others(self, row: int) -> dict[str, Any]:
        """What the other columns say of the row that was read last."""
        place = row - int(self._starts[self._group]) - self._begin
        values: list[dict[str, Any]] = self._others.select(self._fields).slice(place, 1).to_pylist()
        return values[0] if values else {}

    def _go_to(self, group: int) -> None:
        chunk = self._file.metadata.row_group(group).column(self._place)
        mean = max(chunk.total_uncompressed_size // max(chunk.num_values, 1), 1)
        rows = max(min(_BYTES_AT_A_TIME // mean, _ROWS_AT_A_TIME), 1)
        self._held, self._begin, self._group = (), 0, group
        # Threads of pyarrow's would not survive in a forked process.
        columns = [self._leaf, *self._fields]
        self._batches = self._file.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False)


class OpenTables:
    """The columns that were read last, in this process; another process, also a forked one, opens its own."""

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._columns: OrderedDict[tuple[str, str, tuple[str, ...]], RowBytes] = OrderedDict()

    def read(
        self, path: str, column: str, row: int, stamp: Stamp | None = None, carry: tuple[str, ...] = ()
    ) -> tuple[bytes, tuple[str | None, ...]]:
        """A row's bytes, and what is carried along.

        Raises:
            UnreadableImageError: there are none, or the file has changed; a sentence without its subject.
        """
        import pyarrow as pa

        if os.getpid() != self._owner:
            self._columns, self._owner = OrderedDict(), os.getpid()
        held = self._columns.pop((path, column, carry), None)
        try:
            held = RowBytes(path, column, carry) if held is None else held
            if stamp is not None and held.stamp != stamp:
                raise UnreadableImageError("cannot be found any more, as the table has changed meanwhile; run again.")
            data = held.read(row)
            carried = carried_values(held.others(row), carry) if carry else ()
        except (pa.ArrowException, KeyError, StopIteration) as error:
            raise UnreadableImageError(f"cannot be read from its table ({one_line(error)}); fetch it again.") from None
        self._columns[path, column, carry] = held
        if len(self._columns) > _MOST_OPEN:
            self._columns.popitem(last=False)
        if data is None:
            raise UnreadableImageError("has no bytes in its table (null); fetch or embed the picture.")
        return data, carried

    def __reduce__(self) -> Any:
        return OpenTables, ()


def leaf_of(field: Any) -> str:
    """The name of what is read of a column."""
    import pyarrow as pa

    return f"{field.name}.bytes" if pa.types.is_struct(field.type) else str(field.name)
