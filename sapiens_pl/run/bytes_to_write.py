"""Estimates how much a run would write, before it has begun: bytes of the records and of each format.

Text and tables grow with the keypoints. Pictures depend on the photographs, so some of these are read, and made-up
poses are drawn on them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from omegaconf import DictConfig

from sapiens_pl.core.errors import SapiensError
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.protocols import PictureProduct, VideoProduct
from sapiens_pl.core.structures import ImageTask, PoseResult
from sapiens_pl.data.datamodule import ImageDataModule
from sapiens_pl.data.portions import PlanCounts, Portion
from sapiens_pl.detection.data import whole_images
from sapiens_pl.products.chosen import ChosenProduct, choose_products
from sapiens_pl.products.overlay import to_jpeg
from sapiens_pl.products.sheet import CELL_WH
from sapiens_pl.run.cost import NetworkFacts
from sapiens_pl.run.portion_sample import sample_of

_RECORDS = "records"
_BYTES_A_KEYPOINT = {_RECORDS: 12, "json": 36, "csv": 60, "coco": 29, "coco_annotations": 21, "parquet": 17}
"""Measured: random poses of 133 and 308 keypoints, five people a picture."""
_BYTES_A_KEYPOINT |= {"frames_json": 40, "dlc": 26}
"""Measured: the demo's film."""
_REPORT_BYTES, _REPORT_BYTES_A_PERSON = 5_000_000, 100
"""The page's most, and a line of `worst.csv`."""
_NUM_READ = 6


class Estimate(NamedTuple):
    """`sizes` in bytes by format, of a report at most; `unknown` are the formats of unknown size, and why;
    `num_read` photographs were read for the estimate.
    """

    sizes: dict[str, int]
    unknown: dict[str, str]
    num_read: int


def in_words(num_bytes: float) -> str:
    """`1.25 GB`, `35 kB`."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= size:
            return f"{num_bytes / size:,.3g} {unit}"
    return f"{num_bytes:.0f} bytes"


class _Photograph(NamedTuple):
    """(H, W, 3) uint8 BGR pixels, and whose."""

    task: ImageTask
    pixels: np.ndarray


def bytes_to_write(
    cfg: DictConfig, data: ImageDataModule, counts: PlanCounts, num_people: float, facts: NetworkFacts
) -> Estimate:
    """For all that is to be done, if so many people are posed.

    Args:
        data: has pictures that can be looked at.
        counts: of all that is planned.
        num_people: who will be posed.
        facts: of their network.
    """
    sizes = {_RECORDS: round(num_people * facts.num_keypoints * _BYTES_A_KEYPOINT[_RECORDS])}
    unknown: dict[str, str] = {}
    photographs: list[_Photograph] = []
    for chosen in choose_products(cfg):
        if not _has_subject(chosen, data.portion):
            continue
        if chosen.name in _BYTES_A_KEYPOINT:
            sizes[chosen.name] = round(num_people * facts.num_keypoints * _BYTES_A_KEYPOINT[chosen.name])
        elif chosen.name == "report":
            sizes[chosen.name] = _REPORT_BYTES + round(num_people * _REPORT_BYTES_A_PERSON)
        elif chosen.name == "video":
            unknown[chosen.name] = "what moves decides it"
        elif chosen.name == "sheet" or isinstance(chosen.product, PictureProduct):
            photographs = photographs or _read(data)
            found = _of_pictures(chosen, photographs, counts.images, facts.keypoint_set)
            if isinstance(found, str):
                unknown[chosen.name] = found
            else:
                sizes[chosen.name] = found
        else:
            unknown[chosen.name] = ""
    return Estimate(sizes, unknown, len(photographs))


def _has_subject(chosen: ChosenProduct, portion: Portion) -> bool:
    """Whether there are pictures, or videos, of which the product is made."""
    frames = portion.tasks.pictures.frames
    if isinstance(chosen.product, PictureProduct) and not chosen.product.of_frames:
        return frames is None or bool((frames.video[portion.tasks.indices] < 0).any())
    return frames is not None or not isinstance(chosen.product, VideoProduct)


def _of_pictures(
    chosen: ChosenProduct, photographs: list[_Photograph], num_images: int, keypoint_set: KeypointSet | None
) -> int | str:
    """Bytes for `num_images` pictures; or why they are not known."""
    if not photographs:
        return "no picture could be read"
    if chosen.name == "sheet":
        most = chosen.settings["pictures"] or num_images
        return round(_mean(photographs, lambda one: _small(one.pixels)) * min(num_images, most))
    if keypoint_set is None:
        return "its keypoints are not known without the weights"
    product, known = chosen.product, keypoint_set
    assert isinstance(product, PictureProduct)
    return round(
        num_images * _mean(photographs, lambda one: product.content(_made_up(one, known), known, lambda: one.pixels))
    )


def _mean(photographs: list[_Photograph], content: Callable[[_Photograph], bytes]) -> float:
    return float(np.mean([len(content(photograph)) for photograph in photographs]))


def _small(pixels: np.ndarray) -> bytes:
    """As it is on a contact sheet."""
    scale = min(CELL_WH[0] / pixels.shape[1], CELL_WH[1] / pixels.shape[0], 1.0)
    wh = tuple(max(1, round(side * scale)) for side in pixels.shape[1::-1])
    return to_jpeg(cv2.resize(pixels, wh, interpolation=cv2.INTER_AREA))


def _made_up(photograph: _Photograph, keypoint_set: KeypointSet) -> PoseResult:
    """All keypoints lie somewhere in their box, the same each time."""
    task, (height, width) = photograph.task, photograph.pixels.shape[:2]
    boxes = task.bboxes_xyxy
    if boxes is None:
        boxes = np.array([[0, 0, width, height]], float)
    elif task.normalised:
        boxes = boxes * [width, height, width, height]
    shape = len(boxes), keypoint_set.num_keypoints
    part = np.random.default_rng(0).random((*shape, 2))
    keypoints = boxes[:, None, :2] + part * (boxes[:, None, 2:] - boxes[:, None, :2])
    return PoseResult(
        task.path,
        keypoints.astype(np.float32),
        np.ones(shape, np.float32),
        boxes,
        task.bbox_scores,
        task.instance_ids,
        (width, height),
        task.name,
        (),
        keypoint_set=keypoint_set,
    )


def _read(data: ImageDataModule) -> list[_Photograph]:
    """Some of the pictures that are to do, evenly chosen among those that are planned now."""
    tasks = sample_of(data.portion, _NUM_READ)
    photographs = []
    try:
        for batch in whole_images(data, data.portion.source, tasks, 1, lambda: False):
            owners = [tasks[index] for index in batch.image_indices.tolist()]
            photographs += [_Photograph(task, image.numpy()) for task, image in zip(owners, batch.images)]
    except SapiensError:  # the run itself will report the error
        pass
    return photographs
