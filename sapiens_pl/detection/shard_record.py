"""What has been detected in tars and tables whose pictures are looked at some of them at a time.

    detections/shards/00012.tar.jsonl   a line for each picture of 00012.tar (`people_file`)

These files stay as they are, and are read again for one shard at a time, so that many of them take no memory. Each has
one process at a time that appends to it: the one whose shard it is.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sapiens_pl.core.structures import ListedImage
from sapiens_pl.detection.people_file import Detected, PeopleFile, read_people_file
from sapiens_pl.records.outlet import outlet_of
from sapiens_pl.records.run_folder import RunFolder

_SUFFIX = ".jsonl"


def detections_of(folder: RunFolder, shard: str) -> Path:
    return folder.shard_detections / f"{shard}{_SUFFIX}"


def all_detections(folder: RunFolder) -> list[Path]:
    """The files of all shards, here and at the URL that the folder may stand for."""
    here = {path for path in folder.shard_detections.rglob(f"*{_SUFFIX}") if path.is_file()}
    there = folder.outlet.elsewhere(folder.shard_detections)
    return sorted({*here, *(folder.shard_detections / name for name in there)})


class DetectedInShards:
    """What has been detected in some shards; `append` adds to it.

    Args:
        folder: the run's.
        shards: their names.
        others: images that count as these say, whatever shard they are from.

    Attributes:
        known: the detected images by name.
    """

    def __init__(self, folder: RunFolder, shards: Sequence[str], others: dict[str, Detected]) -> None:
        self._folder = folder
        self._file: PeopleFile | None = None
        self._own: dict[str, Detected] = {}
        self.known = ChainMap(others, self._own)
        for shard in shards:
            self._own |= read_detections(detections_of(folder, shard))

    def append(self, shard: str, image: ListedImage, rows: np.ndarray) -> None:
        """Notes one image; it is fastest if those of a shard come together.

        Raises:
            WriteError: no space, no permission, a vanished disk.
        """
        path = detections_of(self._folder, shard)
        if self._file is None or self._file.path != path:
            self.close()
            self._file = PeopleFile(path)
        detected = Detected(image, rows)
        self._file.append(detected)
        self._own[image.name] = detected

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def read_detections(path: Path) -> dict[str, Detected]:
    """The images by name; none where there is no such file. Of one that stands there twice, the first counts."""
    found: dict[str, Detected] = {}
    try:
        outlet_of(path).fetch(path)
        for detected in read_people_file(path):
            found.setdefault(detected.image.name, detected)
    except FileNotFoundError:
        return {}
    return found
