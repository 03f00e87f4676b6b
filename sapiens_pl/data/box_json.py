"""Boxes by path from plain JSON and JSON Lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sapiens_pl.data.box_files import existing_file, shortened
from sapiens_pl.data.box_rules import BoxRow, BoxRules
from sapiens_pl.data.boxes import BoxedImages, BoxListing, assign_boxes
from sapiens_pl.data.sources import ImageSource
from sapiens_pl.errors import ConfigError


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
        f'{shortened(entry)} does not say which image and which boxes (like {{"image": "a.jpg", '
        '"bboxes": [[x1, y1, x2, y2]]})'
    )


def _item(values: Any, index: int) -> Any:
    return values[index] if isinstance(values, list) and index < len(values) else None


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
