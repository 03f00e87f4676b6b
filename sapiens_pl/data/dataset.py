"""From planned batches to crops; runs in the loader's worker processes."""

from __future__ import annotations

from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from sapiens_pl.core.errors import BoxError, SapiensError, UnreadableImageError
from sapiens_pl.core.geometry import SAPIENS_CROPS, CropSettings, box_center_scale, box_to_crop
from sapiens_pl.core.structures import CropBatch, CropSpan, Failure, ImageCrops, ImagePart, ImageTask
from sapiens_pl.data.cropping import cut_crop
from sapiens_pl.pictures import MAX_MEGAPIXELS, TURNED_ORIENTATIONS, LoadedImage, read_image, upright_bboxes


class Watch(Protocol):
    """Is told what each worker process is reading."""

    def reading(self, worker_id: int, batch: int, position: int) -> None: ...

    def resting(self, worker_id: int) -> None: ...


class CropDataset(Dataset):
    """Item i is the i-th planned batch: each of its images decoded once, its boxes cut out.

    Args:
        tasks: all images of the run.
        batches: the plan, as `packing.pack_batches` makes it.
        input_hw: height and width of a crop, px.
        max_megapixels: larger images are refused.
        crop_settings: how the network wants its crops.
    """

    def __init__(
        self,
        tasks: list[ImageTask],
        batches: list[list[CropSpan]],
        input_hw: tuple[int, int],
        max_megapixels: float = MAX_MEGAPIXELS,
        crop_settings: CropSettings = SAPIENS_CROPS,
    ) -> None:
        self.tasks, self.batches = tasks, batches
        self.input_hw, self.max_megapixels, self.crop_settings = input_hw, max_megapixels, crop_settings
        self.condemned: dict[int, Failure] = {}
        """Images that no process shall touch again, by index."""
        self.read_alone: dict[CropSpan, Any] = {}
        """What a process of its own has read, where the workers died again and again."""
        self.watch: Watch | None = None

    def __len__(self) -> int:
        return len(self.batches)

    @property
    def batch_bytes(self) -> int:
        """What the crops of a full batch take; 0 where that is not known before."""
        full = self.batches[0] if self.batches else []
        return sum(span.stop - span.start for span in full) * self.input_hw[0] * self.input_hw[1] * 3

    def __getitem__(self, index: int) -> list[ImageCrops]:
        worker = get_worker_info()
        if self.watch is None or worker is None:
            return [self._image(span) for span in self.batches[index]]
        images = []
        for position, span in enumerate(self.batches[index]):
            self.watch.reading(worker.id, index, position)
            images.append(self._image(span))
        self.watch.resting(worker.id)
        return images

    def _image(self, span: CropSpan) -> ImageCrops:
        return self.read_alone[span] if span in self.read_alone else self.cut(span)

    def cut(self, span: CropSpan) -> ImageCrops:
        """Reads one image and cuts out the span's boxes; whatever is wrong with it stays its own failure."""
        task = self.tasks[span.image_index]
        if span.image_index in self.condemned:
            return _no_crops(span, None, [self.condemned[span.image_index]])
        try:
            image = self._load(task)
            return _cut(image, task, span, (self.input_hw[1], self.input_hw[0]), self.crop_settings)
        except SapiensError as error:
            return _no_crops(span, None, [Failure(task.name, None, type(error).__name__, str(error))])
        except Exception as error:  # libraries raise what they please, and the others must not suffer
            message = f"{task.path or task.name} could not be cropped ({_one_line(error)}); look at the image."
            return _no_crops(span, None, [Failure(task.name, None, UnreadableImageError.__name__, message)])

    def _load(self, task: ImageTask) -> LoadedImage:
        if isinstance(task.source, str):
            return read_image(task.source, self.max_megapixels)
        pixels = task.source
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise UnreadableImageError(f"{task.name} {_no_pixels(pixels)}.")
        if pixels.size == 0:
            raise UnreadableImageError(f"{task.name} is an empty array; pass an image with pixels.")
        return LoadedImage(pixels, 1)


def _no_pixels(array: np.ndarray) -> str:
    """What is wrong with an array that is no (H, W, 3) uint8 BGR pixels, and what makes them of it."""
    if array.dtype != np.uint8:
        remedy = "scale it to 0 to 255 and convert it with .astype(np.uint8)"
    elif array.ndim == 2:
        remedy = "convert it with cv2.cvtColor(array, cv2.COLOR_GRAY2BGR)"
    elif array.ndim == 3 and array.shape[2] == 4:
        remedy = "convert it with cv2.cvtColor(array, cv2.COLOR_BGRA2BGR), or COLOR_RGBA2BGR"
    elif array.ndim == 3 and array.shape[0] == 3:
        remedy = "convert it with array.transpose(1, 2, 0)"
    else:
        remedy = "convert it"
    return f"has the shape {array.shape} and dtype {array.dtype}, not (height, width, 3) and uint8 (BGR); {remedy}"


def _cut(
    image: LoadedImage, task: ImageTask, span: CropSpan, input_wh: tuple[int, int], settings: CropSettings
) -> ImageCrops:
    height, width = image.pixels.shape[:2]
    bboxes = task.bboxes_xyxy
    if bboxes is None:
        bboxes = np.array([[0.0, 0.0, width, height]])
    else:
        bboxes = _in_upright_px(task, bboxes[span.start : span.stop], image.orientation, (width, height))
    inside = (bboxes[:, :2] < (width, height)).all(axis=1) & (bboxes[:, 2:] > 0).all(axis=1)
    failures = [_outside(task, span.start + int(row), width, height) for row in np.flatnonzero(~inside)]
    bboxes = bboxes[inside]
    centers, scales = box_center_scale(bboxes, input_wh, settings.box_padding)
    matrices = [box_to_crop(center, scale, input_wh) for center, scale in zip(centers, scales)]
    crops = [cut_crop(image.pixels, matrix, input_wh, settings) for matrix in matrices]
    box_indices = [span.start + int(row) for row in np.flatnonzero(inside)]
    return ImageCrops(span, (width, height), crops, box_indices, bboxes, centers, scales, failures)


def _in_upright_px(task: ImageTask, bboxes: np.ndarray, orientation: int, upright_wh: tuple[int, int]) -> np.ndarray:
    """(N, 4) boxes of a task, in whatever way they are given, as xyxy in px of the upright image."""
    if task.normalised:
        turned = task.raw_exif and orientation in TURNED_ORIENTATIONS
        bboxes = bboxes * np.tile(upright_wh[::-1] if turned else upright_wh, 2)
    return upright_bboxes(bboxes, orientation, upright_wh) if task.raw_exif else bboxes


def _outside(task: ImageTask, box_index: int, width: int, height: int) -> Failure:
    instance_id = int(task.instance_ids[box_index])
    where = task.path or task.name
    message = f"Box {instance_id} of {where} lies fully outside its {width}x{height} px; correct the box file."
    return Failure(task.name, instance_id, BoxError.__name__, message)


def _no_crops(span: CropSpan, image_wh: tuple[int, int] | None, failures: list[Failure]) -> ImageCrops:
    none = np.empty((0, 2))
    return ImageCrops(span, image_wh, [], [], np.empty((0, 4)), none, none, failures)


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")


def ragged_collate(images: list[ImageCrops], input_hw: tuple[int, int]) -> CropBatch:
    """Joins the crops of images of any size and any number of boxes into one batch.

    Args:
        images: what `CropDataset` gives.
        input_hw: height and width of a crop, needed where there is none.
    """
    crops = [crop for image in images for crop in image.crops]
    stacked = torch.empty((len(crops), *input_hw, 3), dtype=torch.uint8)
    for row, crop in enumerate(crops):
        stacked[row] = torch.from_numpy(crop)
    return CropBatch(
        # A view: the memory stays height, width, channel.
        crops=stacked.permute(0, 3, 1, 2),
        image_indices=np.array([image.span.image_index for image in images for _ in image.crops], np.int64),
        box_indices=np.array([index for image in images for index in image.box_indices], np.int64),
        bboxes_xyxy=np.concatenate([image.bboxes_xyxy for image in images]),
        centers=np.concatenate([image.centers for image in images]),
        scales=np.concatenate([image.scales for image in images]),
        parts=[ImagePart(image.span, image.image_wh, image.failures) for image in images],
    )


def prepare_worker(worker_id: int) -> None:
    """Keeps OpenCV to one thread a worker and off the terminal: what it mutters is in our failures."""
    cv2.setNumThreads(0)
    # OpenCV's releases have it in one place or the other.
    set_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    set_log_level(0)
