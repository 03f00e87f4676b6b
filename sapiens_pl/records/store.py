"""The record store of a run, `OUTPUT/records/`: the outcome of each picture, and the poses of its people.

store.json                        made once: an id, the settings that results depend on, the keypoint set
journal-STEM.arrow                what one process has recorded and what is in no part yet (`journal`)
people-STEM-DIGEST.parquet        of pictures that are sealed, sorted by their names
pictures-STEM-DIGEST.parquet      the same; written last, so that it commits both

STEM is GENERATION-SHARD-RANK-RANDOM-NUMBER, and in the names of parts that hold the pictures of one tar or table only,
LABEL.STEM, where the label is that file's name without folder and suffix (`00042`), if no other can have the same. Each
run counts one generation more than any file there has; of two rows of one picture, the later generation's counts,
whatever file it is in. So nothing is ever rewritten, and that a row stands there twice does no harm: a process that is
killed between writing a part and removing what is in it now leaves that.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from sapiens_pl.core.carried import carry_of
from sapiens_pl.core.errors import ConfigError, write_error
from sapiens_pl.core.keypoint_descriptions import described_set
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.records.outlet import outlet_of

FOLDER = "records"
CARRY = "data.carry"
"""The setting that names the columns beside the people."""
_OF_FIRST_EDITION = "inputs.txt"
VERSION = 3
_NAME = re.compile(
    r"(?P<kind>journal|people|pictures)-(?:(?P<label>[\w.-]+)\.)?"
    r"(?P<stem>(?P<generation>\d{6,})-(?P<shard>\d+)-\w+-[0-9a-f]+-\d{4,})"
    r"(?:-(?P<digest>[0-9a-f]{16}))?\.(?:arrow|parquet)",
    re.ASCII,
)
_LONGEST_LABEL = 100


class StoreFile(NamedTuple):
    """A journal or a part, by its name.

    `shard` is which of the runs that share the folder has written it; `label` says of which tar or table it is, None
    for all else.
    """

    path: Path
    kind: str
    stem: str
    generation: int
    shard: int
    digest: str | None
    label: str | None = None

    @property
    def pair(self) -> str:
        """The name that a part of people shares with the part of their pictures only."""
        return pair_of(self.label, self.stem)


def pair_of(label: str | None, stem: str) -> str:
    """What the names of two parts have in common."""
    return stem if label is None else f"{label}.{stem}"


def label_of(shard: str) -> str:
    """The label of a tar or table in the names of its parts: practically unique."""
    stem = shard.removesuffix(".tar").removesuffix(".parquet")
    label = re.sub(r"[^A-Za-z0-9_.-]", "_", os.path.basename(stem))[-_LONGEST_LABEL:]
    if label == stem and label:
        return label
    digest = hashlib.blake2b(shard.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"{label or 'shard'}-{digest}"


def store_files(records: Path) -> list[StoreFile]:
    """The store's own files, sorted by generation and stem, without foreign ones."""
    names: set[str] = set()
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(records) as entries:
        names |= {entry.name for entry in entries if _NAME.fullmatch(entry.name) and entry.is_file()}
    names.update(outlet_of(records).elsewhere(records))
    files = (_store_file(records, name) for name in names)
    found = (file for file in files if file is not None)
    return sorted(found, key=lambda file: (file.generation, file.stem, file.kind, file.label or ""))


def _store_file(records: Path, name: str) -> StoreFile | None:
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    kind, stem, digest, label = match.group("kind", "stem", "digest", "label")
    if (digest is None) != (kind == "journal") or (label is not None and kind == "journal"):
        return None
    return StoreFile(records / name, kind, stem, int(match["generation"]), int(match["shard"]), digest, label)


def carry_setting(value: Any) -> dict[str, Any]:
    """What `data.carry` says, as one of the settings that results depend on.

    Raises:
        ConfigError: as `carry_of`.
    """
    return {CARRY: list(carry_of(value)) or None}


class Store(NamedTuple):
    """What `store.json` says."""

    id: str
    settings: dict[str, Any]
    keypoint_set: KeypointSet

    @property
    def carry(self) -> tuple[str, ...]:
        """The columns that the people carry along, as `data.carry` calls them."""
        return tuple(self.settings.get(CARRY) or ())

    def mark(self) -> dict[str, Any]:
        """What each journal and part says about its store."""
        return {"version": VERSION, "store": self.id, "num_keypoints": self.keypoint_set.num_keypoints}


def make_store(records: Path, keypoint_set: KeypointSet, settings: dict[str, Any]) -> Store:
    """Makes the store, or reads the one that another process has made.

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
            f"{path} is damaged ({type(error).__name__}: {reason}); restore the original file, choose another "
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
    sealed = {file.stem for file in files if file.kind == "pictures" and file.label is None}
    return (file for file in files if file.kind == "pictures" or (file.kind == "journal" and file.stem not in sealed))
