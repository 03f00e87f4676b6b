"""The Python API: poses for one image, a list or a stream of them (docs/python.md)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, overload

import lightning as L
import torch

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.geometry import CropSettings
from sapiens_pl.core.keypoints import KeypointSet, flip_indices_for
from sapiens_pl.core.plan import Tasks
from sapiens_pl.core.protocols import PoseNetwork
from sapiens_pl.core.settings import SWITCH, check
from sapiens_pl.core.structures import CropBatch, PosePrediction, PoseResult
from sapiens_pl.data.crops import CropCutter
from sapiens_pl.data.dataset import PictureDataset
from sapiens_pl.data.image_stream import AskedImage, ImageStream, asked_images
from sapiens_pl.data.loader import PictureLoader
from sapiens_pl.data.packing import pack_batches
from sapiens_pl.data.python_images import ImageLike, described, is_one_image
from sapiens_pl.data.python_inputs import (
    BoxesLike,
    PythonImages,
    boxed_images,
    checked_boxes,
    checked_images,
    some_boxes,
)
from sapiens_pl.data.settings import PREDICTING
from sapiens_pl.detection.finding import Detector
from sapiens_pl.inference.module import PoseModule
from sapiens_pl.inference.transfer import PendingPrediction
from sapiens_pl.models.by_name import load_named
from sapiens_pl.models.pose_network import checked_network
from sapiens_pl.records.assembly import ResultAssembler

DETECTOR = "detector"
"""The value of `boxes` that asks for the person detector."""
_PREDICTING = PREDICTING | {"progress": SWITCH}


class PoseEstimator:
    """A pose network on one device, for use from Python.

    Args:
        network: a `core.protocols.PoseNetwork` on the CPU, as `models.checkpoints.load_network` gives one.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        precision: `32-true`, `bf16-mixed`, `16-mixed` or `bf16-true`.
        flip_test: average with the mirrored crop's heatmaps.
        detector: finds the people for `boxes="detector"`: a `Detector`, or the name of one of
            its models; None for its default one, which is loaded when it is needed.

    Raises:
        ConfigError: an unknown device or precision, a flip test without left and right, or an object that is not a
            PoseNetwork.

    Attributes:
        keypoint_set: what the keypoints of all results are.
        input_hw: height and width of the crops, px.
        crop_settings: how crops are cut and normalised.
    """

    def __init__(
        self,
        network: PoseNetwork,
        *,
        device: str = "auto",
        precision: str = "32-true",
        flip_test: bool = False,
        detector: str | Detector | None = None,
    ) -> None:
        if not isinstance(detector, str | Detector | None):
            raise TypeError(f"detector is {described(detector)}; pass a Detector, the name of one, or None.")
        network = checked_network(network, "network")
        self._detector = detector
        self.keypoint_set: KeypointSet = network.keypoint_set
        self.input_hw: tuple[int, int] = network.input_hw
        self.crop_settings: CropSettings = network.crop_settings
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
        detector: str | Detector | None = None,
    ) -> PoseEstimator:
        """Loads a Sapiens or Sapiens2 pose checkpoint of any published kind of file.

        Args:
            path: a file, the folder of one, for Sapiens2 a folder of transformers', or the name of a published model
                (`sapiens_1b_308`; `python -m sapiens_pl.models` lists them), whose weights are taken from the Hugging
                Face hub's cache, else downloaded into it.
            device: as for the class.
            precision: as for the class.
            flip_test: as for the class.
            num_heads: of the attention; only for networks of unpublished sizes.
            input_hw: height and width of the crops, px; only for networks of unpublished sizes.
            keypoint_set: what the keypoints are, if neither the file nor their number tells it: the path of a YAML
                (models/keypoint_sets/coco_17.yaml has its form), or the name of a bundled set.
            detector: as for the class.

        Raises:
            CheckpointError: a missing, damaged or foreign file, or weights that the hub does not give.
            ConfigError: as the class.
        """
        network = load_named(path, num_heads, input_hw, keypoint_set)
        return cls(network, device=device, precision=precision, flip_test=flip_test, detector=detector)

    def __repr__(self) -> str:
        height, width = self.input_hw
        known = f"{self.keypoint_set.dataset_name}, {self.keypoint_set.num_keypoints} keypoints"
        return f"PoseEstimator({known}, crops of {width}x{height} px, {self._fabric.device})"

    @overload
    def predict(  # type: ignore[overload-overlap]  # a path is a sequence of texts, too
        self, images: ImageLike, boxes: BoxesLike | str = ..., batch_size: int = ..., num_workers: int = ...,
        progress: bool = ...,
    ) -> PoseResult: ...  # fmt: skip

    @overload
    def predict(  # type: ignore[overload-overlap]  # an iterator is iterable, too
        self, images: Iterator[ImageLike], boxes: Iterable[BoxesLike] | str | None = ..., batch_size: int = ...,
        num_workers: int = ..., progress: bool = ...,
    ) -> Iterator[PoseResult]: ...  # fmt: skip

    @overload
    def predict(
        self, images: Iterable[ImageLike], boxes: Iterable[BoxesLike] | str | None = ..., batch_size: int = ...,
        num_workers: int = ..., progress: bool = ...,
    ) -> list[PoseResult]: ...  # fmt: skip

    def predict(
        self,
        images: Any,
        boxes: Any = None,
        batch_size: int = 16,
        num_workers: int = 0,
        progress: bool = False,
    ) -> PoseResult | list[PoseResult] | Iterator[PoseResult]:
        """Poses of every person in every image, in full batches.

        Args:
            images: one image, a list of them, or an iterator (a generator, say). An image is a path, an (H, W, 3) uint8
                BGR array as OpenCV has it, a PIL image, or a (3, H, W) RGB tensor, uint8 or from 0 to 1, as torchvision
                has it (`data/python_images.py` lists all forms); an array or a tensor of four dimensions holds several.
            boxes: for each image (N, 4) xyxy in image px (lists, arrays or tensors), or None for the whole image. An
                empty array means nobody. None for all: every image whole. `"detector"`: the people that the person
                detector finds.
            batch_size: crops a forward pass.
            num_workers: processes that read and crop, of an iterator's images threads; 0 does it here.
            progress: show a bar, which counts images; in a notebook one of its kind.

        Returns:
            For one image its result, for a list a list in its order. What is wrong with an image or a box is in
            its result's `error` and does not affect others. For an iterator an iterator in its order, which takes
            images as results are asked for, some batches ahead. If the images end with an error, it is raised when the
            results of those before have been given.

        Raises:
            TypeError: an image of another kind.
            ValueError: not as many boxes as images, boxes that are not (N, 4), a batch size below 1, or a negative
                number of workers.
            ConfigError: the detector's weights cannot be had.
        """
        check(_PREDICTING, {"batch_size": batch_size, "num_workers": num_workers, "progress": progress})
        by_detector = isinstance(boxes, str) and boxes == DETECTOR
        if is_one_image(images):
            boxes_of_all = boxes if by_detector else [boxes]
            return self.predict([images], boxes_of_all, batch_size, num_workers, progress)[0]
        if isinstance(images, Iterator):
            asked = asked_images(images, None if by_detector else some_boxes(boxes))
            return self._shown(self._stream(asked, by_detector, batch_size, num_workers), None, progress)
        listed = checked_images(images)
        if by_detector:
            asked = (AskedImage(index, image, None) for index, image in enumerate(listed))
            results = self._stream(asked, True, batch_size, num_workers)
            return list(self._shown(results, len(listed), progress))
        results = self._of_list(listed, checked_boxes(boxes, len(listed)), batch_size, num_workers)
        return list(self._shown(results, len(listed), progress))

    def _of_list(
        self, images: list[ImageLike], boxes: list[Any], batch_size: int, num_workers: int
    ) -> Iterator[PoseResult]:
        source = PythonImages(images)
        tasks, failures = boxed_images(source.pictures(), boxes)
        results: dict[int, PoseResult] = {}
        assembler = ResultAssembler(tasks, self.keypoint_set)
        next_index = 0
        for batch, prediction in self._predictions(self._loader(source, tasks, batch_size, num_workers)):
            results.update(assembler.add(batch, prediction.result()))
            while next_index in results:
                result = results.pop(next_index)
                yield result._replace(failures=(*failures[next_index], *result.failures))
                next_index += 1

    def _stream(
        self, asked: Iterator[AskedImage], by_detector: bool, batch_size: int, num_threads: int
    ) -> Iterator[PoseResult]:
        if by_detector:
            asked = self._people_finder().boxed(asked)
        images = ImageStream(asked, batch_size, CropCutter(self.input_hw, self.crop_settings), num_threads)
        assembler = ResultAssembler(images.tasks, self.keypoint_set)
        for batch, prediction in self._predictions(images):
            for index, result in assembler.add(batch, prediction.result()):
                yield images.finished(index, result)
        images.raise_error()

    def _people_finder(self) -> Detector:
        if self._detector is None or isinstance(self._detector, str):
            self._detector = Detector(self._detector)
        return self._detector.to(self._fabric.device)

    def _shown(self, results: Iterator[PoseResult], total: int | None, progress: bool) -> Iterator[PoseResult]:
        if not progress:
            return results
        from tqdm.auto import tqdm

        return iter(tqdm(results, "poses", total, unit="image"))

    def _predictions(
        self, loader: Iterable[CropBatch]
    ) -> Iterator[tuple[CropBatch, PosePrediction | PendingPrediction]]:
        """Each batch and its outcome, one behind the batch that the device is computing."""
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
) -> Any:
    """The original's call: one image and its boxes give one result; lists of both give a list.

    Args:
        estimator: has the network.
        images: one image, a list of them or an iterator, as for `PoseEstimator.predict`.
        bboxes: (N, 4) xyxy in image px, or a list of such; None for the whole image.
        batch_size: crops a forward pass.

    Raises:
        TypeError, ValueError: as `PoseEstimator.predict`.
    """
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
