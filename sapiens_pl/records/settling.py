"""Putting the store in order: journals become parts, and what is no longer whole is set aside.

Files of the store are whole when they have their names. What damages one later changes its time of change (`ctime`),
which programs cannot set: so only those parts are read that have changed since the last look.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from sapiens_pl.core.errors import write_error
from sapiens_pl.records.journal import Journal
from sapiens_pl.records.outlet import outlet_of, remove
from sapiens_pl.records.part_files import is_whole, mark_of
from sapiens_pl.records.sealing import Sealer, rows_of
from sapiens_pl.records.store import Store, StoreFile, live, store_files

log = logging.getLogger(__name__)


def seal(path: Path, store: Store, merges: Callable[[str | None, StoreFile], bool] = lambda shard, file: False) -> None:
    """Writes a journal's rows as parts and removes it; its process must not write to it any more.

    Args:
        merges: as for `Sealer.seal`.

    Raises:
        ConfigError: it belongs to another run.
        WriteError: no space, no permission, a vanished disk; the journal is still there.
    """
    stem = path.name.removeprefix("journal-").removesuffix(".arrow")
    try:
        journal = Journal(path)
    except OSError as error:
        raise write_error(path, error) from None
    try:
        Sealer(path.parent, store).seal(stem, rows_of(journal, store), merges)
        if journal.is_damaged:
            _set_aside([path], "damaged inside")
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise write_error(path, error) from None
    finally:
        journal.close()


def settle(records: Path, store: Store, looked_at_ns: int, shard: int | None = None) -> None:
    """Cleans up what killed processes have left, before a run begins.

    Damaged parts are set aside (`records/damaged/`) with a warning: their pictures are done again.
    Journals become parts. Unfinished files are removed.

    Args:
        looked_at_ns: parts that have not changed since are whole.
        shard: seal only this shard's journals, since others may be running; None for all.

    Raises:
        ConfigError: a file belongs to another run.
        WriteError: no space, no permission, a vanished disk.
    """
    files = store_files(records)
    if shard is None:
        _remove_begun(records)
        files = _without_damaged(files, looked_at_ns)
        _remove_merged(files, Sealer(records, store), looked_at_ns)
    journals = [file for file in files if file.kind == "journal" and shard in (None, file.shard)]
    there = {file.stem for file in live(files)}
    for file in journals:
        if file.stem in there:
            seal(file.path, store, partial(_may_merge, shard))
        else:
            file.path.unlink(missing_ok=True)


def _may_merge(own: int | None, shard: str | None, part: StoreFile) -> bool:
    """Whether a part of the journal's tars may be merged; other running shards keep theirs."""
    return shard is not None and own in (None, part.shard)


def _remove_merged(files: list[StoreFile], sealer: Sealer, looked_at_ns: int) -> None:
    """Removes the parts whose rows stand in another one: their process was killed before it could."""
    pictures = {file.pair: file for file in files if file.kind == "pictures"}
    people = {file.pair: file for file in files if file.kind == "people"}
    first = {file.label: file.generation for file in reversed(pictures.values())}
    for file in [*pictures.values()]:
        # Another machine's may be old; parts that one of an earlier run was merged into are of a later generation.
        is_later = file.label is not None and file.generation > first[file.label]
        if is_later or _has_changed(file.path, looked_at_ns):
            for pair in mark_of(file.path).get("merged", ()):
                if pair in pictures and pair in people:
                    sealer.remove(pictures.pop(pair).path, people.pop(pair).path)


def _remove_begun(records: Path) -> None:
    for path in (*records.glob(".new-*"), *records.glob(".store-*")):
        with suppress(OSError):
            path.unlink()


def _without_damaged(files: list[StoreFile], looked_at_ns: int) -> list[StoreFile]:
    """The files that are whole; pairs of which one is not are set aside, people without their pictures removed."""
    bad = {
        file.pair
        for file in files
        if file.digest is not None and _has_changed(file.path, looked_at_ns) and not is_whole(file.path, file.digest)
    }
    people = {file.pair for file in files if file.kind == "people"}
    pictures = {file.pair for file in files if file.kind == "pictures"}
    bad |= pictures - people
    for file in files:
        if file.kind == "people" and file.pair not in pictures | bad:  # killed before the pictures' part was written
            remove(file.path)
    _set_aside([file.path for file in files if file.pair in bad and file.kind != "journal"], "cut short or changed")
    return [file for file in files if file.kind == "journal" or file.pair not in bad]


def _has_changed(path: Path, looked_at_ns: int) -> bool:
    try:
        return os.stat(path).st_ctime_ns >= looked_at_ns
    except OSError:  # what is at a URL is whole
        return outlet_of(path).size(path) is None


def _set_aside(paths: list[Path], how: str) -> None:
    if not paths:
        return
    folder = paths[0].parent / "damaged"
    for path in paths:
        try:
            folder.mkdir(exist_ok=True)
            os.replace(path, folder / path.name)
            outlet_of(path).put(folder / path.name)
            outlet_of(path).remove(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise write_error(path, error) from None
    log.warning(
        "%d files of %s were %s (%s the first): they lie in %s now, and the pictures that only they recorded are done "
        "again.",
        *(len(paths), paths[0].parent, how, paths[0].name, folder),
    )
