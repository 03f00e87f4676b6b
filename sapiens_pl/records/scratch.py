"""The folder of this machine that mirrors a URL: where it is, and when it is removed."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sapiens_pl.core import remote
from sapiens_pl.core.errors import ConfigError, MissingRemoteError, SapiensError, WriteError
from sapiens_pl.records.claims import Claim
from sapiens_pl.records.members import any_at_work
from sapiens_pl.records.mirror import Mirror
from sapiens_pl.records.outlet import outlet_of
from sapiens_pl.records.run_lock import RunLock

FLUSH_SECONDS = 60.0
_PREPARATION_SECONDS = 120.0
_TURN_SECONDS = 600.0
_PREPARING = "prepare"
_CLAIMS = ".lock/"


def scratch_folder(url: str, scratch: str | None = None) -> Path:
    """The same folder for all processes of this machine with the same `output.scratch`, at any time.

    Args:
        url: what it mirrors.
        scratch: `output.scratch`; None for a folder among the temporary ones.

    Raises:
        ConfigError: it cannot be written.
    """
    digest = hashlib.blake2b(plain_url(url).encode(), digest_size=8).hexdigest()
    top = Path(tempfile.gettempdir(), f"sapiens_pl-{os.getuid()}") if scratch is None else Path(scratch).expanduser()
    folder = top.absolute() / f"{plain_url(url).rpartition('/')[2]}-{digest}"
    try:
        top.mkdir(0o700, parents=True, exist_ok=True)
        if scratch is None and (top.is_symlink() or top.stat().st_uid != os.getuid()):
            raise PermissionError(0, "it is another user's")
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"output.scratch={folder} cannot be written ({error.strerror}); a run whose output.dir is a URL needs a "
            "folder on this machine: give output.scratch=FOLDER."
        ) from None
    return folder


def plain_url(url: str) -> str:
    return url.rstrip("/")


def standing_mirror(folder: Path) -> Mirror | None:
    """The mirror of that folder; None for a folder that mirrors no URL."""
    outlet = outlet_of(folder)
    return outlet if isinstance(outlet, Mirror) and outlet.folder == folder else None


def address_of(folder: Path) -> str:
    """A folder's name for the user: the URL that it mirrors, without secrets, or its path."""
    mirror = standing_mirror(folder)
    return str(folder) if mirror is None else remote.hidden(mirror.url)


class UrlLock:
    """As `RunLock` for a folder on a disk: also keeps other machines out, and fetches what is at the URL.

    Args:
        local: of the folder on this machine.
        mirror: stands for the URL.
        processes: the folder of the run's processes.
        shard, num_shards: a run without shards has the URL to itself.
    """

    def __init__(self, local: RunLock, mirror: Mirror, processes: Path, shard: int, num_shards: int) -> None:
        self._local, self._mirror, self._processes = local, mirror, processes
        self._alone = num_shards == 1
        folder = f"{mirror.url}/{_CLAIMS}"
        own = f"{shard}of{num_shards}"

        def excludes(name: str) -> bool:
            # Another number of shards would deal the pictures differently.
            return "of" in name and (self._alone or not name.endswith(f"of{num_shards}"))

        self._claim = Claim(folder, own, excludes, lambda sentence: mirror.failed(sentence))
        self._preparation = Claim(folder, _PREPARING)
        self.only_one = True
        """True while no other shard is at work."""

    def acquire(self) -> None:
        """As `RunLock.acquire`; then the folder has what is at the URL.

        Raises:
            ConfigError: another run is at work there, or nothing can be read or written.
        """
        self._local.acquire()
        try:
            refuse_file(self._mirror.url)
            self._claim.acquire()
            if not self._alone:
                self._preparation.acquire(_PREPARATION_SECONDS)
            self.only_one = self._local.only_one and not any("of" in name for name in self._claim.others())
            if self._local.only_one:
                self._mirror.arrive()
            else:
                self._mirror.refresh()
        except BaseException as error:
            self.release()
            if isinstance(error, SapiensError) and not isinstance(error, ConfigError):
                raise ConfigError(str(error)) from None
            raise

    def share(self) -> None:
        """Lets the other shards in."""
        self._preparation.release()
        self._local.share()

    def release(self) -> None:
        """Lets others in, after the last uploads."""
        if self._claim.is_held:
            for path in (*self._mirror.folder.glob("*.log"), *self._mirror.folder.glob(".hydra/*.yaml")):
                self._mirror.put(path)
        with suppress(WriteError):  # the caller has already been told
            self._mirror.wait()
        self._preparation.release()
        self._claim.release()
        self._local.release()
        leave(self._mirror, self._local, self._processes)


@contextmanager
def claimed(url: str, name: str) -> Iterator[None]:
    """One process at a time for what has that name.

    Raises:
        SapiensError: the store cannot be read or written, or no other process ends.
    """
    claim = Claim(f"{url}/{_CLAIMS}", name)
    claim.acquire(_TURN_SECONDS)
    try:
        yield
    finally:
        claim.release()


def refuse_file(url: str) -> None:
    """Raises ConfigError where a URL that should be a folder is a file, or cannot be looked at."""
    remote.check_protocol(url)
    try:
        remote.look(url)
    except MissingRemoteError:
        return
    raise ConfigError(f"output.dir={remote.hidden(url)} is a file; name a folder, which need not be there yet.")


def leave(mirror: Mirror, local: RunLock, processes: Path) -> None:
    """Removes the folder on this machine if all its files are at the URL, and no other process uses it."""
    if not mirror.is_whole or any((mirror.folder / "records").glob("journal-*")):
        return
    with suppress(SapiensError):  # another process uses it, or that cannot be known
        local.acquire()
        try:
            if local.only_one and not any_at_work(processes) and not mirror.lacks():
                shutil.rmtree(mirror.folder, ignore_errors=True)
        finally:
            local.release()


@contextmanager
def own_scratch() -> Iterator[str]:
    """A folder for a reader, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="sapiens_pl-") as folder:
        yield folder
