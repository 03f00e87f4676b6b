"""img2dataset's table beside a tar: `00000.parquet`, with a row for each picture that was asked for."""

from __future__ import annotations

import os
from collections.abc import Iterable

from sapiens_pl.core.errors import UnreadableShardError
from sapiens_pl.core.plan import key_of
from sapiens_pl.core.wording import one_line
from sapiens_pl.pictures.stored import arrow_file, is_file

_KEY, _STATUS, _REASON, _DONE = "key", "status", "error_message", "success"


def not_downloaded(tar: str, names: Iterable[str]) -> dict[str, str]:
    """The samples that the table beside a tar lists and the tar has not, and why: sentences without their subject.

    Raises:
        UnreadableShardError: the table is damaged; a sentence without its subject.
    """
    path = f"{os.path.splitext(tar)[0]}.parquet"
    if not is_file(path):
        return {}
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(arrow_file(path))
        if not {_KEY, _STATUS} <= set(table.schema_arrow.names):
            return {}  # another program's
        wanted = [name for name in (_KEY, _STATUS, _REASON) if name in table.schema_arrow.names]
        rows = table.read(columns=wanted).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise UnreadableShardError(
            f"stands beside {path}, which cannot be read ({one_line(error)}); fetch or remove that."
        ) from None
    held = {key_of(name)[0] for name in names}
    return {str(row[_KEY]): _why(row.get(_STATUS), row.get(_REASON)) for row in rows if str(row[_KEY]) not in held}


def _why(status: object, reason: object) -> str:
    if status == _DONE:
        return "is not in its tar, although its table says that it was downloaded; fetch the tar again."
    said = f": {one_line(reason)}" if reason else ""
    return f"was not downloaded ({status}{said})."
