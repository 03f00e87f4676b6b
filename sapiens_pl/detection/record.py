"""What has been detected so far, in the run's folder.

While a run goes on, each of its processes appends a line for every image to a file of its own (`people_file`),
`detections/part-SHARDofSHARDS-RANK.jsonl`. When a run ends, and when it is started again, the lines of all processes
are put into two files that other programs can read,

    person_detections.json   COCO detection results: image_id, category_id 1, bbox x y w h, score
    person_images.json       what the image ids mean: a COCO "images" list of all images, those with nobody too

and the parts go. What stands in the two files counts, so they may be edited by hand: boxes changed, added, removed.
The listing is written last; rows of an image that it does not name count for nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.structures import ListedImage
from sapiens_pl.core.text_files import to_json
from sapiens_pl.detection.people_file import Detected, PeopleFile, read_people_file
from sapiens_pl.detection.shard_record import DetectedInShards, all_detections, read_detections
from sapiens_pl.products.coco_results import PERSON_CATEGORY, image_ids
from sapiens_pl.records.outlet import remove
from sapiens_pl.records.run_folder import RunFolder

log = logging.getLogger(__name__)


class DetectionRecord:
    """Reads, extends and puts in order what a run's processes have detected.

    Attributes:
        known: the detected images by name, after `read`; `append` adds to them.

    Args:
        folder: the run's.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        part = folder.detections / f"part-{folder.shard}of{folder.num_shards}-{folder.rank}.jsonl"
        self._part = PeopleFile(part)
        self.known: dict[str, Detected] = {}

    def read(self, of_shards: bool = True) -> None:
        """Takes in the two files and everybody's parts.

        Args:
            of_shards: those of tars and tables too, where an earlier run has detected these one by one.

        Raises:
            ConfigError: one of the two files is damaged.
        """
        self.known = {detected.image.name: detected for detected in _read_files(self._folder)}
        for path in self._parts():
            for detected in read_people_file(path):
                self.known.setdefault(detected.image.name, detected)
        for path in all_detections(self._folder) if of_shards else ():
            for name, detected in read_detections(path).items():
                self.known.setdefault(name, detected)

    def of_shards(self, shards: Sequence[str]) -> DetectedInShards:
        """What is known of some tars or tables, and of pictures that were detected together with all others."""
        return DetectedInShards(self._folder, shards, self.known)

    def append(self, image: ListedImage, rows: np.ndarray) -> None:
        """Notes one image in this process's own part.

        Raises:
            WriteError: no space, no permission, a vanished disk.
        """
        detected = Detected(image, rows)
        self._part.append(detected)
        self.known[image.name] = detected

    def close(self) -> None:
        self._part.close()

    def settle(self) -> None:
        """Puts the parts into the two files; the run's processes must have ended, or not have begun.

        Raises:
            ConfigError: one of the two files is damaged.
            WriteError: no space, no permission, a vanished disk.
        """
        if not self._parts():
            return
        with self._folder.merging():
            parts = self._parts()
            self.read()
            if parts:
                _write_files(self._folder, list(self.known.values()))
            for path in parts:
                remove(path)
        with suppress(OSError):
            self._folder.detections.rmdir()

    def _parts(self) -> list[Path]:
        return sorted(path for path in self._folder.detections.glob("part-*.jsonl") if path.is_file())


def _read_files(folder: RunFolder) -> Iterator[Detected]:
    listing, detections = folder.detected_images_file, folder.detections_file
    if not listing.is_file():
        return
    images, people = _load(listing, "images"), _load(detections, None)
    try:
        rows: dict[Any, list[list[float]]] = {image["id"]: [] for image in images}
        unknown = 0
        for person in people:
            if person.get("category_id", PERSON_CATEGORY) != PERSON_CATEGORY:
                continue
            if person["image_id"] not in rows:
                unknown += 1
                continue
            x, y, width, height = person["bbox"]
            rows[person["image_id"]].append([x, y, width, height, person.get("score", 1.0)])
        for image in images:
            name, size = str(image["file_name"]), (image.get("width"), image.get("height"))
            people_here = np.array(rows[image["id"]], np.float64).reshape(-1, 5)
            yield Detected(ListedImage(name, *size, image["id"]), people_here)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{detections} and {listing} are not as they were written ({type(error).__name__}: {error}); correct them, "
            "or remove both to detect again."
        ) from None
    if unknown:
        log.warning("%s has %d boxes of images that %s does not list; they are left out.", detections, unknown, listing)


def _load(path: Path, key: str | None) -> list[Any]:
    try:
        content = json.loads(path.read_text("utf-8-sig"))
        content = content[key] if key else content
        if not isinstance(content, list):
            raise TypeError("no list")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(
            f"{path} is not a list of {'images' if key else 'detections'} ({error}); correct it, or remove "
            "person_detections.json and person_images.json to detect again."
        ) from None
    return content


def _write_files(folder: RunFolder, everything: list[Detected]) -> None:
    everything.sort(key=lambda detected: detected.image.name)
    ids = image_ids([detected.image for detected in everything])
    with folder.writing(folder.detections_file) as file:
        separator = "[\n"
        for image_id, detected in zip(ids, everything):
            for *bbox, score in detected.rows.tolist():
                person = {"image_id": image_id, "category_id": PERSON_CATEGORY, "bbox": bbox, "score": score}
                file.write((separator + to_json(person)).encode())
                separator = ",\n"
        file.write(b"[]\n" if separator == "[\n" else b"\n]\n")
    with folder.writing(folder.detected_images_file) as file:
        file.write(b'{"categories": [{"id": %d, "name": "person"}],\n"images": [' % PERSON_CATEGORY)
        separator = "\n"
        for image_id, detected in zip(ids, everything):
            name, width, height, _ = detected.image
            listed = {"id": image_id, "file_name": name, "width": width, "height": height}
            file.write((separator + to_json(listed)).encode())
            separator = ",\n"
        file.write(b"\n]}\n")
