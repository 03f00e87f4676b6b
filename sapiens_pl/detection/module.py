"""The detection pass's LightningModule: images in, people out."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import lightning as L
import numpy as np
from torch import Tensor

from sapiens_pl.core.devices import free_cached, is_out_of_memory, memory_in_numbers
from sapiens_pl.core.errors import DeviceMemoryError
from sapiens_pl.core.wording import one_line
from sapiens_pl.detection.data import ImageBatch
from sapiens_pl.detection.detectors import People, PersonDetector
from sapiens_pl.detection.rules import PersonRules

log = logging.getLogger(__name__)


class DetectionModule(L.LightningModule):
    """Runs a detector over batches of images, in as many parts as memory asks for.

    Args:
        detector: finds people.
        rules: says which of them count.
    """

    def __init__(self, detector: PersonDetector, rules: PersonRules) -> None:
        super().__init__()
        self.detector, self.rules = detector, rules
        self.largest_working_batch: int | None = None
        """Images that go through the detector at a time, once memory has run out; None while it has not."""

    def predict_step(self, batch: ImageBatch, batch_idx: int = 0) -> list[np.ndarray]:
        """(N, 5) rows x, y, width, height, score for each image of the batch that could be read; image px.

        Raises:
            DeviceMemoryError: not even one image fits into the device's memory.
        """
        people: list[np.ndarray] = []
        limit = self.largest_working_batch
        while len(people) < len(batch.images):
            images = batch.images[len(people) :][:limit]
            try:
                found = self._detect(images)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                complaint = one_line(error)
            else:
                people += found
                continue
            # Out here the failed pass's tensors are no longer held by the exception.
            if len(images) == 1:
                raise DeviceMemoryError(self._does_not_fit(images[0], complaint))
            limit = len(images) // 2
            free_cached(images[0].device)
        if limit != self.largest_working_batch:
            log.warning("Out of memory on %s: detecting in %d images at a time.", batch.images[0].device, limit)
            self.largest_working_batch = limit
        return people

    def _detect(self, images: Sequence[Tensor]) -> list[np.ndarray]:
        found: list[People] = self.detector(images)
        return [self.rules(one.bboxes_xyxy.cpu().numpy(), one.scores.cpu().numpy()) for one in found]

    def _does_not_fit(self, image: Tensor, complaint: str) -> str:
        return (
            f"The person detector {self.detector.name} does not fit into the memory of {image.device} with a single "
            f"image of {image.shape[1]}x{image.shape[0]} px ({memory_in_numbers(image.device)}; it said: {complaint}); "
            "choose a smaller boxes.model, or a device with more memory."
        )
