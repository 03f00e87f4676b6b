"""Box files: plain JSON and JSON Lines by path, COCO annotations, COCO detection results."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sapiens_pl.data.boxes import BoxedImages, BoxRow, BoxRules, assign_boxes
from sapiens_pl.data.sources import ImageSource
from sapiens_pl.errors import ConfigError

log = logging.getLogger(__name__)


class JsonBoxes:
    """Boxes by path from JSON or JSON Lines (`boxes=json`).

    JSON: `{"a/b.jpg": [[x1, y1, x2, y2], ...], ...}`, or a list of the objects below. JSON Lines:
    one object a line. An object is `{"image": "a/b.jpg", "bboxes": [...]}` with optional lists
    `scores` and `ids`, or the path as its only key. A box may have its score as a fifth number, or
    be an object `{"bbox": [...], "score": 0.9, "id": 7}`.

    Args:
        file: the box file; the rest as in `BoxRules`.
    """

    def __init__(
        self,
        file: str | None,
        format: str = "xyxy",
        score_threshold: float = 0.0,
        nms_threshold: float | None = None,
        exif: str = "upright",
    ) -> None:
        self.file = _existing_file(file)
        self.rules = BoxRules(format, score_threshold, nms_threshold, exif)

    def __call__(self, source: ImageSource) -> BoxedImages:
        entries = list(_json_entries(self.file))
        rows = [row for image, boxes in entries for row in _json_rows(image, boxes)]
        return assign_boxes(source, rows, [image for image, _ in entries], self.rules, self.file)


class CocoBoxes:
    """Boxes from a COCO annotation file or a COCO detection-results file (`boxes=coco`).

    Of an annotation file, crowd regions and people without a single labelled keypoint are left
    out (as COCO's keypoint evaluation does), of both kinds the categories other than `category_id`.

    Args:
        file: the box file.
        images_file: for detection results, a COCO file whose `images` list tells the image ids;
            without it, an id is looked for in the file names (785 in `000000000785.jpg`).
        category_id: the person category's id.
        format, score_threshold, nms_threshold, exif: as in `BoxRules`; the thresholds touch only
            boxes that have a score.
    """

    def __init__(
        self,
        file: str | None,
        images_file: str | None = None,
        format: str = "xywh",
        score_threshold: float = 0.3,
        nms_threshold: float | None = 0.3,
        category_id: int = 1,
        exif: str = "upright",
    ) -> None:
        self.file = _existing_file(file)
        self.images_file = _existing_file(images_file, "boxes.images_file") if images_file else None
        self.category_id = category_id
        self.rules = BoxRules(format, score_threshold, nms_threshold, exif)

    def __call__(self, source: ImageSource) -> BoxedImages:
        data = _load_json(self.file)
        annotations = data if isinstance(data, list) else data.get("annotations") if isinstance(data, dict) else None
        if not isinstance(annotations, list) or not all(isinstance(row, dict) for row in annotations):
            raise ConfigError(
                f"{self.file} is neither a COCO annotation file nor a COCO detection-results list; "
                "for boxes by path use boxes=json."
            )
        listing = data if isinstance(data, dict) else _load_json(self.images_file) if self.images_file else {}
        names = _coco_file_names(listing, self.images_file or self.file) or _names_by_id(source)
        people = [row for row in annotations if row.get("category_id", self.category_id) == self.category_id]
        kept = [row for row in people if not row.get("iscrowd") and row.get("num_keypoints", 1) != 0]
        if len(kept) < len(people):
            log.info("%s: left out %d crowds or people without keypoints.", self.file, len(people) - len(kept))
        rows = [
            BoxRow(
                names.get(str(row.get("image_id")), str(row.get("image_id"))),
                row.get("bbox"),
                _number(row.get("score")),
                _identity(row.get("id")),
            )
            for row in kept
        ]
        listed = list(names.values()) if isinstance(data, dict) else []
        return assign_boxes(source, rows, listed, self.rules, self.file)


def _existing_file(file: str | None, key: str = "boxes.file") -> str:
    if not file:
        raise ConfigError(f"{key} is not set; give the file with the boxes.")
    path = os.path.expanduser(str(file))
    if not os.path.isfile(path):
        raise ConfigError(f"{key}={file} does not exist; give the file with the boxes.")
    return path


def _load_json(path: str) -> Any:
    try:
        return json.loads(Path(path).read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no JSON file ({error}); correct it.") from None


def _number(value: Any) -> float | None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _identity(value: Any) -> int | None:
    """A whole number that fits into 64 bits, or nothing."""
    return value if type(value) is int and abs(value) < 2**63 else None


def _coco_file_names(listing: Any, path: str) -> dict[str, str]:
    images = listing.get("images", []) if isinstance(listing, dict) else []
    try:
        return {str(image["id"]): str(image["file_name"]) for image in images}
    except (TypeError, KeyError):
        raise ConfigError(f"{path} has an entry under 'images' without id and file_name; correct it.") from None


def _names_by_id(source: ImageSource) -> dict[str, str]:
    """Image ids as file names spell them: 785 for 000000000785.jpg, or the name itself."""
    names: dict[str, str] = {}
    for file in source.files:
        stem = os.path.splitext(os.path.basename(file.name))[0]
        names[str(int(stem)) if stem.isdecimal() else stem] = file.name
    return names


def _json_entries(path: str) -> Iterable[tuple[str, Any]]:
    """Each image that the file names, with what it says of its boxes."""
    text = Path(path).read_bytes().decode("utf-8-sig", errors="surrogateescape")
    try:
        data = json.loads(text)
        lines = [data] if isinstance(data, dict) and "image" in data else data
    except (ValueError, RecursionError):
        lines = _json_lines(path, text)
    if isinstance(lines, dict):
        for number, (image, boxes) in enumerate(lines.items(), 1):
            named = {"image": image, **boxes} if isinstance(boxes, dict) and "bbox" not in boxes else None
            yield _json_object(path, number, named) if named else (image, boxes)
    elif isinstance(lines, list):
        for number, entry in enumerate(lines, 1):
            yield _json_object(path, number, entry)
    else:
        raise ConfigError(f"{path} holds neither an object nor a list; give boxes by image path.")


def _json_lines(path: str, text: str) -> list[Any]:
    entries = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                entries.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise ConfigError(f"{path}, line {number}, is no JSON ({error}); correct it.") from None
    return entries


def _json_object(path: str, number: int, entry: Any) -> tuple[str, Any]:
    if isinstance(entry, dict):
        image = next((entry[key] for key in ("image", "path", "file_name") if key in entry), None)
        boxes = next((entry[key] for key in ("bboxes", "boxes") if key in entry), None)
        if isinstance(image, str) and isinstance(boxes, list):
            scores, ids = entry.get("scores"), entry.get("ids")
            return image, [
                {"bbox": box, "score": _item(scores, index), "id": _item(ids, index)}
                if not isinstance(box, dict)
                else box
                for index, box in enumerate(boxes)
            ]
        if isinstance(image, str) and "bbox" in entry:
            return image, [entry]
        if len(entry) == 1:
            return next(iter(entry.items()))
    raise ConfigError(
        f'{path}, entry {number}, does not say which image and which boxes: write {{"image": "a.jpg", '
        '"bboxes": [[x1, y1, x2, y2]]}.'
    )


def _item(values: Any, index: int) -> Any:
    return values[index] if isinstance(values, list) and index < len(values) else None


def _json_rows(image: str, boxes: Any) -> list[BoxRow]:
    rows = []
    for box in boxes if isinstance(boxes, list) else [boxes]:
        score, instance_id = None, None
        if isinstance(box, dict):
            score, instance_id, box = box.get("score"), box.get("id"), box.get("bbox")
        if isinstance(box, list) and len(box) == 5:
            box, score = box[:4], box[4]
        rows.append(BoxRow(image, box, _number(score), _identity(instance_id)))
    return rows
