"""A folder of this machine that mirrors a URL: complete files are uploaded, others' files are fetched when needed.

    records/                    parts are fetched when they are read; journals are never uploaded
    detections/shards/          are fetched when they are read
    .processes/, .products/, detections/, .hydra/, and the files beside them   are here and there
    predictions/, overlays/ ... are uploaded, and then removed here

What is at the URL counts, except journals and parts that a run on this machine could not upload.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sapiens_pl.core import remote
from sapiens_pl.core.bar import watched
from sapiens_pl.core.errors import MissingRemoteError, SapiensError, WriteError
from sapiens_pl.core.remote import Entry
from sapiens_pl.records.claims import claim_object
from sapiens_pl.records.copies import Copies
from sapiens_pl.records.lanes import Lanes
from sapiens_pl.records.outlet import Outlet
from sapiens_pl.records.shown_files import (
    KEPT,
    is_appended,
    is_kept,
    is_log,
    is_of_shard,
    is_part,
    is_progress,
    is_shown,
)

_NUM_LANES, _MAX_WAITING = 16, 512
_SECONDS_BETWEEN_PROGRESS = 10.0
_PUT, _REMOVE, _LOOK = "put", "remove", "look"


class Mirror(Outlet):
    """Shows one run's folder at a URL.

    Args:
        url: without a slash at its end.
        folder: stands for it.
        flush_seconds: as `Outlet` has it.

    Attributes:
        failed: called with a sentence when something cannot be uploaded or removed; nothing more is tried then.
    """

    def __init__(self, url: str, folder: Path, flush_seconds: float) -> None:
        self.url, self.folder, self.flush_seconds = url, folder, flush_seconds
        self.failed: Callable[[str], None] = lambda sentence: None
        self._error: WriteError | None = None
        self._copies = Copies(url, folder)
        self._gone: set[str] = set()
        """Parts that were removed here, and may be there until their turn has come."""
        self._own_progress: dict[str, bool] = {}
        """Whether what was last written is shown, by name."""
        self._progress_at = -math.inf
        self._lanes = Lanes(self._do, _NUM_LANES, _MAX_WAITING)

    @property
    def is_whole(self) -> bool:
        """True while no request has failed."""
        return self._error is None

    def put(self, path: Path) -> None:
        name = self._copies.name(path)
        if is_progress(name):
            if time.monotonic() - self._progress_at < _SECONDS_BETWEEN_PROGRESS:
                self._own_progress[name] = False
                return
            self._progress_at, self._own_progress[name] = time.monotonic(), True
        if is_shown(name):
            self._gone.discard(name)
            self._lanes.ask(_lane(name), name, _PUT)

    def remove(self, path: Path) -> None:
        name = self._copies.name(path)
        if is_shown(name):
            if is_part(name):
                self._gone.add(name)
                self._copies.known.pop(name, None)
            self._lanes.ask(_lane(name), name, _REMOVE)

    def put_first(self, path: Path) -> bool:
        self.wait()
        name, content = self._copies.name(path), path.read_bytes()
        try:
            if claim_object(self._copies.url_of(name), content):
                self._copies.known[name] = Entry(self._copies.url_of(name), len(content), "")
                return True
            self._copies.bring(name)
        except SapiensError as error:
            raise self._sentence(error) from None
        return False

    def fetch(self, path: Path) -> None:
        name = self._copies.name(path)
        if path.exists() or not (name in self._copies.known or is_log(name)):
            return
        try:
            self._copies.bring(name)
        except MissingRemoteError:
            if not is_log(name):  # another process has merged it into another
                self.refresh()
            raise FileNotFoundError(str(path)) from None
        except SapiensError as error:
            raise self._sentence(error) from None
        if name in self._gone:  # meanwhile
            path.unlink(missing_ok=True)
            raise FileNotFoundError(str(path))

    def elsewhere(self, folder: Path) -> Collection[str]:
        top = f"{self._copies.name(folder)}/"
        if top.split("/")[0] in KEPT:
            return [name.removeprefix(top) for name in [*self._copies.known] if name.startswith(top)]
        self.wait()
        with self._as_sentence():
            there = remote.list_below(self._copies.url_of(top))
        return [self._copies.name_of(entry).removeprefix(top) for entry in there]

    def size(self, path: Path) -> int | None:
        name = self._copies.name(path)
        with suppress(OSError):
            return path.stat().st_size
        if name in self._copies.known:
            return self._copies.known[name].num_bytes
        self.wait()
        with suppress(MissingRemoteError), self._as_sentence():
            return remote.look(self._copies.url_of(name)).num_bytes
        return None

    def look_at_others(self) -> None:
        self._lanes.ask(_lane(_LOOK), _LOOK, _LOOK)

    def wait(self) -> None:
        for name in [name for name, is_there in self._own_progress.items() if not is_there]:
            self._own_progress[name] = True
            self._lanes.ask(_lane(name), name, _PUT)
        total = self._lanes.num_left()
        name = f"copying to {remote.hidden(self.url)}"
        with watched(name, "file", total, lambda: total - self._lanes.num_left(), patient=True):
            self._lanes.wait()
        if self._error is not None:
            raise self._error

    def refresh(self) -> None:
        self._lanes.wait()
        before = dict(self._copies.known)
        with self._as_sentence():
            found = self._copies.listed()
        for name in before.keys() - found.keys():
            if not self._lanes.is_asked(name):
                self._copies.known.pop(name, None)
                (self.folder / name).unlink(missing_ok=True)
        others = {
            each: entry for each, entry in found.items() if not (self._lanes.is_asked(each) or each in self._gone)
        }
        with self._as_sentence():
            self._copies.take_over(others)

    def arrive(self) -> None:
        """Fetches what is at the URL, before a run begins and while no other process uses the folder.

        Raises:
            SapiensError: the store cannot be read, or the folder not be written.
        """
        found = self._copies.listed()
        if not self._copies.is_of_store(found.get("records/store.json")):
            shutil.rmtree(self.folder / "records", ignore_errors=True)
        for path in self.folder.iterdir():
            if path.is_dir() and path.name not in KEPT and not path.name.startswith(".unfinished-"):
                shutil.rmtree(path, ignore_errors=True)
        for name in sorted(self._copies.names_here() - found.keys()):
            if is_part(name) or is_appended(name):
                self.put(self.folder / name)
            elif not name.startswith("records/damaged/"):
                (self.folder / name).unlink(missing_ok=True)
        self._copies.known.clear()
        self._copies.take_over({name: entry for name, entry in found.items() if not self._has_more(name, entry)})
        for name, entry in found.items():
            if is_of_shard(name) and self._is_shorter(name, entry):
                (self.folder / name).unlink()  # the longer one is fetched when it is read

    def _has_more(self, name: str, entry: Entry) -> bool:
        """True, and it is uploaded, if a file that is only appended to is longer here."""
        path = self.folder / name
        longer = is_appended(name) and path.is_file() and path.stat().st_size > (entry.num_bytes or 0)
        if longer:
            self.put(path)
        return longer

    def _is_shorter(self, name: str, entry: Entry) -> bool:
        path = self.folder / name
        return path.is_file() and path.stat().st_size < (entry.num_bytes or 0)

    def lacks(self) -> bool:
        """Whether a part here is not there; raises SapiensError where that cannot be known."""
        here = {name for name in self._copies.names_here() if name.startswith("records/")}
        return not here <= {self._copies.name_of(entry) for entry in remote.list_below(f"{self.url}/records/")}

    def _do(self, name: str, what: str) -> None:
        if self._error is not None:
            return
        try:
            if what == _LOOK:
                self._bring_progress()
            elif what == _REMOVE:
                self._copies.known.pop(name, None)
                remote.remove(self._copies.url_of(name))
            else:
                self._put_now(name)
        except Exception as error:
            self._error = self._sentence(error)
            self.failed(str(self._error))

    def _bring_progress(self) -> None:
        with suppress(SapiensError):
            for entry in remote.list_below(f"{self.url}/.processes/"):
                name = self._copies.name_of(entry)
                if is_progress(name) and name not in self._own_progress and self._copies.known.get(name) != entry:
                    self._copies.bring_if_there(name)
                    self._copies.known[name] = entry

    def _put_now(self, name: str) -> None:
        path = self.folder / name
        try:
            before = path.stat()
            remote.put_file(self._copies.url_of(name), path)
        except FileNotFoundError:  # its removal will follow
            return
        if is_kept(name):
            self._copies.known[name] = Entry(self._copies.url_of(name), before.st_size, "")
        else:
            with suppress(OSError):
                if os.path.samestat(before, path.stat()):
                    path.unlink()

    def _sentence(self, error: Exception) -> WriteError:
        return WriteError(
            f"{error} What is done and not uploaded yet is in {self.folder}: run the same command again on this "
            "machine to upload it."
        )

    @contextmanager
    def _as_sentence(self) -> Iterator[None]:
        try:
            yield
        except (MissingRemoteError, WriteError):
            raise
        except SapiensError as error:
            raise self._sentence(error) from None


def _lane(name: str) -> int:
    """The records have a lane of their own, so that they are uploaded in order."""
    return 0 if name.startswith("records/") else 1 + hash(name) % (_NUM_LANES - 1)
