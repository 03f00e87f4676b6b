"""When a row of a box file is a box, and which one.

Boxes that hold nobody (no numbers, no area) become failures before they could take a place in a batch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sapiens_pl.core.errors import BoxError, ConfigError
from sapiens_pl.core.settings import SWITCH, check, either, number, one_of
from sapiens_pl.core.structures import Failure, ImageFile, ImageTask

BOX_FORMATS = ("xyxy", "xywh", "cxcywh", "cxcywhn")
BOX_SETTINGS = {
    "format": one_of(*BOX_FORMATS),
    "score_threshold": either(number(), None),
    "nms_threshold": either(number(), None),
    "exif": one_of("upright", "raw"),
    "strict": SWITCH,
}
FARTHEST_PX = 1e7
"""No image is so large, and float32 geometry is still finite there."""
INVERTED = "is inverted (its right or lower side comes before the left or upper one)"
_Box = tuple[float, float, float, float]


class BoxRow(NamedTuple):
    """One box as its file gives it, everything unchecked.

    `image` is the file's own name for the picture, `number` that of the row or line; `score` and `instance_id` are
    None where the file has none.
    """

    image: str
    bbox: Any
    score: Any
    instance_id: Any
    number: int = 0


class BoxRules:
    """How the rows of a box file become boxes.

    Args:
        format: `xyxy`, `xywh` or `cxcywh` in image px, or `cxcywhn`, parts of the image's width and height.
        score_threshold: rows with a lower score are left out; rows without a score stay. None keeps all.
        nms_threshold: of two scored boxes of one image that overlap by a larger IoU only the better
            stays; None keeps all.
        exif: `upright` if the boxes live in the picture as viewers show it, `raw` if in the file's
            pixels before its EXIF orientation.
        strict: a row that cannot be used is an error, not left out and recorded.
        first_pixel: the coordinate of the first pixel; 1 where a format counts from 1.

    Raises:
        SettingError: a value that cannot be meant.
    """

    def __init__(
        self,
        format: str,
        score_threshold: float | None = None,
        nms_threshold: float | None = None,
        exif: str = "upright",
        strict: bool = False,
        first_pixel: float = 0.0,
    ) -> None:
        self.format, self.exif, self.strict = format, exif, strict
        self.score_threshold, self.nms_threshold = score_threshold, nms_threshold
        check(BOX_SETTINGS, vars(self))
        self.normalised = format == "cxcywhn"
        self.first_pixel = 0.0 if self.normalised else first_pixel

    def apply(self, file: ImageFile, rows: Sequence[BoxRow], origin: str = "") -> tuple[ImageTask, list[Failure]]:
        """One image's rows, in the order of the file, as a task and the rows that cannot be used.

        Args:
            origin: where the rows are from, so that with a row's number behind it a person finds it.

        Raises:
            ConfigError: a row cannot be used, and the rules are strict.
        """
        # Plain floats: for the few boxes of an image, numpy would take ten times as long.
        failures = []
        ids: list[int] = []
        boxes: list[_Box] = []
        scores: list[float | None] = []
        for position, row in enumerate(rows):
            identity = _whole_number(row.instance_id)
            instance_id = position if identity is None else identity
            box, score = _to_xyxy(row.bbox, self.format, self.first_pixel), _number(row.score)
            complaint = _complaint(box, score, row)
            if box is None or complaint:
                where = f" ({origin} {row.number})" if origin else ""
                hint = self.if_inverted if complaint == INVERTED else ""
                remedy = f"correct it in the box file{hint or '.'}" if origin else "give x1, y1, x2, y2 in image px."
                message = f"Box {instance_id} of {file.path}{where} {complaint}; {remedy}"
                if self.strict:
                    raise strict_error(message)
                failures.append(Failure(file.name, instance_id, BoxError.__name__, message))
            elif score is None or self.score_threshold is None or score >= self.score_threshold:
                ids.append(instance_id)
                boxes.append(box)
                scores.append(score)
        bboxes_xyxy = np.array(boxes, np.float64).reshape(-1, 4)
        bbox_scores = np.array([1.0 if score is None else score for score in scores], np.float64)
        task = ImageTask(
            file.name, file.path, bboxes_xyxy, bbox_scores, np.array(ids, np.int64), self.exif == "raw", self.normalised
        )
        return (self._suppressed(task) if None not in scores else task), failures

    @property
    def if_inverted(self) -> str:
        """What is likely if boxes are inverted, behind a sentence."""
        return ": was boxes.format=xywh meant?" if self.format == "xyxy" else ""

    def left_out_sentence(self, num_left_out: int, num_rows: int) -> str:
        """What the thresholds have done to a file's rows."""
        thresholds = {"score_threshold": self.score_threshold, "nms_threshold": self.nms_threshold}
        given = [f"boxes.{key}={value}" for key, value in thresholds.items() if value is not None]
        return f"{' and '.join(given)} left out {num_left_out} of {num_rows} rows (null keeps all)"

    def _suppressed(self, task: ImageTask) -> ImageTask:
        if self.nms_threshold is None or task.num_boxes < 2:
            return task
        bboxes_xyxy, scores = task.bboxes_xyxy, task.bbox_scores
        assert bboxes_xyxy is not None
        import torch  # seconds to import, and only needed here
        from torchvision.ops import nms

        kept = np.sort(nms(torch.from_numpy(bboxes_xyxy), torch.from_numpy(scores), self.nms_threshold).numpy())
        ids = task.instance_ids[kept]
        return task._replace(bboxes_xyxy=bboxes_xyxy[kept], bbox_scores=scores[kept], instance_ids=ids)


def _to_xyxy(bbox: Any, format: str, first_pixel: float) -> _Box | None:
    """Four floats, or None where there are no four numbers."""
    if isinstance(bbox, (str, dict)):  # "1234" is no list of four
        return None
    try:
        one, two, three, four = map(float, bbox)
    except (TypeError, ValueError, OverflowError):
        return None
    if format == "xyxy":
        left, top, right, bottom = one, two, three, four
    elif format == "xywh":
        left, top, right, bottom = one, two, one + three, two + four
    else:
        left, top, right, bottom = one - three / 2, two - four / 2, one + three / 2, two + four / 2
    return left - first_pixel, top - first_pixel, right - first_pixel, bottom - first_pixel


def _number(value: Any) -> float | None:
    """None where there is none; NaN for what is no number."""
    if value is None:
        return None
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return math.nan
    except OverflowError:
        return math.inf


def _whole_number(value: Any) -> int | None:
    """One that fits into 64 bits, or nothing; text counts as the number that it spells."""
    if isinstance(value, str):
        try:
            value = int(value)
        except ValueError:
            value = _number(value)  # "3.0"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and abs(value) < 2**63 else None


def _complaint(box: _Box | None, score: float | None, row: BoxRow) -> str | None:
    if box is None or not all(map(math.isfinite, box)):
        return f"is {json.dumps(row.bbox, default=str)[:80]}, not four finite numbers"
    if max(map(abs, box)) > FARTHEST_PX:
        return "reaches farther than any image"
    if score is not None and not math.isfinite(score):
        return f"has a score of {json.dumps(row.score, default=str)[:80]}, which is no finite number"
    left, top, right, bottom = box
    if right < left or bottom < top:
        return INVERTED
    if right == left or bottom == top:
        return "has no area"
    return None


def strict_error(message: str) -> ConfigError:
    return ConfigError(f"{message} boxes.strict=true stops here; with false such boxes are recorded and left out.")
