"""Putting the store in order: journals become parts, and what is no longer whole is set aside.

Files of the store are whole when they have their names. What damages one later changes its time of change (`ctime`),
which nobody can set: so only those parts are read that have changed since the last look.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from sapiens_pl.core.errors import write_error
from sapiens_pl.records.journal import Journal
from sapiens_pl.records.outlet import outlet_of, remove
from sapiens_pl.records.part_files import bring_names_to_disk, is_whole, write_parts
from sapiens_pl.records.schema import people_schema
from sapiens_pl.records.store import Store, StoreFile, check_mark, store_files

log = logging.getLogger(__name__)


def seal(path: Path, store: Store) -> None:
    """Writes a journal's rows as parts and removes it; its process must not write to it any more.

    Raises:
        WriteError: no space, no permission, a vanished disk; the journal is still there.
    """
    stem = path.name.removeprefix("journal-").removesuffix(".arrow")
    try:
        journal = Journal(path)
    except OSError as error:
        raise write_error(path, error) from None
    try:
        if journal.header:
            check_mark(path, journal.header, store)
        count = store.keypoint_set.num_keypoints
        frames = [journal.people(frame, count) for frame in range(len(journal.people_counts))]
        if frames:
            people = pa.Table.from_batches(frames, people_schema(count))
            spec = store.keypoint_set
            names = {"dataset_name": spec.dataset_name, "keypoint_names": json.dumps(spec.names)}
            write_parts(path.parent, stem, journal.pictures, people, store.mark(), names)
            bring_names_to_disk(path.parent)
        if journal.is_damaged:
            _set_aside([path], "damaged inside")
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise write_error(path, error) from None
    finally:
        journal.close()


def settle(records: Path, store: Store, looked_at_ns: int, shard: int | None = None) -> None:
    """Puts in order what killed processes have left, before a run begins.

    Parts that are no longer whole are set aside (`records/damaged/`), which is said: their pictures are done again.
    Journals become parts. What was begun only is removed.

    Args:
        looked_at_ns: parts that have not changed since are whole.
        shard: seal only this shard's journals, since others may be at work; None for all.

    Raises:
        ConfigError: a file belongs to another run.
        WriteError: no space, no permission, a vanished disk.
    """
    files = store_files(records)
    if shard is None:
        _remove_begun(records)
        files = _without_damaged(files, looked_at_ns)
    committed = {file.stem for file in files if file.kind == "pictures"}
    for file in files:
        if file.kind == "journal" and shard in (None, file.shard):
            if file.stem in committed:
                file.path.unlink(missing_ok=True)
            else:
                seal(file.path, store)


def _remove_begun(records: Path) -> None:
    for path in (*records.glob(".new-*"), *records.glob(".store-*")):
        with suppress(OSError):
            path.unlink()


def _without_damaged(files: list[StoreFile], looked_at_ns: int) -> list[StoreFile]:
    """The files that are whole; pairs of which one is not are set aside, people without their pictures removed."""
    bad = {
        file.stem
        for file in files
        if file.digest is not None and _has_changed(file.path, looked_at_ns) and not is_whole(file.path, file.digest)
    }
    people = {file.stem for file in files if file.kind == "people"}
    pictures = {file.stem for file in files if file.kind == "pictures"}
    bad |= pictures - people
    for file in files:
        if file.kind == "people" and file.stem not in pictures | bad:  # killed before the pictures' part was written
            remove(file.path)
    _set_aside([file.path for file in files if file.stem in bad and file.kind != "journal"], "cut short or changed")
    return [file for file in files if file.kind == "journal" or file.stem not in bad]


def _has_changed(path: Path, looked_at_ns: int) -> bool:
    try:
        return os.stat(path).st_ctime_ns >= looked_at_ns
    except OSError:  # what lies elsewhere is whole
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
        "%d files of %s were %s (%s the first): they lie in %s now, and the pictures that only they told of are done "
        "again.",
        *(len(paths), paths[0].parent, how, paths[0].name, folder),
    )
