"""Whole images for the detector: which ones, in which batches, read by the pose pass's own loader."""

from __future__ import annotations

from typing import NamedTuple

import lightning as L
import numpy as np
import torch
from torch import Tensor

from sapiens_pl.core.errors import SapiensError, UnreadableImageError
from sapiens_pl.core.structures import CropSpan, Failure, ImageFile, ImagePart, ImageTask
from sapiens_pl.data.datamodule import ImageDataModule, in_order
from sapiens_pl.data.dataset import CropDataset
from sapiens_pl.data.loader import CropLoader
from sapiens_pl.data.packing import shard_images
from sapiens_pl.detection.boxes import DetectorBoxes

_IMAGES_ON_GPU, _IMAGES_ON_CPU = 8, 1


class WholeImage(NamedTuple):
    """What a loader worker makes of one image: (H, W, 3) uint8 BGR pixels, or a failure."""

    part: ImagePart
    pixels: np.ndarray | None


class ImageBatch(NamedTuple):
    """`images`: (H, W, 3) uint8 BGR tensors of any sizes; `image_indices`: whose they are. `parts` names every image
    of the batch, those that could not be read too.
    """

    images: list[Tensor]
    image_indices: np.ndarray
    parts: list[ImagePart]


class ImageDataset(CropDataset):
    """Item i is the i-th planned batch of whole images."""

    def cut(self, span: CropSpan) -> WholeImage:  # type: ignore[override]
        """Reads one image; whatever is wrong with it stays its own failure."""
        task = self.tasks[span.image_index]
        if span.image_index in self.condemned:
            return _failed(span, self.condemned[span.image_index])
        try:
            pixels = self._load(task).pixels
            return WholeImage(ImagePart(span, (pixels.shape[1], pixels.shape[0]), []), pixels)
        except SapiensError as error:
            return _failed(span, Failure(task.name, None, type(error).__name__, str(error)))
        except Exception as error:  # libraries raise what they please, and the others must not suffer
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            message = f"{task.path} could not be read ({reason}); look at the image."
            return _failed(span, Failure(task.name, None, UnreadableImageError.__name__, message))


def _failed(span: CropSpan, failure: Failure) -> WholeImage:
    return WholeImage(ImagePart(span, None, [failure]), None)


def ragged_images(images: list[WholeImage]) -> ImageBatch:
    """Puts images of any sizes into one batch, each as it is."""
    tensors = [torch.from_numpy(image.pixels) for image in images if image.pixels is not None]
    indices = [image.part.span.image_index for image in images if image.pixels is not None]
    return ImageBatch(tensors, np.array(indices, np.int64), [image.part for image in images])


class DetectionData(L.LightningDataModule):
    """The images of this process's share in which nobody has looked for people yet.

    `setup` deals the images and fills in `boxes.share`; all ranks agree on what is left to deal.

    Args:
        poses: the pose pass's data: the same images, shards, workers and limits.
        boxes: what shall have the boxes.
    """

    def __init__(self, poses: ImageDataModule, boxes: DetectorBoxes) -> None:
        super().__init__()
        self._poses, self._boxes = poses, boxes
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.tasks: list[ImageTask] = []

    def setup(self, stage: str | None = None) -> None:
        poses, boxes = self._poses, self._boxes
        files = poses.list_images().files
        if poses.num_shards > 1:
            files = _dealt(files, poses.num_shards, poses.shard)
        boxes.record.read()
        on_record = [file for file in files if file.name in boxes.record.known]
        done, failed = poses.finished([boxes.task(file)[0] for file in on_record])
        left = in_order(files, poses.agree([f.name for f in files if f.name not in done and f.name not in failed]))
        assert self.trainer is not None
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        poses.shares = [[file.name for file in _dealt(left, world_size, each)] for each in range(world_size)]
        boxes.share = _dealt(left, world_size, rank)
        if rank == 0:  # said once
            boxes.num_done_before = sum(file.name in done for file in files)
            boxes.num_failed_before = len(files) - len(left) - boxes.num_done_before
        one, first = np.ones(1), np.zeros(1, np.int64)
        self.tasks = [
            ImageTask(file.name, file.path, None, one, first)
            for file in boxes.share
            if file.name not in boxes.record.known
        ]

    def predict_dataloader(self) -> CropLoader:
        poses = self._poses
        assert self.trainer is not None
        on_cpu = self.trainer.strategy.root_device.type == "cpu"
        size = self._boxes.images_per_batch or (_IMAGES_ON_CPU if on_cpu else _IMAGES_ON_GPU)
        spans = [CropSpan(index, 0, 1) for index in range(len(self.tasks))]
        batches = [spans[start : start + size] for start in range(0, len(spans), size)]
        return CropLoader(
            ImageDataset(self.tasks, batches, (0, 0), poses.max_megapixels),
            num_workers=min(poses.workers(self.trainer.num_devices), len(batches)),
            prefetch_factor=poses.prefetch_factor,
            pin_memory=self.trainer.strategy.root_device.type == "cuda",
            read_timeout=poses.read_timeout,
            stopped=poses.stopped,
            collate=ragged_images,
            sharers=self.trainer.num_devices,
        )


def _dealt(files: list[ImageFile], num_shares: int, share: int) -> list[ImageFile]:
    return [files[index] for index in shard_images([1] * len(files), num_shares)[share]]
