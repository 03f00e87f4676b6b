"""COCO and COCO-WholeBody annotation files, as an evaluation needs them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sapiens_pl.boxes.classes import is_person_name
from sapiens_pl.boxes.image_finder import ImageFinder, plain_id
from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.local_copies import local_copy
from sapiens_pl.core.plan import Pictures
from sapiens_pl.core.remote import is_url

LENGTHS = {"keypoints": 17, "foot_kpts": 6, "face_kpts": 68, "lefthand_kpts": 21, "righthand_kpts": 21}
"""The lists of keypoints that a person may have, and how many each holds."""
_Id = int | str
_Size = tuple[float, float]


class AnnotatedImage(NamedTuple):
    """An image as the file lists it; `wh` is None where its size is not given."""

    id: _Id
    wh: _Size | None


class Annotations(NamedTuple):
    """A COCO file's images by their names, and its people, the ones with keypoints and those without.

    A person has `id`, `image_id`, `iscrowd`, `bbox`, `area`, `num_keypoints` (of the body) and those of `LENGTHS` that
    the file gives, as flat arrays x, y, visibility. `num_without_area` people have the area of their box instead.

    `names` are those of the person's category, if the file gives them and they are as many as each person's
    `keypoints`; people then have all of these as `named` (and as `keypoints` only if they are COCO's 17). `posed_id` is
    the instance that a person is in the run whose file was corrected, or None.
    """

    path: str
    images: dict[str, AnnotatedImage]
    people: list[dict[str, Any]]
    num_without_area: int = 0
    names: tuple[str, ...] = ()


class _Unusable(ValueError):
    """What is wrong with the file, in words that follow on "annotations=F"."""


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


def read_annotations(path: str | Path, setting: str = "annotations") -> Annotations:
    """Reads a COCO keypoint annotation file; `setting` is what names it, for the sentence.

    As in pycocotools, people without labelled keypoints do not count: they may be found or missed.

    Raises:
        ConfigError: there is no such file, it is of another kind, or pycocotools is missing.
    """
    pycocotools()
    try:
        held = local_copy(str(path)) if is_url(str(path)) else Path(path).expanduser()
        content = held.read_bytes()
        if not content.strip():
            raise _Unusable("is empty; give a COCO keypoint annotation file")
        data = json.loads(content)  # of bytes it tells UTF-8, UTF-16 and UTF-32 apart
        if isinstance(data, list):
            raise _Unusable("is a list, as detection results are; give the COCO file with images and annotations")
        images, categories = _images(data["images"]), data.get("categories") or []
        rows = _people_among(data["annotations"], categories)
        names = _names_of(rows, categories)
        people = [_checked(row, names) for row in rows]
    except OSError as error:
        raise ConfigError(f"{setting}={path} cannot be read ({error.strerror}); fix that and run again.") from None
    except _Unusable as error:
        raise ConfigError(f"{setting}={path} {error}.") from None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise ConfigError(f"{setting}={path} is not a COCO keypoint annotation file ({reason}); give one.") from None
    if not any(person["num_keypoints"] for person in people):
        raise ConfigError(f"{setting}={path} has no person with keypoints; give a COCO keypoint annotation file.")
    return Annotations(str(path), images, people, sum(person.pop("without_area") for person in people), names)


def _images(rows: Iterable[dict[str, Any]]) -> dict[str, AnnotatedImage]:
    images: dict[str, AnnotatedImage] = {}
    names: dict[_Id, str] = {}
    for row in rows:
        name, image_id = str(row["file_name"]), _same_id(row["id"])
        other = names.setdefault(image_id, name)
        if other != name:
            raise _Unusable(f"gives two images the id {image_id}, {other} and {name}; correct one of them")
        if images.get(name, (image_id,))[0] != image_id:
            raise _Unusable(f"names {name} twice, with the ids {images[name].id} and {image_id}; correct one of them")
        size = row.get("width") or 0, row.get("height") or 0
        images[name] = AnnotatedImage(image_id, (float(size[0]), float(size[1])) if all(size) else None)
    return images


def _people_among(rows: Iterable[dict[str, Any]], categories: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The annotations of people: of the categories that are called so, or of the only one that has keypoints.

    If the file names no categories, every entry with keypoints is a person.
    """
    if not categories:
        return [row for row in rows if "keypoints" in row]
    persons = {_same_id(kind["id"]) for kind in categories if is_person_name(kind.get("name"))}
    with_keypoints = [kind for kind in categories if kind.get("keypoints")] or categories
    if not persons and len(with_keypoints) == 1:
        persons = {_same_id(with_keypoints[0]["id"])}
    if not persons:
        named = ", ".join(f"{kind['id']} {kind.get('name')}" for kind in categories[:10])
        raise _Unusable(f"does not say which of its categories is the person's ({named}); call one of them person")
    return [row for row in rows if row.get("category_id") is None or _same_id(row["category_id"]) in persons]


def _names_of(rows: list[dict[str, Any]], categories: list[dict[str, Any]]) -> tuple[str, ...]:
    """The names of the keypoints of all these people; () if the file does not say them for all."""
    persons = {_same_id(row["category_id"]) for row in rows if row.get("category_id") is not None}
    lists = {tuple(kind.get("keypoints") or ()) for kind in categories if _same_id(kind["id"]) in persons}
    names = lists.pop() if len(lists) == 1 else ()
    if len(set(names)) < len(names) or not all(isinstance(name, str) for name in names):
        return ()
    fits = all(len(row["keypoints"]) == 3 * len(names) for row in rows if row.get("keypoints"))
    return names if fits else ()


def _checked(row: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """One person as COCO's evaluation needs it."""
    lists = {key: _triples(row, key, length) for key, length in LENGTHS.items() if row.get(key) and key != "keypoints"}
    if row.get("keypoints"):
        key, length = ("named", len(names)) if names else ("keypoints", LENGTHS["keypoints"])
        lists[key] = _triples(row, "keypoints", length)
        if length == LENGTHS["keypoints"]:
            lists["keypoints"] = lists[key]
    labelled = [values.reshape(-1, 3)[values[2::3] > 0] for values in lists.values()]
    bbox = row.get("bbox") or _box_around(labelled)
    left, top, width, height = (_number(row, "bbox", value) for value in bbox)
    without_area = row.get("area") is None
    body = lists.get("keypoints", lists.get("named", np.zeros(0)))
    counted = row.get("num_keypoints")
    return {
        "id": row.get("id"),
        "posed_id": posed_id(row),
        "image_id": _same_id(row["image_id"]),
        "iscrowd": int(_number(row, "iscrowd", row.get("iscrowd") or 0)),
        "bbox": [left, top, width, height],
        "area": width * height if without_area else _number(row, "area", row["area"]),
        "num_keypoints": int((body[2::3] > 0).sum() if counted is None else _number(row, "num_keypoints", counted)),
        "without_area": without_area and any(map(len, labelled)),
        **lists,
    }


def posed_id(row: dict[str, Any]) -> int | None:
    """The id of an entry in the run that made the file; programs may have turned the number into text."""
    attributes = row.get("attributes")
    value = attributes.get("posed_id") if isinstance(attributes, dict) else None
    value = row.get("posed_id") if value is None else value
    return int(str(value)) if str(value).isdecimal() else None


def _triples(row: dict[str, Any], key: str, length: int) -> np.ndarray:
    """(3K,) float64 x, y, visibility; what is not labelled is 0."""
    values = np.asarray(row[key], np.float64).ravel()
    if len(values) != 3 * length:
        raise _Unusable(
            f"cannot be compared: {key} of annotation {row.get('id')} has {len(values)} numbers, not {3 * length} (x, "
            f"y, visibility of {length})"
        )
    triples = values.reshape(-1, 3)
    triples[np.isnan(triples[:, 2]) | (triples[:, 2] <= 0)] = 0
    if not np.isfinite(triples).all():
        raise _Unusable(f"has labelled {key} without finite coordinates in annotation {row.get('id')}; correct it")
    return values


def _box_around(labelled: list[np.ndarray]) -> list[float]:
    points = np.concatenate([*labelled, np.zeros((0, 3))])[:, :2]
    if not len(points):
        return [0.0] * 4
    return [*points.min(axis=0), *np.ptp(points, axis=0)]


def _number(row: dict[str, Any], key: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise _Unusable(f"has {value!r} in {key} of annotation {row.get('id')}, which is not a number; correct it")
    return number


def _same_id(value: Any) -> _Id:
    """785, 785.0, "785" and "000785" are one id."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise _Unusable(f"has {value!r} for an id; correct it")
    return plain_id(value)


def has_labels(person: dict[str, Any]) -> bool:
    """False for people without labelled keypoints, and for crowds: they need not be found."""
    lists = (*LENGTHS, "named")
    labelled = person["num_keypoints"] or any((person[key][2::3] > 0).any() for key in lists if key in person)
    return bool(labelled) and not person["iscrowd"]


class IdFinder:
    """Which image of an annotation file each of the run's is: by its name, else by the id that its box file gave it.

    Args:
        run_images: names of all images of the run, those without a result too.

    Raises:
        ConfigError: two of them mean one annotated image.
    """

    def __init__(self, annotations: Annotations, run_images: Iterable[str] = ()) -> None:
        self._path, self._images = annotations.path, list(annotations.images.values())
        self._names = list(annotations.images)
        self._by_id = {image.id: image for image in self._images}
        self._finder = ImageFinder(Pictures("", Names.of(self._names)))
        self._holders: dict[_Id, tuple[str, bool]] = {}
        exact = set(self._names)
        for name in sorted(run_images, key=lambda name: name not in exact):
            self.find(name)

    def find(
        self, name: str, image_id: int | None = None, image_wh: tuple[int, int] | None = None
    ) -> AnnotatedImage | None:
        """None for an image that is not annotated; with its own name or a longer one, an image comes before others."""
        index = self._finder.find(name)
        image = self._by_id.get(image_id) if index is None and image_id is not None else None
        if image is not None and image.wh and image_wh and image.wh != image_wh:
            return None
        image = image if index is None else self._images[index]
        if image is None:
            return None
        exact = index is not None and self._names[index] == name
        holder, holder_is_exact = self._holders.setdefault(image.id, (name, exact))
        if holder == name:
            return image
        if holder_is_exact:
            return None
        raise ConfigError(
            f"{holder} and {name} of the run would both be image {image.id} of {self._path}; annotate them under names "
            "that differ."
        )

    def found_ids(self) -> set[_Id]:
        """The ids of all images asked for so far."""
        return set(self._holders)
