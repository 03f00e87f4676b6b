"""The record store of a run, `OUTPUT/records/`: what became of each picture, and the poses of its people.

store.json                        made once: an id, the settings that results depend on, the keypoint set
journal-STEM.arrow                what one process has recorded and what is in no part yet (`journal`)
people-STEM-DIGEST.parquet        sealed from one journal, sorted by the pictures' names
pictures-STEM-DIGEST.parquet      the same; written last, so that it commits both

STEM is GENERATION-SHARD-RANK-RANDOM-NUMBER. Each run counts one generation more than any file there has; of two rows of
one picture, the later generation's counts. So nothing is ever rewritten. A journal of which there is a part counts
for nothing: its process was killed between the two.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from sapiens_pl.core.errors import ConfigError, write_error
from sapiens_pl.core.keypoint_descriptions import described_set
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.records.outlet import outlet_of

FOLDER = "records"
_OF_FIRST_EDITION = "inputs.txt"
VERSION = 2
_NAME = re.compile(
    r"(?P<kind>journal|people|pictures)-"
    r"(?P<stem>(?P<generation>\d{6,})-(?P<shard>\d+)-\w+-[0-9a-f]+-\d{4,})"
    r"(?:-(?P<digest>[0-9a-f]{16}))?\.(?:arrow|parquet)"
)


class StoreFile(NamedTuple):
    """A journal or a part, by its name."""

    path: Path
    kind: str
    stem: str
    generation: int
    shard: int
    digest: str | None


def store_files(records: Path) -> list[StoreFile]:
    """The store's own files, sorted by generation and stem; what others have put there is none of them."""
    files = []
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(records) as entries:
        for entry in entries:
            match = _NAME.fullmatch(entry.name)
            if match is not None and entry.is_file() and (match["digest"] is None) == (match["kind"] == "journal"):
                numbers = int(match["generation"]), int(match["shard"])
                files.append(StoreFile(Path(entry.path), match["kind"], match["stem"], *numbers, match["digest"]))
    known = {file.path.name for file in files}
    for name in outlet_of(records).elsewhere(records):
        match = _NAME.fullmatch(name)
        if match is not None and name not in known:
            numbers = int(match["generation"]), int(match["shard"])
            files.append(StoreFile(records / name, match["kind"], match["stem"], *numbers, match["digest"]))
    return sorted(files, key=lambda file: (file.generation, file.stem, file.kind))


class Store(NamedTuple):
    """What `store.json` says."""

    id: str
    settings: dict[str, Any]
    keypoint_set: KeypointSet

    def mark(self) -> dict[str, Any]:
        """What each journal and part says of the store that it belongs to."""
        return {"version": VERSION, "store": self.id, "num_keypoints": self.keypoint_set.num_keypoints}


def make_store(records: Path, keypoint_set: KeypointSet, settings: dict[str, Any]) -> Store:
    """Makes the store, or reads the one that is there, whoever has made it.

    Raises:
        ConfigError: it is damaged.
        WriteError: no space, no permission, a vanished disk.
    """
    content = {
        "version": VERSION,
        "id": secrets.token_hex(8),
        "settings": settings,
        "keypoint_set": keypoint_set.description(),
    }
    path, temporary = records / "store.json", records / f".store-{secrets.token_hex(4)}"
    try:
        records.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            with open(temporary, "w", encoding="utf-8") as file:
                file.write(json.dumps(content, indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())
            _rename_unless_there(temporary, path)
    except OSError as error:
        raise write_error(path, error) from None
    outlet_of(path).put_first(path)
    store = read_store(records)
    assert store is not None
    return store


def _rename_unless_there(temporary: Path, path: Path) -> None:
    """Of several processes that do so at once, the first wins."""
    try:
        os.link(temporary, path)
        temporary.unlink()
    except FileExistsError:
        temporary.unlink()
    except OSError:  # a file system without hard links
        os.replace(temporary, path)


def read_store(records: Path) -> Store | None:
    """None where no run has made one.

    Raises:
        ConfigError: it is damaged, or of a later version.
    """
    path = records / "store.json"
    try:
        content = json.loads(path.read_text("utf-8"))
        if content["version"] != VERSION:
            raise ConfigError(
                f"{path} is of version {content['version']} and this is sapiens_pl for version {VERSION}; use the one "
                "that has made it, or choose another output.dir."
            )
        return Store(str(content["id"]), dict(content["settings"]), described_set(str(path), content["keypoint_set"]))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:200]
        raise ConfigError(
            f"{path} is damaged ({type(error).__name__}: {reason}); put back what was written there, choose another "
            "output.dir, or set output.overwrite=true to start over."
        ) from None


def refuse_first_edition(run_folder: Path) -> None:
    """Refuses the folder of a version that kept no records: its results are not to be mixed with later ones.

    Raises:
        ConfigError: it is one; or the store is damaged.
    """
    if (run_folder / _OF_FIRST_EDITION).exists() and read_store(run_folder / FOLDER) is None:
        raise ConfigError(
            f"{run_folder} holds results of an earlier version of sapiens_pl, which kept no records; use that version "
            "to continue them, choose another output.dir, or set output.overwrite=true to start over."
        )


def check_mark(path: Path, mark: dict[str, Any], store: Store) -> None:
    """Refuses a file that another run has made.

    Raises:
        ConfigError: it belongs to another store, or to another keypoint set.
    """
    if mark.get("store") == store.id and mark.get("num_keypoints") == store.keypoint_set.num_keypoints:
        return
    of_set = f" with {mark.get('num_keypoints')} keypoints" if mark.get("num_keypoints") else ""
    raise ConfigError(
        f"{path} belongs to another run{of_set}, not to the one in this folder; move it away, and run the same command "
        "again."
    )


def live(files: list[StoreFile]) -> Iterator[StoreFile]:
    """The files whose rows count: parts of pictures, and journals that are in no part."""
    sealed = {file.stem for file in files if file.kind == "pictures"}
    return (file for file in files if file.kind == "pictures" or (file.kind == "journal" and file.stem not in sealed))
