"""Boxes by path from plain JSON and JSON Lines."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sapiens_pl.boxes.classes import ClassColumn, people_in
from sapiens_pl.boxes.files import JsonReader, RepeatedKeys, existing_file, filled_text
from sapiens_pl.boxes.matching import assign_boxes, listing_of
from sapiens_pl.boxes.rules import BoxRules
from sapiens_pl.boxes.table import BoxRow
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.plan import Pictures
from sapiens_pl.core.protocols import BoxedImages
from sapiens_pl.core.wording import shown

log = logging.getLogger(__name__)

_CLASS_KEYS = (
    *("category_name", "class_name", "label_name", "object_class", "category", "label", "class", "name", "cls"),
    *("object", "type", "tag", "kind", "class_id", "label_id", "category_id"),
)
SCORE_KEYS = ("score", "bbox_score", "confidence", "conf")
ID_KEYS = ("id", "instance_id", "track_id", "person_id")
_CLASS_LISTS = {key: f"{key}es" if key.endswith("s") else f"{key}s" for key in _CLASS_KEYS} | {"category": "categories"}


class JsonBoxes:
    """Boxes by path from JSON or JSON Lines (`boxes=json`).

    JSON: `{"a/b.jpg": [[x1, y1, x2, y2], ...], ...}`, or a list of the objects below. JSON Lines:
    one object a line. An object is `{"image": "a/b.jpg", "bboxes": [...]}` with optional lists
    `scores` and `ids`, or the path as its only key. A box may have its score as a fifth number, or
    be an object `{"bbox": [...], "score": 0.9, "id": 7}`. Where boxes have a class (`"class": "dog"`,
    `"category_id": 18`, a list `labels`), only people count.

    Args:
        file: the box file.
        category_id: the person's class, a number or a name; None: told by the classes' names, or COCO's number 1 for
            a `category_id`.
        rules: as in `BoxRules`.
    """

    def __init__(
        self, file: str | None, *, category_id: int | str | None = None, format: str = "xyxy", **rules: Any
    ) -> None:
        self.file, self.category_id = existing_file(file), category_id
        self.rules = BoxRules(format, **rules)

    def __call__(self, source: Pictures) -> BoxedImages:
        unit, entries = _json_entries(self.file)
        rows: list[BoxRow] = []
        images: dict[str, int | None] = {}
        bad_rows: list[tuple[int, str]] = []
        classes: dict[str, dict[int, Any]] = {}
        for number, entry in entries:
            try:
                image, boxes = _image_and_boxes(entry)
            except ValueError as error:
                bad_rows.append((number, str(error)))
            else:
                images[image] = None
                for box in boxes if isinstance(boxes, list) and not _is_one_box(boxes) else [boxes]:
                    _note_classes(box, len(rows), classes)
                    rows.append(_row(image, box, number))
        if bad_rows and not images:
            number, reason = bad_rows[0]
            raise ConfigError(f"{self.file} has no boxes that can be read; {unit} {number}: {reason}; correct it.")
        if classes:
            columns = {key: ClassColumn.of(map(values.get, range(len(rows)))) for key, values in classes.items()}
            people = people_in(self.file, len(rows), columns, self.category_id)
            rows = [row for row, is_one in zip(rows, people.tolist()) if is_one]
        return assign_boxes(source, listing_of(self.file, unit, rows, images, bad_rows), self.rules)


def _is_one_box(boxes: list[Any]) -> bool:
    """Whether it is the numbers of a single box, without the list around it."""
    return len(boxes) in (4, 5) and all(type(value) in (int, float) for value in boxes)


def _note_classes(box: Any, row: int, classes: dict[str, dict[int, Any]]) -> None:
    """Keeps what a row says of its class, by the key that it says it under."""
    if isinstance(box, dict):
        for key in _CLASS_KEYS:
            if box.get(key) is not None:
                classes.setdefault(key, {})[row] = box[key]


def _json_entries(path: str) -> tuple[str, list[tuple[int, Any]]]:
    """What the entries are called, and each with its number: an object as in `JsonBoxes`, or what stands there."""
    text, reader = filled_text(path), JsonReader()
    try:
        data = reader.parse(text)
    except (ValueError, RecursionError):
        lines = list(_json_lines(text, reader))
        _note_repeated(path, reader, "the last one counts")
        return "line", lines
    if _is_coco(data):
        raise ConfigError(f"{path} is a COCO file; read it with boxes=coco.")
    merged = isinstance(data, RepeatedKeys) and "image" not in data
    _note_repeated(path, reader, "what both say counts" if merged else "the last one counts")
    if isinstance(data, dict) and "image" not in data:
        pairs: Iterable[tuple[str, Any]] = data.pairs if isinstance(data, RepeatedKeys) else data.items()
        data = [
            {"image": image, **boxes} if isinstance(boxes, dict) and "bbox" not in boxes else {image: boxes}
            for image, boxes in pairs
        ]
    elif isinstance(data, dict):
        data = [data]
    if not isinstance(data, list):
        raise ConfigError(f"{path} holds neither an object nor a list; give boxes by image path.")
    return "entry", list(enumerate(data, 1))


def _is_coco(data: Any) -> bool:
    """Whether these are COCO's annotations or detection results."""
    if isinstance(data, dict):
        return isinstance(data.get("annotations"), list) and isinstance(data.get("images"), list)
    first = data[0] if isinstance(data, list) and data else None
    return (
        isinstance(first, dict)
        and {"image_id", "bbox"} <= set(first)
        and not {"image", "path", "file_name"} & set(first)
    )


def _note_repeated(path: str, reader: JsonReader, outcome: str) -> None:
    if reader.repeated is not None:
        log.warning("%s has the key %r twice in one object; %s.", path, reader.repeated, outcome)


def _json_lines(text: str, reader: JsonReader) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, reader.parse(line)
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
            return image, _with_lists(entry, [boxes] if _is_one_box(boxes) else boxes)
        if isinstance(image, str) and "bbox" in entry:
            return image, [entry]
        if len(entry) == 1 and "image" not in entry:
            return next(iter(entry.items()))
    raise ValueError(
        f'{shown(entry)} does not say which image and which boxes (like {{"image": "a.jpg", '
        '"bboxes": [[x1, y1, x2, y2]]})'
    )


def _with_lists(entry: dict[str, Any], boxes: list[Any]) -> list[Any]:
    """Each box with what the entry's other lists say of it."""
    lists = {key: entry[f"{key}s"] for key in (*SCORE_KEYS, *ID_KEYS) if entry.get(f"{key}s") is not None}
    lists |= {key: entry[name] for key, name in _CLASS_LISTS.items() if name in entry}
    for key, values in lists.items():
        if isinstance(values, list) and len(values) != len(boxes):
            raise ValueError(f"it has {len(boxes)} boxes and {len(values)} of what it calls {key} ({shown(entry)})")
    return [
        box if isinstance(box, dict) else {"bbox": box, **{key: _item(values, index) for key, values in lists.items()}}
        for index, box in enumerate(boxes)
    ]


def _item(values: Any, index: int) -> Any:
    return values[index] if isinstance(values, list) and index < len(values) else None


def _first_of(box: dict[str, Any], keys: Sequence[str]) -> Any:
    return next((box[key] for key in keys if box.get(key) is not None), None)


def _row(image: str, box: Any, number: int) -> BoxRow:
    score, instance_id = None, None
    if isinstance(box, dict):
        score, instance_id = _first_of(box, SCORE_KEYS), _first_of(box, ID_KEYS)
        box = box.get("bbox")
    if isinstance(box, list) and len(box) == 5:
        box, score = box[:4], box[4]
    return BoxRow(image, box, score, instance_id, number)
