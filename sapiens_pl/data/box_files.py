"""Box files: plain JSON and JSON Lines by path, COCO annotations, COCO detection results."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sapiens_pl.data.box_rules import BoxRow, BoxRules
from sapiens_pl.data.boxes import BoxedImages, BoxListing, assign_boxes
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
        file: the box file.
        rules: as in `BoxRules`.
    """

    def __init__(self, file: str | None, *, format: str = "xyxy", **rules: Any) -> None:
        self.file = existing_file(file)
        self.rules = BoxRules(format, **rules)

    def __call__(self, source: ImageSource) -> BoxedImages:
        unit, entries = _json_entries(self.file)
        rows: list[BoxRow] = []
        images: dict[str, int | None] = {}
        bad_rows: list[tuple[int, str]] = []
        for number, entry in entries:
            try:
                image, boxes = _image_and_boxes(entry)
            except ValueError as error:
                bad_rows.append((number, str(error)))
            else:
                images[image] = None
                rows += _json_rows(image, boxes, number)
        if bad_rows and not images:
            number, reason = bad_rows[0]
            raise ConfigError(f"{self.file} has no boxes that can be read; {unit} {number}: {reason}; correct it.")
        return assign_boxes(source, BoxListing(self.file, unit, rows, images, bad_rows), self.rules)


class CocoBoxes:
    """Boxes from a COCO annotation file or a COCO detection-results file (`boxes=coco`).

    Of an annotation file, crowd regions and people without a single labelled keypoint are left
    out (as COCO's keypoint evaluation does), of both kinds the categories other than `category_id`.

    Args:
        file: the box file.
        images_file: for detection results, a COCO file whose `images` list tells the image ids;
            without it, an id is looked for in the file names (785 in `000000000785.jpg`).
        category_id: the person category's id.
        rules: as in `BoxRules`; the thresholds touch only boxes that have a score.
    """

    def __init__(
        self,
        file: str | None,
        images_file: str | None = None,
        *,
        category_id: int = 1,
        format: str = "xywh",
        score_threshold: float | None = 0.3,
        nms_threshold: float | None = 0.3,
        **rules: Any,
    ) -> None:
        self.file = existing_file(file)
        self.images_file = existing_file(images_file, "boxes.images_file") if images_file else None
        self.category_id = category_id
        self.rules = BoxRules(format, score_threshold, nms_threshold, **rules)

    def __call__(self, source: ImageSource) -> BoxedImages:
        data = _load_json(self.file)
        annotations = data if isinstance(data, list) else data.get("annotations") if isinstance(data, dict) else None
        if not isinstance(annotations, list):
            raise ConfigError(
                f"{self.file} is neither a COCO annotation file nor a COCO detection-results list; "
                "for boxes by path use boxes=json."
            )
        listing = data if isinstance(data, dict) else _load_json(self.images_file) if self.images_file else {}
        listed = _coco_images(listing, self.images_file or self.file)
        names = {str(image_id): name for name, image_id in listed} or names_by_number(source)
        rows: list[BoxRow] = []
        bad_rows: list[tuple[int, str]] = []
        left_out = 0
        for number, row in enumerate(annotations, 1):
            if not isinstance(row, dict) or "image_id" not in row:
                bad_rows.append((number, f"{_short(row)} does not say which image it belongs to (image_id)"))
            elif row.get("category_id", self.category_id) == self.category_id:
                if row.get("iscrowd") or row.get("num_keypoints", 1) == 0:
                    left_out += 1
                else:
                    name = str(row["image_id"])
                    rows.append(BoxRow(names.get(name, name), row.get("bbox"), row.get("score"), row.get("id"), number))
        if left_out:
            log.info("%s: left out %d crowds or people without keypoints.", self.file, left_out)
        images = {name: image_id if type(image_id) is int else None for name, image_id in listed}
        if isinstance(data, list):  # other images of the list are not meant
            here = {os.path.basename(file.name) for file in source.files}
            images = {name: image_id for name, image_id in images.items() if os.path.basename(name) in here}
        return assign_boxes(source, BoxListing(self.file, "entry", rows, images, bad_rows), self.rules)


def existing_file(file: str | None, key: str = "boxes.file") -> str:
    """The path of a file that a setting names.

    Raises:
        ConfigError: it names none, or none that is there.
    """
    if not file:
        raise ConfigError(f"{key} is not set; give the file with the boxes.")
    path = os.path.expanduser(str(file))
    if not os.path.isfile(path):
        raise ConfigError(f"{key}={file} does not exist; give the file with the boxes.")
    return path


def names_by_number(source: ImageSource) -> dict[str, str]:
    """Images by the number that they are named by: 785 for `000000000785.jpg`, or by the name itself."""
    names: dict[str, str] = {}
    for file in source.files:
        stem = os.path.splitext(os.path.basename(file.name))[0]
        names[str(int(stem)) if stem.isdecimal() else stem] = file.name
    return names


def _load_json(path: str) -> Any:
    try:
        return json.loads(Path(path).read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no JSON file ({error}); correct it.") from None


def _coco_images(listing: Any, path: str) -> list[tuple[str, Any]]:
    """File name and id of each image that a COCO file lists."""
    images = listing.get("images", []) if isinstance(listing, dict) else []
    try:
        return [(str(image["file_name"]), image["id"]) for image in images]
    except (TypeError, KeyError):
        raise ConfigError(f"{path} has an entry under 'images' without id and file_name; correct it.") from None


def _json_entries(path: str) -> tuple[str, list[tuple[int, Any]]]:
    """What the entries are called, and each with its number: an object as in `JsonBoxes`, or what stands there."""
    text = Path(path).read_bytes().decode("utf-8-sig", errors="surrogateescape")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return "line", list(_json_lines(text))
    if isinstance(data, dict) and "image" not in data:
        data = [
            {"image": image, **boxes} if isinstance(boxes, dict) and "bbox" not in boxes else {image: boxes}
            for image, boxes in data.items()
        ]
    elif isinstance(data, dict):
        data = [data]
    if not isinstance(data, list):
        raise ConfigError(f"{path} holds neither an object nor a list; give boxes by image path.")
    return "entry", list(enumerate(data, 1))


def _json_lines(text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                yield number, error


def _image_and_boxes(entry: Any) -> tuple[str, Any]:
    """Raises ValueError with the reason if the entry does not say both."""
    if isinstance(entry, (ValueError, RecursionError)):
        raise ValueError(f"it is no JSON ({entry})")
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
        if len(entry) == 1 and "image" not in entry:
            return next(iter(entry.items()))
    raise ValueError(
        f'{_short(entry)} does not say which image and which boxes (like {{"image": "a.jpg", '
        '"bboxes": [[x1, y1, x2, y2]]})'
    )


def _item(values: Any, index: int) -> Any:
    return values[index] if isinstance(values, list) and index < len(values) else None


def _short(entry: Any) -> str:
    text = json.dumps(entry, default=str)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _json_rows(image: str, boxes: Any, number: int) -> list[BoxRow]:
    rows = []
    for box in boxes if isinstance(boxes, list) else [boxes]:
        score, instance_id = None, None
        if isinstance(box, dict):
            score, instance_id, box = box.get("score"), box.get("id"), box.get("bbox")
        if isinstance(box, list) and len(box) == 5:
            box, score = box[:4], box[4]
        rows.append(BoxRow(image, box, score, instance_id, number))
    return rows
