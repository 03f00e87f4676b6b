"""The Python API: poses for lists of images and boxes, or for one image as the original has it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.keypoints import KeypointSet, flip_indices_for
from sapiens_pl.core.plan import Tasks
from sapiens_pl.core.protocols import PoseNetwork
from sapiens_pl.core.settings import check
from sapiens_pl.core.structures import CropBatch, PosePrediction, PoseResult
from sapiens_pl.data.crops import CropCutter
from sapiens_pl.data.dataset import PictureDataset
from sapiens_pl.data.loader import PictureLoader
from sapiens_pl.data.packing import pack_batches
from sapiens_pl.data.python_inputs import (
    BoxesLike,
    ImageLike,
    PythonImages,
    boxed_images,
    checked_boxes,
    checked_images,
    is_one_image,
)
from sapiens_pl.data.settings import PREDICTING
from sapiens_pl.inference.module import PoseModule
from sapiens_pl.inference.transfer import PendingPrediction
from sapiens_pl.models.checkpoints import load_network
from sapiens_pl.models.pose_network import checked_network
from sapiens_pl.records.assembly import ResultAssembler


class PoseEstimator:
    """A pose network on one device, for use from Python.

    Args:
        network: a `core.protocols.PoseNetwork` on the CPU, as `models.checkpoints.load_network` gives one.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        precision: `32-true`, `bf16-mixed`, `16-mixed` or `bf16-true`.
        flip_test: average with the mirrored crop's heatmaps.

    Raises:
        ConfigError: an unknown device or precision, a flip test without left and right, or what is no PoseNetwork.

    Attributes:
        keypoint_set: what the keypoints of all results are.
        input_hw: height and width of the crops, px.
        crop_settings: how crops are cut and normalised.
    """

    def __init__(
        self, network: PoseNetwork, *, device: str = "auto", precision: str = "32-true", flip_test: bool = False
    ) -> None:
        network = checked_network(network, "network")
        self.keypoint_set: KeypointSet = network.keypoint_set
        self.input_hw, self.crop_settings = network.input_hw, network.crop_settings
        self._fabric = _fabric(device, precision)
        self._module = PoseModule(network, flip_indices_for(self.keypoint_set) if flip_test else None).eval()
        self._module.place(self._fabric.device, precision)
        self._fabric.setup_module(self._module)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        *,
        device: str = "auto",
        precision: str = "32-true",
        flip_test: bool = False,
        num_heads: int | None = None,
        input_hw: tuple[int, int] | None = None,
        keypoint_set: str | Path | KeypointSet | None = None,
    ) -> PoseEstimator:
        """Loads a Sapiens or Sapiens2 pose checkpoint of any published kind of file.

        Args:
            path: a file, the folder of one, or for Sapiens2 a folder of transformers'.
            device: as for the class.
            precision: as for the class.
            flip_test: as for the class.
            num_heads: of the attention; only for networks of unpublished sizes.
            input_hw: height and width of the crops, px; only for networks of unpublished sizes.
            keypoint_set: what the keypoints are, where neither the file nor their number tells: the path of a YAML
                (models/keypoint_sets/coco_17.yaml has its form), or the name of a set of ours.

        Raises:
            CheckpointError: a missing, damaged or foreign file.
            ConfigError: as the class.
        """
        network = load_network(path, num_heads, input_hw, dtype=None, keypoint_set=keypoint_set)
        return cls(network, device=device, precision=precision, flip_test=flip_test)

    def predict(
        self,
        images: Sequence[ImageLike],
        boxes: Sequence[BoxesLike] | None = None,
        batch_size: int = 16,
        num_workers: int = 0,
    ) -> list[PoseResult]:
        """Poses of every person in every image, in full batches.

        Args:
            images: paths or (H, W, 3) uint8 BGR arrays.
            boxes: for each image (N, 4) xyxy in image px (lists, arrays or tensors), or None for the whole image. An
                empty array asks for nobody. None for all: every image whole.
            batch_size: crops a forward pass.
            num_workers: processes that read and crop; 0 does it here.

        Returns:
            One result an image, in their order. What is wrong with an image or a box stands in
            its result's `error` and harms no other.

        Raises:
            TypeError: one image where a list is due, or images of another kind (PIL, tensors, bytes, None).
            ValueError: not as many boxes as images, boxes that are not (N, 4), a batch size below 1, or a negative
                number of workers.
        """
        check(PREDICTING, {"batch_size": batch_size, "num_workers": num_workers})
        images = checked_images(images)
        source = PythonImages(images)
        tasks, failures = boxed_images(source.pictures(), checked_boxes(boxes, len(images)))
        results: dict[int, PoseResult] = {}
        assembler = ResultAssembler(tasks, self.keypoint_set)
        for batch, prediction in self._predictions(self._loader(source, tasks, batch_size, num_workers)):
            results.update(assembler.add(batch, prediction.result()))
        return [
            results[index]._replace(failures=(*failures[index], *results[index].failures))
            for index in range(len(images))
        ]

    def _predictions(
        self, loader: PictureLoader[CropBatch]
    ) -> Iterator[tuple[CropBatch, PosePrediction | PendingPrediction]]:
        """Each batch and its outcome, one behind the batch that the device is at work on."""
        last = None
        for batch in loader:
            with torch.inference_mode(), self._fabric.autocast():
                on_device = self._module.transfer_batch_to_device(batch, self._fabric.device)
                prediction = self._module.predict_step(on_device)
            if last is not None:
                yield last
            last = batch, prediction
        if last is not None:
            yield last

    def _loader(
        self, source: PythonImages, tasks: Tasks, batch_size: int, num_workers: int
    ) -> PictureLoader[CropBatch]:
        batches = pack_batches(tasks.num_boxes, batch_size)
        dataset = PictureDataset(source, tasks, batches, CropCutter(self.input_hw, self.crop_settings))
        return PictureLoader(dataset, min(num_workers, len(batches)))


def inference_topdown(
    estimator: PoseEstimator,
    images: Any,
    bboxes: Any = None,
    batch_size: int = 16,
) -> PoseResult | list[PoseResult]:
    """The original's call: one image and its boxes give one result; lists of both give a list.

    Args:
        estimator: has the network.
        images: a path or (H, W, 3) uint8 BGR array, or a list of them.
        bboxes: (N, 4) xyxy in image px, or a list of such; None for the whole image.
        batch_size: crops a forward pass.

    Raises:
        TypeError, ValueError: as `PoseEstimator.predict`.
    """
    if is_one_image(images):
        return estimator.predict([images], [bboxes], batch_size)[0]
    return estimator.predict(images, bboxes, batch_size)


def _fabric(device: str, precision: Any) -> L.Fabric:
    kind, _, number = str(device).partition(":")
    devices = [int(number)] if number else 1
    level = logging.getLogger("lightning.fabric").level
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
    try:
        return L.Fabric(accelerator=kind, devices=devices, precision=precision)
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"device={device} with precision={precision} does not work here: {error}") from None
    finally:
        logging.getLogger("lightning.fabric").setLevel(level)
