"""A run's folder for the commands that work on one that is there: on a disk, or at a URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sapiens_pl.core.errors import ConfigError, SapiensError
from sapiens_pl.core.remote import hidden, is_url
from sapiens_pl.records.mirror import Mirror
from sapiens_pl.records.outlet import stand_for, stand_no_longer
from sapiens_pl.records.run_lock import RunLock
from sapiens_pl.records.scratch import FLUSH_SECONDS, leave, own_scratch, plain_url, refuse_file, scratch_folder


@contextmanager
def at_hand(address: str | Path, only_read: bool = False) -> Iterator[Path]:
    """The folder itself, or a folder on this machine that mirrors the URL; files that are made in it are uploaded at
    the end.

    Args:
        address: of a run's folder.
        only_read: do not upload what a run on this machine has left for later.

    Raises:
        ConfigError: the URL cannot be used.
        WriteError: what was made cannot be written there.
    """
    if not is_url(address):
        yield Path(address)
    elif only_read:
        with own_scratch() as scratch, _standing_for(plain_url(str(address)), scratch) as folder:
            yield folder
    else:
        with _standing_for(plain_url(str(address)), None) as folder:
            yield folder


@contextmanager
def _standing_for(url: str, scratch: str | None) -> Iterator[Path]:
    mirror = Mirror(url, scratch_folder(url, scratch), FLUSH_SECONDS)
    try:
        refuse_file(url)
        mirror.refresh()
    except SapiensError as error:
        raise ConfigError(str(error)) from None
    stand_for(mirror.folder, mirror)
    try:
        yield mirror.folder
        mirror.wait()
    finally:
        leave(mirror, RunLock(mirror.folder / ".lock"), mirror.folder / ".processes")
        stand_no_longer(mirror.folder)


def shown(address: str | Path) -> str:
    """The address as it may be printed, without secrets."""
    return hidden(str(address)) if is_url(address) else str(address)
