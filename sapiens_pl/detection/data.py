"""Whole images for the detector: which ones, in which batches, read by the pose pass's own loader."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import lightning as L
import numpy as np
import torch
from torch import Tensor

from sapiens_pl.core.columns import whole_pictures
from sapiens_pl.core.plan import Pictures, Tasks
from sapiens_pl.core.protocols import PictureSource
from sapiens_pl.core.structures import CropSpan, Failure, ImagePart, ImageTask, LoadedImage
from sapiens_pl.data.datamodule import ImageDataModule
from sapiens_pl.data.dataset import PictureDataset
from sapiens_pl.data.dealing import positions_of
from sapiens_pl.data.loader import PictureLoader
from sapiens_pl.data.looking import finished_before
from sapiens_pl.data.packing import Batches, shard_images
from sapiens_pl.data.planning import NO_TASKS
from sapiens_pl.data.stretches import dealt_together
from sapiens_pl.detection.boxes import DetectorBoxes


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

    def on(self, device: torch.device) -> ImageBatch:
        return self._replace(images=[image.to(device, non_blocking=True) for image in self.images])


class ImageCutter:
    """Leaves pictures whole."""

    done_to_a_picture = "read"

    def bytes_of(self, spans: list[CropSpan]) -> int:
        """0: nobody knows before how large pictures are."""
        return 0

    def cut(self, image: LoadedImage, task: ImageTask, span: CropSpan) -> WholeImage:
        return WholeImage(ImagePart(span, (image.pixels.shape[1], image.pixels.shape[0]), []), image.pixels)

    def failed(self, span: CropSpan, failure: Failure) -> WholeImage:
        return WholeImage(ImagePart(span, None, [failure]), None)

    def batch(self, images: list[WholeImage]) -> ImageBatch:
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
        self.tasks = NO_TASKS

    def setup(self, stage: str | None = None) -> None:
        poses, boxes = self._poses, self._boxes
        pictures = poses.pictures()
        count = len(pictures.names)
        together = dealt_together(pictures, np.arange(count), poses.num_shards)
        mine = shard_images(np.ones(count), poses.num_shards, together)[poses.shard]
        boxes.record.read()
        names = pictures.names.select(mine)
        if boxes.every > 1:
            self._give_up(pictures, boxes.to_look_at(pictures, mine))
        finished = finished_before(pictures, mine, boxes, poses.finished)
        left = mine[~finished.either]
        found = pictures.names.select(left)
        wanted = poses.agree(found)
        if wanted != found:
            left = mine[positions_of(wanted, names)]
        rank, world_size = poses.place()[:2]
        dealt = shard_images(np.ones(len(left)), world_size, dealt_together(pictures, left, world_size))
        shares = [left[share] for share in dealt]
        poses.shares = [pictures.names.select(share) for share in shares]
        boxes.share = np.sort(shares[rank])
        if rank == 0:  # said once
            boxes.num_done_before = int(finished.done.sum())
            boxes.num_failed_before = len(mine) - len(left) - boxes.num_done_before
        self.tasks = Tasks(pictures, whole_pictures(len(pictures.names)), boxes.to_look_at(pictures, boxes.share))

    def _give_up(self, pictures: Pictures, unknown: np.ndarray) -> None:
        """Does not look again at frames that have failed in an earlier run: others are posed without them."""
        names = pictures.names.select(unknown)
        failed = np.flatnonzero(self._poses.finished(names, None).failed)
        self._boxes.given_up = set(names.select(failed))

    def predict_dataloader(self) -> PictureLoader[ImageBatch]:
        size = self._boxes.batch_size(self._poses.place().device)
        return whole_images(self._poses, self._poses.source, self.tasks, size, self._poses.stopped)


def whole_images(
    poses: ImageDataModule, source: PictureSource, tasks: Tasks, size: int, stopped: Callable[[], bool]
) -> PictureLoader[ImageBatch]:
    """Brings pictures as they are.

    Args:
        poses: says with which processes and limits.
        source: the pictures'.
        tasks: which of them.
        size: so many a batch.
        stopped: True ends the iteration.
    """
    place, num_images = poses.place(), len(tasks)
    first = np.zeros(num_images, np.int64)
    spans = np.stack([np.arange(num_images), first, first + 1], axis=1)
    batches = Batches(spans, np.append(np.arange(0, num_images, size), num_images))
    return PictureLoader(
        PictureDataset(source, tasks, batches, ImageCutter()),
        num_workers=min(poses.workers(place.ranks_here), len(batches)),
        prefetch_factor=poses.prefetch_factor,
        pin_memory=place.device.type == "cuda",
        read_timeout=poses.read_timeout,
        stopped=stopped,
        sharers=place.ranks_here,
    )
