"""COCO and COCO-WholeBody annotation files, as an evaluation needs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sapiens_pl.data.image_finder import ImageFinder
from sapiens_pl.data.sources import ImageSource
from sapiens_pl.errors import ConfigError
from sapiens_pl.structures import ImageFile

LENGTHS = {"keypoints": 17, "foot_kpts": 6, "face_kpts": 68, "lefthand_kpts": 21, "righthand_kpts": 21}
"""The lists of keypoints that a person may have, and how many each holds."""


class Annotations(NamedTuple):
    """A COCO file's images (id by file name) and its people, the ones with keypoints and those without."""

    path: str
    images: dict[str, Any]
    people: list[dict[str, Any]]


def pycocotools() -> Any:
    """The library, looked for only where an evaluation is asked for.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import pycocotools.coco
        import pycocotools.cocoeval
    except ImportError:
        raise ConfigError("An evaluation needs pycocotools: pip install 'sapiens_pl[evaluate]'.") from None
    return pycocotools


def read_annotations(path: str | Path) -> Annotations:
    """Reads a COCO keypoint annotation file.

    Raises:
        ConfigError: there is no such file, it is of another kind, or pycocotools is missing.
    """
    pycocotools()
    try:
        data = json.loads(Path(path).expanduser().read_text("utf-8-sig"))
        images = {str(image["file_name"]): image["id"] for image in data["images"]}
        persons = {kind["id"] for kind in data.get("categories", []) if kind.get("name") == "person"}
        rows = data["annotations"]
        people = [
            _checked(row) for row in rows if "keypoints" in row and (not persons or row.get("category_id") in persons)
        ]
    except OSError as error:
        raise ConfigError(f"annotations={path} cannot be read ({error.strerror}).") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise ConfigError(f"annotations={path} is no COCO keypoint annotation file ({reason}).") from None
    if not people:
        raise ConfigError(f"annotations={path} has nobody with keypoints; give a COCO keypoint annotation file.")
    return Annotations(str(path), images, people)


def _checked(person: dict[str, Any]) -> dict[str, Any]:
    """One person as COCO's evaluation needs it, the lists of keypoints as arrays."""
    lists = {key: np.asarray(person[key], np.float64).ravel() for key in LENGTHS if key in person}
    for key, values in lists.items():
        expected = 3 * LENGTHS[key]
        if len(values) != expected:
            raise ValueError(f"{key} of annotation {person.get('id')} has {len(values)} numbers, not {expected}")
    left, top, width, height = map(float, person["bbox"])
    return {
        "image_id": person["image_id"],
        "category_id": 1,
        "iscrowd": int(person.get("iscrowd", 0)),
        "bbox": [left, top, width, height],
        "area": float(person.get("area", width * height)),
        **lists,
    }


class IdFinder:
    """The id that an annotation file gives an image: by its name, else the one that the run's box file gave it."""

    def __init__(self, annotations: Annotations) -> None:
        self._names, self._ids = list(annotations.images), annotations.images
        self._known = set(annotations.images.values())
        self._finder = ImageFinder(ImageSource("", [ImageFile(name, name) for name in self._names], True))

    def find(self, name: str, image_id: int | None = None) -> Any:
        index = self._finder.find(name)
        if index is not None:
            return self._ids[self._names[index]]
        return image_id if image_id in self._known else None
