"""What lies behind URLs (`s3://`, `gs://`, `hf://`, `https://` ...): all access goes through this file, by fsspec.

Everything here is tried again with growing waits, within a time limit, and counted (`retries`); it may be called in any
thread and in forked processes. What may be wrong is a sentence: `MissingRemoteError` (there is nothing of that name),
`RemoteError` (this one cannot be had), `StoreRefusedError` (no credentials, expired ones, no such bucket, nobody
answers: the run is to stop), `ConfigError` (a protocol that is not known, or whose library is missing). Credentials
come from the environment only; what is shown or recorded of a URL is `hidden(url)`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

from sapiens_pl.core.errors import MissingRemoteError, RemoteError, SapiensError
from sapiens_pl.core.remote_calls import (
    Store,
    check_protocol,
    give_up_within,
    is_amazons,
    knows_ranges,
    path_of,
    requests,
    retries,
    submit,
)
from sapiens_pl.core.remote_listing import Entry, amazons_entries, entry_from, list_below
from sapiens_pl.core.remote_sentences import hidden

__all__ = [
    "Entry",
    "check_protocol",
    "fetch",
    "give_up_within",
    "hidden",
    "is_url",
    "list_below",
    "look",
    "look_at",
    "put",
    "put_file",
    "put_if_absent",
    "read",
    "reading",
    "remove",
    "requests",
    "retries",
]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_RANGE_BYTES = 8 << 20
_RANGES_IN_FLIGHT = 8
_MOST_IN_ONE_PUT = 64 << 20


class _CutOff(EOFError):
    """Fewer bytes came than there are."""


def is_url(text: object) -> bool:
    """Whether this is a URL of any protocol, and not a path."""
    return isinstance(text, str) and _URL.match(text) is not None


def reading(url: str, start: int = 0, stop: int | None = None) -> Future[bytes]:
    """Begins to read all the bytes, or those from `start` to `stop`; any number may be under way."""
    if stop is None:
        return submit(url, lambda store: store("cat_file", path_of(url)))

    async def part(store: Store) -> bytes:
        data: bytes = await store("cat_file", path_of(url), start=start, end=stop)
        if len(data) < stop - start:
            raise _CutOff(f"{len(data)} of {stop - start} bytes came")
        # A server that knows no ranges has sent the whole.
        return data if len(data) == stop - start else data[start:stop]

    return submit(url, part, stop - start)


def read(url: str, start: int = 0, stop: int | None = None) -> bytes:
    """The bytes."""
    return reading(url, start, stop).result()


def look(url: str) -> Entry:
    """What the store says of one file; MissingRemoteError for a folder."""
    (found,) = look_at([url])
    if isinstance(found, SapiensError):
        raise found
    return found


def look_at(urls: Sequence[str]) -> list[Entry | SapiensError]:
    """The same of many, which are asked for together."""
    return [_looked(url, info) for url, info in [(url, submit(url, partial(_info, url))) for url in urls]]


async def _info(url: str, store: Store) -> Mapping[str, Any]:
    info: Mapping[str, Any] = await store("info", path_of(url))
    return info


def _looked(url: str, coming: Future[Mapping[str, Any]]) -> Entry | SapiensError:
    try:
        info = coming.result()
    except SapiensError as error:
        if is_amazons(url) and type(error) is RemoteError:  # an answer without a body does not say why
            try:
                amazons_entries(url, most=1)
            except SapiensError as reason:
                return reason
        return error
    if info.get("type") == "directory":
        return MissingRemoteError(f"{hidden(url)} is a folder, not a file; end its name with a slash or name a file.")
    return entry_from(url, info)


def fetch(url: str, target: Path, entry: Entry | None = None) -> Entry:
    """Copies a whole file to the disk, in pieces that are tried again one by one.

    Args:
        target: its folder is there; what is there of that name is written over.
        entry: what is known of it.

    Raises:
        RemoteError: besides what is said above, the file changed during the transfer.
        OSError: of the disk.
    """
    entry = entry or look(url)
    if entry.num_bytes is None or (entry.num_bytes > _RANGE_BYTES and not knows_ranges(url)):
        submit(url, lambda store: store("get_file", path_of(url), str(target)), entry.num_bytes or 1 << 30).result()
    else:
        _fetch_pieces(url, target, entry.num_bytes)
    if entry.num_bytes is not None and target.stat().st_size != entry.num_bytes:
        raise RemoteError(f"{hidden(url)} has another size than its store says; run the same command again.")
    if (entry.num_bytes or 0) > _RANGE_BYTES and look(url).stamp != entry.stamp:
        raise RemoteError(f"{hidden(url)} has changed while it was fetched; run the same command again.")
    return entry


def put(url: str, data: bytes) -> None:
    """Writes a file, which others see only when it is complete."""
    submit(url, lambda store: store("pipe_file", path_of(url), data), len(data), "written").result()


def put_file(url: str, source: Path) -> None:
    """The same from a file of the disk; a large one is uploaded in pieces, and is seen when it is complete."""
    size = source.stat().st_size
    if size <= _MOST_IN_ONE_PUT:
        put(url, source.read_bytes())
    else:
        submit(url, lambda store: store("put_file", str(source), path_of(url)), size, "written").result()


def put_if_absent(url: str, data: bytes) -> bool:
    """Writes a file that is not there yet, and returns whether it did; `data` must differ from what any other process
    would write.

    Raises:
        RemoteError: also if the store does not support this; some stores silently write it in any case.
    """

    async def create(store: Store) -> bool:
        try:
            await store("pipe_file", path_of(url), data, mode="create")
        except FileExistsError:
            return False
        except Exception as error:
            if _says_it_is_there(error):
                return False
            raise
        return True

    if submit(url, create, len(data), "written").result():
        return True
    try:  # the answer to a first try may have been lost
        return read(url) == data
    except MissingRemoteError:
        return False


def remove(url: str) -> None:
    """Removes a file, if it is there."""

    async def drop(store: Store) -> None:
        try:
            await store("rm_file", path_of(url))
        except FileNotFoundError:
            return

    submit(url, drop, done="removed").result()


def _fetch_pieces(url: str, target: Path, num_bytes: int) -> None:
    starts = iter(range(0, num_bytes, _RANGE_BYTES))
    under_way: list[tuple[int, Future[bytes]]] = []
    with open(target, "wb") as file:
        try:
            while True:
                for start in starts:
                    under_way.append((start, reading(url, start, min(start + _RANGE_BYTES, num_bytes))))
                    if len(under_way) == _RANGES_IN_FLIGHT:
                        break
                if not under_way:
                    return
                start, piece = under_way.pop(0)
                file.write(piece.result())
        finally:
            for _, piece in under_way:
                piece.cancel()


def _says_it_is_there(error: BaseException | None) -> bool:
    for _ in range(8):
        if error is None:
            return False
        response = getattr(error, "response", None)
        if isinstance(response, dict) and response.get("Error", {}).get("Code") == "PreconditionFailed":
            return True
        error = error.__cause__
    return False
