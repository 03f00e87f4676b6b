"""What is cut out of a picture for the poses: a crop for each of its boxes, and how they become a batch.

Legend: B crops, H W crop px.
"""

from __future__ import annotations

import numpy as np
import torch

from sapiens_pl.core.errors import BoxError
from sapiens_pl.core.geometry import SAPIENS_CROPS, CropSettings, box_center_scale, box_to_crop
from sapiens_pl.core.structures import CropBatch, CropSpan, Failure, ImageCrops, ImagePart, ImageTask, LoadedImage
from sapiens_pl.data.cropping import cut_crop
from sapiens_pl.pictures import TURNED_ORIENTATIONS, upright_bboxes

_LEAST_PX = 1e-6
"""Of a crop's region: a box that is smaller, or that float32 cannot tell from a point, shows nobody."""


class CropCutter:
    """Cuts a picture's boxes out of it, as a network wants its crops.

    Args:
        input_hw: height and width of a crop, px.
        settings: how the network wants its crops.
    """

    done_to_a_picture = "cropped"

    def __init__(self, input_hw: tuple[int, int], settings: CropSettings = SAPIENS_CROPS) -> None:
        self.input_hw, self.settings = input_hw, settings

    def bytes_of(self, spans: list[CropSpan]) -> int:
        """What the crops of these spans take."""
        return sum(span.stop - span.start for span in spans) * self.input_hw[0] * self.input_hw[1] * 3

    def cut(self, image: LoadedImage, task: ImageTask, span: CropSpan) -> ImageCrops:
        """The span's crops; a box that lies outside the picture is a failure of its own."""
        return _cut(image, task, span, (self.input_hw[1], self.input_hw[0]), self.settings)

    def failed(self, span: CropSpan, failure: Failure) -> ImageCrops:
        """Instead, where the picture cannot be read."""
        none = np.empty((0, 2))
        return ImageCrops(span, None, [], [], np.empty((0, 4)), none, none, [failure])

    def batch(self, images: list[ImageCrops]) -> CropBatch:
        """Joins the crops of images of any size and any number of boxes into one batch."""
        crops = [crop for image in images for crop in image.crops]
        stacked = torch.empty((len(crops), *self.input_hw, 3), dtype=torch.uint8)
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
            parts=[ImagePart(image.span, image.image_wh, image.failures, image.carried) for image in images],
        )


def _cut(
    image: LoadedImage, task: ImageTask, span: CropSpan, input_wh: tuple[int, int], settings: CropSettings
) -> ImageCrops:
    height, width = image.pixels.shape[:2]
    bboxes = task.bboxes_xyxy
    if bboxes is None:
        bboxes = np.array([[0.0, 0.0, width, height]])
    else:
        bboxes = _in_upright_px(task, bboxes[span.start : span.stop], image.orientation, (width, height))
    inside = np.logical_and((bboxes[:, :2] < (width, height)).all(axis=1), (bboxes[:, 2:] > 0).all(axis=1))
    centers, scales = box_center_scale(bboxes, input_wh, settings.box_padding)
    kept = inside & (scales > _LEAST_PX).all(axis=1)
    failures = [
        _shows_nobody(task, span.start + int(row), (width, height), bool(inside[row])) for row in np.flatnonzero(~kept)
    ]
    bboxes, centers, scales = bboxes[kept], centers[kept], scales[kept]
    matrices = [box_to_crop(center, scale, input_wh) for center, scale in zip(centers, scales)]
    crops = [cut_crop(image.pixels, matrix, input_wh, settings) for matrix in matrices]
    box_indices = [span.start + int(row) for row in np.flatnonzero(kept)]
    return ImageCrops(span, (width, height), crops, box_indices, bboxes, centers, scales, failures, image.carried)


def _in_upright_px(task: ImageTask, bboxes: np.ndarray, orientation: int, upright_wh: tuple[int, int]) -> np.ndarray:
    """(N, 4) boxes of a task, in whatever way they are given, as xyxy in px of the upright image."""
    if task.normalised:
        turned = task.raw_exif and orientation in TURNED_ORIENTATIONS
        bboxes = bboxes * np.tile(upright_wh[::-1] if turned else upright_wh, 2)
    return upright_bboxes(bboxes, orientation, upright_wh) if task.raw_exif else bboxes


def _shows_nobody(task: ImageTask, box_index: int, image_wh: tuple[int, int], is_inside: bool) -> Failure:
    width, height = image_wh
    instance_id = int(task.instance_ids[box_index])
    where = task.path or task.name
    if is_inside:
        message = f"Box {instance_id} of {where} is no larger than a point; correct the box file."
    else:
        message = f"Box {instance_id} of {where} lies fully outside its {width}x{height} px; correct the box."
    return Failure(task.name, instance_id, BoxError.__name__, message)
