"""What lies below a URL, as Amazon's, web and other stores list it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from sapiens_pl.core.errors import MissingRemoteError
from sapiens_pl.core.remote_calls import Store, is_amazons, is_on_the_web, path_of, submit, url_of

_BYTES_OF_A_LISTING = 64 << 20
"""For the time that it may take, as all its pages count as one request."""
_TAGS = ("ETag", "etag", "md5Hash", "content_md5", "Content-MD5", "Digest", "commit_hash", "blob_id", "checksum")
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "created")


class Entry(NamedTuple):
    """One thing behind a URL; `num_bytes` is None, and `stamp` (equal if the content is the same) "", where the
    store does not say.
    """

    url: str
    num_bytes: int | None
    stamp: str


def list_below(url: str) -> list[Entry]:
    """All files whose URLs begin with this one, which ends with a slash, sorted; none if there are none."""
    folder = url if url.endswith("/") else f"{url}/"
    if is_amazons(url):
        found = amazons_entries(folder)
    else:
        found = _web_entries(folder) if is_on_the_web(url) else _other_entries(folder)
    return sorted(entry for entry in found if entry.url != folder)


def amazons_entries(folder: str, most: int = 1000) -> list[Entry]:
    """Page by page, so that each is tried again by itself; with less than 1000, so many of the first."""
    bucket, _, prefix = path_of(f"{folder}x")[:-1].partition("/")
    found: list[Entry] = []
    asked: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": most}
    while True:
        page = submit(folder, lambda store: store.system._call_s3("list_objects_v2", **asked), done="listed").result()
        for info in page.get("Contents", ()):
            if not info["Key"].endswith("/"):
                found.append(entry_from(f"{urlsplit(folder).scheme}://{bucket}/{info['Key']}", info))
        if not page.get("IsTruncated") or most < 1000:
            return found
        asked["ContinuationToken"] = page["NextContinuationToken"]


def _web_entries(folder: str) -> list[Entry]:
    """Of the links on the folder's page, and on those that it leads to: each is tried again by itself."""
    pages, seen, found = [folder], {folder}, []
    while pages:
        page, links = pages.pop(), []
        with suppress(MissingRemoteError):
            links = submit(page, partial(_links, path_of(page)), done="listed").result()
        for link in links:
            if link["name"] not in seen:
                seen.add(link["name"])
                if link["type"] == "directory":
                    pages.append(link["name"])
                else:
                    found.append(entry_from(link["name"], link))
    return found


async def _links(path: str, store: Store) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = await store("ls", path, detail=True)
    return found


def _other_entries(folder: str) -> list[Entry]:
    infos: Mapping[str, Any] = {}
    with suppress(MissingRemoteError):
        find = submit(
            folder, lambda store: store("find", path_of(folder), detail=True), _BYTES_OF_A_LISTING, done="listed"
        )
        infos = find.result()
    inside, found = f"{path_of(folder).rstrip('/')}/", []
    for path, info in infos.items():
        if info.get("type") != "directory":
            # As the folder was called: file systems may call it otherwise.
            below = path.startswith(inside)
            found.append(entry_from(f"{folder}{path[len(inside) :]}" if below else url_of(path, folder), info))
    return found


def entry_from(url: str, info: Mapping[str, Any]) -> Entry:
    size = info.get("size", info.get("Size"))
    said = next((str(info[name]) for name in (*_TAGS, *_TIMES) if info.get(name)), "")
    return Entry(url, None if size is None else int(size), said)
