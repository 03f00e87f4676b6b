"""A folder of this machine that stands for a URL: what is whole goes up, what others have put comes down when needed.

    records/                    parts are fetched when they are read; journals never go up
    .processes/, .products/, detections/, .hydra/, and the files beside them   are here and there
    predictions/, overlays/ ... go up, and are removed here when they are there

What is there counts, except journals and parts that a run on this machine has not been able to put any more.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from sapiens_pl.core import remote
from sapiens_pl.core.errors import MissingRemoteError, SapiensError, WriteError, write_error
from sapiens_pl.core.folders import walk
from sapiens_pl.core.remote import Entry
from sapiens_pl.records.claims import claim_object
from sapiens_pl.records.lanes import Lanes
from sapiens_pl.records.outlet import Outlet
from sapiens_pl.records.shown_files import FILES, FOLDERS, KEPT, is_appended, is_kept, is_part, is_shown

_NUM_LANES, _MAX_WAITING = 16, 512
_PUT, _REMOVE = "put", "remove"


class Mirror(Outlet):
    """Shows one run's folder at a URL.

    Args:
        url: without a slash at its end.
        folder: stands for it.
        flush_seconds: as `Outlet` has it.

    Attributes:
        failed: called with a sentence when something cannot be put or removed; nothing more is tried then.
    """

    def __init__(self, url: str, folder: Path, flush_seconds: float) -> None:
        self.url, self.folder, self.flush_seconds = url, folder, flush_seconds
        self.failed: Callable[[str], None] = lambda sentence: None
        self._error: WriteError | None = None
        self._known: dict[str, Entry] = {}
        """What is there, of all that is kept here; by name."""
        self._lanes = Lanes(self._do, _NUM_LANES, _MAX_WAITING)

    @property
    def is_whole(self) -> bool:
        """True while everything that was asked for has happened or will happen."""
        return self._error is None

    def put(self, path: Path) -> None:
        name = self._name(path)
        if is_shown(name):
            self._lanes.ask(_lane(name), name, _PUT)

    def remove(self, path: Path) -> None:
        name = self._name(path)
        if is_shown(name):
            self._lanes.ask(_lane(name), name, _REMOVE)

    def put_first(self, path: Path) -> bool:
        self.wait()
        name, content = self._name(path), path.read_bytes()
        try:
            if claim_object(self._url(name), content):
                self._known[name] = Entry(self._url(name), len(content), "")
                return True
            self._bring(name)
        except SapiensError as error:
            raise self._sentence(error) from None
        return False

    def fetch(self, path: Path) -> None:
        name = self._name(path)
        if name not in self._known or path.exists():
            return
        try:
            self._bring(name)
        except MissingRemoteError:  # another process has merged it into another
            self.refresh()
            raise FileNotFoundError(str(path)) from None
        except SapiensError as error:
            raise self._sentence(error) from None

    def elsewhere(self, folder: Path) -> Collection[str]:
        top = f"{self._name(folder)}/"
        if top.split("/")[0] in KEPT:
            return [name.removeprefix(top) for name in [*self._known] if name.startswith(top)]
        self.wait()
        with self._as_sentence():
            return [self._name_of(entry).removeprefix(top) for entry in remote.list_below(self._url(top))]

    def size(self, path: Path) -> int | None:
        self.wait()
        name = self._name(path)
        try:
            return path.stat().st_size
        except OSError:
            pass
        if name in self._known:
            return self._known[name].num_bytes
        with suppress(MissingRemoteError), self._as_sentence():
            return remote.look(self._url(name)).num_bytes
        return None

    def wait(self) -> None:
        self._lanes.wait()
        if self._error is not None:
            raise self._error

    def refresh(self) -> None:
        self._lanes.wait()
        before = dict(self._known)
        with self._as_sentence():
            found = self._listed()
        for name in before.keys() - found.keys():
            if not self._lanes.is_asked(name):
                self._known.pop(name, None)
                (self.folder / name).unlink(missing_ok=True)
        with self._as_sentence():
            self._take_over({name: entry for name, entry in found.items() if not self._lanes.is_asked(name)})

    def arrive(self) -> None:
        """Has here what is there, before a run begins and while no other process is at work in the folder.

        Raises:
            SapiensError: the store cannot be read, or the folder not be written.
        """
        found = self._listed()
        if not self._is_of_store(found.get("records/store.json")):
            shutil.rmtree(self.folder / "records", ignore_errors=True)
        for path in self.folder.iterdir():
            if path.is_dir() and path.name not in KEPT and not path.name.startswith(".unfinished-"):
                shutil.rmtree(path, ignore_errors=True)
        for name in sorted(self._names_here() - found.keys()):
            if is_part(name) or is_appended(name):
                self.put(self.folder / name)
            elif not name.startswith("records/damaged/"):
                (self.folder / name).unlink(missing_ok=True)
        self._known.clear()
        self._take_over({name: entry for name, entry in found.items() if not self._has_more(name, entry)})

    def _has_more(self, name: str, entry: Entry) -> bool:
        """True, and it goes up, where a file that is only appended to is longer here."""
        path = self.folder / name
        longer = is_appended(name) and path.is_file() and path.stat().st_size > (entry.num_bytes or 0)
        if longer:
            self.put(path)
        return longer

    def lacks(self) -> bool:
        """Whether a part here is not there; raises SapiensError where that cannot be known."""
        here = {name for name in self._names_here() if name.startswith("records/")}
        return not here <= {self._name_of(entry) for entry in remote.list_below(f"{self.url}/records/")}

    def _names_here(self) -> set[str]:
        """The files here that would be seen there."""
        there = {name for name in FILES if (self.folder / name).is_file()}
        for top in FOLDERS:
            for parent, _, files in walk(self.folder / top):
                there.update(self._name(Path(parent, file)) for file in files)
        return {name for name in there if is_shown(name)}

    def _is_of_store(self, entry: Entry | None) -> bool:
        """Whether the records here are of the store there."""
        if entry is None:
            return False
        try:
            here = (self.folder / "records" / "store.json").read_bytes()
            return bool(json.loads(here)["id"] == json.loads(remote.read(entry.url))["id"])
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _listed(self) -> dict[str, Entry]:
        """All that is kept here, as it is there."""
        found: dict[str, Entry] = {}
        with ThreadPoolExecutor(len(FOLDERS) + len(FILES)) as pool:
            folders = [pool.submit(remote.list_below, f"{self.url}/{top}/") for top in FOLDERS]
            files = [pool.submit(_look, f"{self.url}/{name}") for name in FILES]
            for entry in (*(entry for each in folders for entry in each.result()), *(each.result() for each in files)):
                if entry is not None and is_shown(name := self._name_of(entry)):
                    found[name] = entry
        return found

    def _take_over(self, found: dict[str, Entry]) -> None:
        changed = []
        for name, entry in found.items():
            is_here, before = (self.folder / name).exists(), self._known.get(name)
            self._known[name] = entry
            if not is_part(name) and not name.startswith("records/damaged/") and (before != entry or not is_here):
                changed.append(name)
        with ThreadPoolExecutor(_NUM_LANES) as pool:
            for each in [pool.submit(self._bring_if_there, name) for name in changed]:
                each.result()

    def _bring_if_there(self, name: str) -> None:
        with suppress(MissingRemoteError):
            self._bring(name)

    def _bring(self, name: str) -> None:
        path = self.folder / name
        temporary = path.with_name(f".new-{secrets.token_hex(8)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            remote.fetch(self._url(name), temporary)
            os.replace(temporary, path)
        except OSError as error:
            raise write_error(path, error) from None
        finally:
            temporary.unlink(missing_ok=True)

    def _do(self, name: str, what: str) -> None:
        if self._error is not None:
            return
        try:
            if what == _REMOVE:
                self._known.pop(name, None)
                remote.remove(self._url(name))
            else:
                self._put_now(name)
        except Exception as error:
            self._error = self._sentence(error)
            self.failed(str(self._error))

    def _put_now(self, name: str) -> None:
        path = self.folder / name
        try:
            before = path.stat()
            remote.put_file(self._url(name), path)
        except FileNotFoundError:  # its removal will follow
            return
        if is_kept(name):
            self._known[name] = Entry(self._url(name), before.st_size, "")
        else:
            with suppress(OSError):
                if os.path.samestat(before, path.stat()):
                    path.unlink()

    def _sentence(self, error: Exception) -> WriteError:
        return WriteError(
            f"{error} What is done and not there yet lies in {self.folder}: run the same command again on this machine "
            "and it goes up."
        )

    @contextmanager
    def _as_sentence(self) -> Iterator[None]:
        try:
            yield
        except (MissingRemoteError, WriteError):
            raise
        except SapiensError as error:
            raise self._sentence(error) from None

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _name_of(self, entry: Entry) -> str:
        """Stores write the beginning of a URL in their own way."""
        return _path_of(entry.url).removeprefix(f"{_path_of(self.url)}/")

    def _url(self, name: str) -> str:
        return f"{self.url}/{name}"


def _path_of(url: str) -> str:
    return url.partition("://")[2].strip("/")


def _look(url: str) -> Entry | None:
    with suppress(MissingRemoteError):
        return remote.look(url)
    return None


def _lane(name: str) -> int:
    """The records have one for themselves, so that they come in their order."""
    return 0 if name.startswith("records/") else 1 + hash(name) % (_NUM_LANES - 1)
