"""What lies at a URL of a run's folder, and the copies of it on this machine."""

from __future__ import annotations

import json
import os
import secrets
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from sapiens_pl.core import remote
from sapiens_pl.core.errors import MissingRemoteError, write_error
from sapiens_pl.core.folders import walk
from sapiens_pl.core.remote import Entry
from sapiens_pl.records.shown_files import FILES, FOLDERS, is_of_shard, is_part, is_shown

_NUM_THREADS = 16


class Copies:
    """Files by their names, from the run's folder, with slashes. All methods raise SapiensError for errors of the
    store.

    Args:
        url: without a slash at its end.
        folder: mirrors it.

    Attributes:
        known: what is there, of all that is kept here.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.known: dict[str, Entry] = {}

    def names_here(self) -> set[str]:
        """The files here that would be shown there."""
        there = {name for name in FILES if (self.folder / name).is_file()}
        for top in FOLDERS:
            for parent, _, files in walk(self.folder / top):
                there.update(self.name(Path(parent, file)) for file in files)
        return {name for name in there if is_shown(name)}

    def is_of_store(self, entry: Entry | None) -> bool:
        """Whether the records here are of the store there."""
        if entry is None:
            return False
        try:
            here = (self.folder / "records" / "store.json").read_bytes()
            return bool(json.loads(here)["id"] == json.loads(remote.read(entry.url))["id"])
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def listed(self) -> dict[str, Entry]:
        """All that is kept here, as it is there."""
        found: dict[str, Entry] = {}
        with ThreadPoolExecutor(len(FOLDERS) + len(FILES)) as pool:
            folders = [pool.submit(remote.list_below, f"{self.url}/{top}/") for top in FOLDERS]
            files = [pool.submit(_look, f"{self.url}/{name}") for name in FILES]
            for entry in (*(entry for each in folders for entry in each.result()), *(each.result() for each in files)):
                if entry is not None and is_shown(name := self.name_of(entry)):
                    found[name] = entry
        return found

    def take_over(self, found: dict[str, Entry]) -> None:
        """Has here what has changed there, but for parts and detections of tars, fetched when they are read."""
        changed = []
        for name, entry in found.items():
            is_here, before = (self.folder / name).exists(), self.known.get(name)
            self.known[name] = entry
            waits = is_part(name) or is_of_shard(name)
            if not waits and not name.startswith("records/damaged/") and (before != entry or not is_here):
                changed.append(name)
        with ThreadPoolExecutor(_NUM_THREADS) as pool:
            for each in [pool.submit(self.bring_if_there, name) for name in changed]:
                each.result()

    def bring_if_there(self, name: str) -> None:
        """The same; a file that has been removed meanwhile is skipped."""
        with suppress(MissingRemoteError):
            self.bring(name)

    def bring(self, name: str) -> None:
        """Fetches one file."""
        path = self.folder / name
        temporary = path.with_name(f".new-{secrets.token_hex(8)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            remote.fetch(self.url_of(name), temporary)
            os.replace(temporary, path)
        except OSError as error:
            raise write_error(path, error) from None
        finally:
            temporary.unlink(missing_ok=True)

    def name(self, path: Path) -> str:
        """Of a file of the folder."""
        return path.relative_to(self.folder).as_posix()

    def name_of(self, entry: Entry) -> str:
        """Stores write the beginning of a URL in their own way."""
        return _path_of(entry.url).removeprefix(f"{_path_of(self.url)}/")

    def url_of(self, name: str) -> str:
        return f"{self.url}/{name}"


def _path_of(url: str) -> str:
    return url.partition("://")[2].strip("/")


def _look(url: str) -> Entry | None:
    with suppress(MissingRemoteError):
        return remote.look(url)
    return None
