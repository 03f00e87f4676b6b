"""Who is writing behind a URL: small objects that only one of several processes can make, each with a heartbeat.

A claim is an object NAME-NUMBER in one folder. Nobody writes to another's. Its owner writes it again every few seconds,
so that it changes; a process that wants the same name watches it for half a minute at most, and makes the one with the
next number if it has not changed, or at once if its owner is known to be dead. So two processes that find a dead claim
at the same time cannot both take its place.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from sapiens_pl.core import remote
from sapiens_pl.core.errors import ConfigError, MissingRemoteError, SapiensError

BEAT_SECONDS, STALE_SECONDS = 5.0, 25.0
_LOOK_SECONDS = 0.5
_SETTLING_SECONDS = 2.0
"""Where a store does not say who was first, the last one counts; all others have written by then."""


class Taken(ConfigError):
    """Another process holds the claim; the sentence says which."""


class _Seen(NamedTuple):
    """A claim as it was found: its place, and a stamp that changes with it."""

    name: str
    number: int
    url: str
    stamp: str


class Claim:
    """The right to be the only one of a name.

    Args:
        folder: URL of all claims, which ends with a slash.
        name: what is claimed; without a dash.
        excludes: whether the claim of another name cannot stand beside this one; its own never can.
        lost: called with a sentence when another process has taken the place, or the store refuses a heartbeat.
    """

    def __init__(
        self,
        folder: str,
        name: str,
        excludes: Callable[[str], bool] = lambda name: False,
        lost: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._folder, self._name, self._excludes, self._lost = folder, name, excludes, lost
        self._own: _Seen | None = None
        self._id = secrets.token_hex(8)
        self._beat = 0
        self._end = threading.Event()

    def acquire(self, wait_seconds: float = 0.0) -> None:
        """Keeps others out from now on.

        Args:
            wait_seconds: how long to wait for another process.

        Raises:
            Taken: another process still holds it then.
            SapiensError: the store cannot be read or written.
        """
        end = time.monotonic() + wait_seconds
        while self._own is None:
            dead = self._all_dead(end)
            number = max((seen.number for seen in self._seen() if seen.name == self._name), default=0) + 1
            url = f"{self._folder}{self._name}-{number}"
            if not claim_object(url, self._content()):
                continue
            others = [seen for seen in self._standing_against() if seen.url not in {url, *dead}]
            if others:  # a claim of another name was made at the same moment; both try again
                remote.remove(url)
                time.sleep(random.uniform(0.1, 1.0))
                continue
            self._own = _Seen(self._name, number, url, "")
            for each in dead:
                remote.remove(each)
        self._end.clear()
        threading.Thread(target=self._keep, name=f"claim {self._name}", daemon=True).start()

    @property
    def is_held(self) -> bool:
        return self._own is not None

    def others(self) -> list[str]:
        """The names of all other claims whose owners are not known to be dead."""
        own = self._own and self._own.url
        return [seen.name for seen in self._seen() if seen.url != own and not self._is_dead_here(seen)]

    def release(self) -> None:
        """Lets others in."""
        if self._own is not None:
            self._end.set()
            with suppress(SapiensError):
                remote.remove(self._own.url)
            self._own = None

    def _all_dead(self, end: float) -> list[str]:
        """The claims that stand against this one, once all of their owners are known to be dead."""
        found = self._standing_against()
        dead = {seen.url for seen in found if self._is_dead_here(seen)}
        stale_at = time.monotonic() + STALE_SECONDS
        while found and not all(seen.url in dead for seen in found) and time.monotonic() < stale_at:
            time.sleep(_LOOK_SECONDS)
            now = self._standing_against()
            alive = [seen for seen in now if seen not in found and seen.url not in dead]
            if alive and time.monotonic() > end:
                raise Taken(self._sentence(alive[0]))
            if alive or {seen.url for seen in now} != {seen.url for seen in found}:
                found, stale_at = now, time.monotonic() + STALE_SECONDS
        return [seen.url for seen in found]

    def _seen(self) -> list[_Seen]:
        found = []
        for entry in remote.list_below(self._folder):
            name, _, number = entry.url.rpartition("/")[2].rpartition("-")
            if number.isdecimal():
                found.append(_Seen(name, int(number), entry.url, entry.stamp))
        return found

    def _standing_against(self) -> list[_Seen]:
        return [seen for seen in self._seen() if seen.name == self._name or self._excludes(seen.name)]

    def _is_dead_here(self, seen: _Seen) -> bool:
        owner = _read(seen.url)
        return owner.get("machine") == _machine() and not _is_alive(owner.get("process"), owner.get("begun"))

    def _sentence(self, seen: _Seen) -> str:
        owner = _read(seen.url)
        return (
            f"{remote.hidden(self._folder.rstrip('/').rpartition('/')[0])} is being written by another run (process "
            f"{owner.get('process', 'unknown')} on {owner.get('host', 'another machine')}); wait for its end or choose "
            "another output.dir."
        )

    def _content(self) -> bytes:
        self._beat += 1
        content = {"id": self._id, "beat": self._beat, "process": os.getpid(), "begun": _begun(os.getpid())}
        return json.dumps(content | {"host": socket.gethostname(), "machine": _machine()}).encode()

    def _keep(self) -> None:
        own = self._own
        while own is not None and not self._end.wait(BEAT_SECONDS):
            try:
                if any(seen.number > own.number for seen in self._seen() if seen.name == self._name):
                    self._lost("Another run has replaced this one, which gave no sign of life; this one ends.")
                    return
                remote.put(own.url, self._content())
                if self._end.is_set():  # released meanwhile
                    remote.remove(own.url)
            except SapiensError:
                continue  # the store may be reached again later; writing results reports what is wrong


def claim_object(url: str, content: bytes) -> bool:
    """Makes an object that is not there; False if it is there, or another process was faster.

    Args:
        content: different from what any other process writes.

    Raises:
        SapiensError: the store cannot be read or written.
    """
    if not _says_who_was_first(url):
        with suppress(MissingRemoteError):
            remote.read(url)
            return False
        remote.put(url, content)
        time.sleep(_SETTLING_SECONDS)
        return remote.read(url) == content
    return remote.put_if_absent(url, content)


@cache
def _first_is_known(store: str, folder: str) -> bool:
    probe = f"{folder}/.probe-{secrets.token_hex(8)}"
    try:
        first = remote.put_if_absent(probe, b"1")
        return first and not remote.put_if_absent(probe, b"2")
    except MissingRemoteError:
        raise
    except SapiensError:
        remote.put(probe, b"1")  # raises if nothing can be written at all
        return False
    finally:
        with suppress(SapiensError):
            remote.remove(probe)


def _says_who_was_first(url: str) -> bool:
    """Whether the store supports making an object only if there is none; it is tried once."""
    return _first_is_known(remote.hidden(url).split("/")[2], url.rpartition("/")[0])


def _read(url: str) -> dict[str, Any]:
    with suppress(MissingRemoteError, ValueError):
        content = json.loads(remote.read(url))
        return content if isinstance(content, dict) else {}
    return {}


@cache
def _machine() -> str:
    """An id of this machine and boot: process numbers are compared only within it."""
    said = [socket.gethostname()]
    for source in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        with suppress(OSError):
            said.append(os.readlink(source) if "ns" in source else Path(source).read_text().strip())
    return " ".join(said)


def _begun(process: int) -> str | None:
    """When a process began, in the kernel's clock; None where that is not told."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    return None


def _is_alive(process: Any, begun: Any) -> bool:
    if not isinstance(process, int):
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return begun is None or _begun(process) == begun
