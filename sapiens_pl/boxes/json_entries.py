"""The entries of a JSON file or of JSON Lines, each with its boxes: what images or frames of videos they are about."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sapiens_pl.boxes import table
from sapiens_pl.boxes.files import JsonReader, RepeatedKeys, filled_text
from sapiens_pl.boxes.table import BoxRow
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.wording import shown

log = logging.getLogger(__name__)

CLASS_KEYS = (
    *("category_name", "class_name", "label_name", "object_class", "category", "label", "class", "name", "cls"),
    *("object", "type", "tag", "kind", "class_id", "label_id", "category_id"),
)
SCORE_KEYS = ("score", "bbox_score", "confidence", "conf")
ID_KEYS = ("id", "instance_id", "track_id", "person_id")
TRACK_KEYS = ("track_id", "id", "person_id")
"""Of a frame; there an `instance_id` mostly counts the people of that frame."""
VIDEO_KEYS = ("video", "video_name", "video_path")
FRAME_KEYS = ("frame", "frame_id", "frame_index", "frame_idx", "frame_number")
TIME_KEYS = ("seconds", "time")
_IMAGE_KEYS = ("image", "path", "file_name")
_LISTS_OF_FRAMES = ("instance_info", "frames")
"""mmpose's programs write the first for a video."""
_CLASS_LISTS = {key: f"{key}es" if key.endswith("s") else f"{key}s" for key in CLASS_KEYS} | {"category": "categories"}


class Where(NamedTuple):
    """An image by its name, or a video's frame: its number, or a time in seconds; NaN: the name alone identifies it.

    The name "" is that of the only video.
    """

    name: str
    number: float = math.nan
    in_seconds: bool = False

    @property
    def is_frame(self) -> bool:
        """Whether it says which frame."""
        return not math.isnan(self.number)


def is_one_box(boxes: list[Any]) -> bool:
    """Whether it is the numbers of a single box, without the list around it."""
    return len(boxes) in (4, 5) and all(type(value) in (int, float) for value in boxes)


def json_entries(path: str) -> tuple[str, list[tuple[int, Any]]]:
    """What the entries are called, and each with its number: an object as in `JsonBoxes`, or any value."""
    text, reader = filled_text(path), JsonReader()
    try:
        data = reader.parse(text)
    except (ValueError, RecursionError):
        lines = list(_json_lines(text, reader))
        _note_repeated(path, reader, "the last one counts")
        return "line", lines
    if _is_coco(data):
        raise ConfigError(f"{path} is a COCO file; read it with boxes=coco.")
    single = isinstance(data, dict) and not {"image", *VIDEO_KEYS, *FRAME_KEYS, *_LISTS_OF_FRAMES}.isdisjoint(data)
    merged = isinstance(data, RepeatedKeys) and not single
    _note_repeated(path, reader, "what both say counts" if merged else "the last one counts")
    if isinstance(data, dict) and not single:
        pairs: Iterable[tuple[str, Any]] = data.pairs if isinstance(data, RepeatedKeys) else data.items()
        data = [
            {"image": image, **boxes} if isinstance(boxes, dict) and "bbox" not in boxes else {image: boxes}
            for image, boxes in pairs
        ]
    elif isinstance(data, dict):
        data = [data]
    if not isinstance(data, list):
        raise ConfigError(f"{path} holds neither an object nor a list; give boxes by image path.")
    return "entry", list(enumerate((entry for item in data for entry in _frames_in(item)), 1))


def _frames_in(entry: Any) -> Iterable[Any]:
    """An entry that has a list of a video's frames as one entry for each of them."""
    key = next((key for key in _LISTS_OF_FRAMES if isinstance(entry, dict) and isinstance(entry.get(key), list)), None)
    if key is None:
        return [entry]
    video = {name: entry[name] for name in VIDEO_KEYS if name in entry}
    return [{**video, **frame} if isinstance(frame, dict) else frame for frame in entry[key]]


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


def where_and_boxes(entry: Any) -> tuple[Where, Any]:
    """Raises ValueError with the reason if the entry does not say both."""
    if isinstance(entry, (ValueError, RecursionError)):
        raise ValueError(f"it is not JSON ({entry})")
    if isinstance(entry, dict):
        where = _where(entry)
        boxes = next((entry[key] for key in ("bboxes", "boxes", "instances") if key in entry), None)
        if where is not None and isinstance(boxes, list):
            return where, _with_lists(entry, [boxes] if is_one_box(boxes) else boxes)
        if where is not None and "bbox" in entry:
            return where, [entry]
        if len(entry) == 1 and "image" not in entry:
            image, boxes = next(iter(entry.items()))
            return Where(image), boxes
    raise ValueError(
        f'{shown(entry)} does not say which image and which boxes (like {{"image": "a.jpg", '
        '"bboxes": [[x1, y1, x2, y2]]}; of a video {"video": "a.mp4", "frame": 12, "bboxes": [...]})'
    )


def _where(entry: dict[str, Any]) -> Where | None:
    """Raises ValueError if an entry about a video does not say which frame."""
    image = next((entry[key] for key in _IMAGE_KEYS if key in entry), None)
    video = next((entry[key] for key in VIDEO_KEYS if key in entry), None)
    if isinstance(video, dict):
        video = next((video[key] for key in ("path", "name", "file_name") if key in video), None)
    frame, time = _first_of(entry, FRAME_KEYS), _first_of(entry, TIME_KEYS)
    given = time if frame is None else frame
    value = table.number(given)
    known = value is not None and math.isfinite(value) and (frame is None or value.is_integer())
    if isinstance(image, str) and (video is None or given is None):
        return Where(image, value, frame is None) if known and value is not None else Where(image)
    if video is None and given is None:
        return None
    if not known or value is None:
        raise ValueError(f"{shown(entry)} does not say which frame of the video (frame, a whole number, or seconds)")
    return Where("" if video is None else str(video), value, frame is None)


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


def _first_of(box: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((box[key] for key in keys if box.get(key) is not None), None)


def row_of(where: Where, box: Any, entry: int) -> BoxRow:
    """A box of an entry."""
    score, instance_id = None, None
    if isinstance(box, dict):
        score, instance_id = _first_of(box, SCORE_KEYS), _first_of(box, TRACK_KEYS if where.is_frame else ID_KEYS)
        box = box.get("bbox")
    if isinstance(box, list) and len(box) == 1 and isinstance(box[0], list):  # as mmpose writes it
        box = box[0]
    if isinstance(box, list) and len(box) == 5:
        box, score = box[:4], box[4]
    return BoxRow(where.name, box, score, instance_id, entry)
