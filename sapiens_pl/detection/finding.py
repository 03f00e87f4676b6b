"""A person detector for Python callers: images in, the people of each out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from sapiens_pl.core.errors import SapiensError, UnreadableImageError
from sapiens_pl.core.settings import check
from sapiens_pl.core.structures import Failure, LoadedImage
from sapiens_pl.core.wording import one_line
from sapiens_pl.data.image_stream import AskedImage, UntilError
from sapiens_pl.data.python_images import load_image, name_of, path_of
from sapiens_pl.detection.boxes import images_at_a_time
from sapiens_pl.detection.data import ImageBatch
from sapiens_pl.detection.detectors import load_detector
from sapiens_pl.detection.module import DetectionModule
from sapiens_pl.detection.rules import PersonRules
from sapiens_pl.detection.settings import DETECTING

_NUM_THREADS = 4


class Detector:
    """Finds the people in images, as `boxes=detector` of the command does.

    Args:
        model: torchvision's fasterrcnn_resnet50_fpn_v2 (None), retinanet_resnet50_fpn_v2 or
            ssdlite320_mobilenet_v3_large, or a transformers object detector: a local folder, or its name on the hub.
        weights: a file with a torchvision model's weights; None for those that torchvision publishes.
        score_threshold: less likely people are left out.
        nms_threshold: of two that overlap by a larger IoU the likelier stays; None keeps all.
        largest_n: the most people an image, the largest ones; None for all.
        min_size: people whose box has a shorter side than this, px, are left out.
        images_per_batch: images a forward pass; None for 8, on a CPU 1.

    Raises:
        ConfigError: no such detector, no weights, or a value that cannot work.
    """

    def __init__(
        self,
        model: str | None = None,
        weights: str | None = None,
        *,
        score_threshold: float = 0.3,
        nms_threshold: float | None = 0.3,
        largest_n: int | None = None,
        min_size: float = 1.0,
        images_per_batch: int | None = None,
    ) -> None:
        check(DETECTING, {"images_per_batch": images_per_batch})
        rules = PersonRules(score_threshold, nms_threshold, largest_n, min_size)
        self._images_per_batch = images_per_batch
        self._module = DetectionModule(load_detector(model, weights), rules).eval()
        self._device = torch.device("cpu")

    def __repr__(self) -> str:
        return f"Detector({self._module.detector.name}, {self._device})"

    def to(self, device: torch.device) -> Detector:
        """Brings the weights to the device; they stay float32, whatever the poses have."""
        self._module.to(device)
        self._device = device
        return self

    def find(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """(H, W, 3) uint8 BGR images -> of each (N, 5) float64 x1, y1, x2, y2 (image px) and score, best first.

        Raises:
            DeviceMemoryError: not even one image fits into the device's memory.
        """
        tensors = [torch.from_numpy(np.ascontiguousarray(image)).to(self._device) for image in images]
        with torch.inference_mode():
            found = self._module.predict_step(ImageBatch(tensors, np.arange(len(tensors)), []))
        return [np.column_stack([rows[:, :2], rows[:, :2] + rows[:, 2:4], rows[:, 4]]) for rows in found]

    def boxed(self, asked: Iterable[AskedImage]) -> Iterator[AskedImage]:
        """The images with the boxes of the people in them; each is read once, here."""
        size = self._images_per_batch or images_at_a_time(self._device)
        images = UntilError(asked)
        group: list[AskedImage] = []
        with ThreadPoolExecutor(_NUM_THREADS, "read") as pool:
            for each in images:
                group.append(each)
                if len(group) == size:
                    yield from self._of_group(list(pool.map(_loaded, group)))
                    group = []
            yield from self._of_group(list(pool.map(_loaded, group)))
        images.raise_error()

    def _of_group(self, group: list[AskedImage]) -> Iterator[AskedImage]:
        pixels = [each.loaded.pixels for each in group if isinstance(each.loaded, LoadedImage)]
        found = iter(self.find(pixels) if pixels else [])
        for each in group:
            rows = next(found) if isinstance(each.loaded, LoadedImage) else np.zeros((0, 5))
            yield each._replace(boxes=rows[:, :4], bbox_scores=rows[:, 4])


def _loaded(asked: AskedImage) -> AskedImage:
    name, path = name_of(asked.number, asked.image), path_of(asked.image)
    try:
        return asked._replace(loaded=load_image(name, asked.image))
    except SapiensError as error:
        return asked._replace(loaded=Failure(name, None, type(error).__name__, str(error)))
    except Exception as error:  # libraries raise errors of any kind, and the other images must not be affected
        message = f"{path or name} could not be read ({type(error).__name__}: {one_line(error)}); check the image."
        return asked._replace(loaded=Failure(name, None, UnreadableImageError.__name__, message))
