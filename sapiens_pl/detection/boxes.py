"""`boxes=detector` and `boxes=auto`: boxes from a detection pass over the images, before the poses.

Both passes run in the same processes. Each process detects people in its own share of the images, dealt by their
number, since nobody knows yet how many people there are, and then poses the very same images: it needs nobody
else's boxes, and waits for nobody. What earlier runs have detected, whoever did it, is not detected again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sapiens_pl.boxes.json_boxes import JsonBoxes
from sapiens_pl.boxes.matching import DealtImages
from sapiens_pl.boxes.rules import BoxRules
from sapiens_pl.boxes.table import table_of_arrays
from sapiens_pl.core.columns import Names
from sapiens_pl.core.plan import Pictures, Tasks
from sapiens_pl.core.settings import check
from sapiens_pl.core.structures import Failure
from sapiens_pl.detection.detectors import PersonDetector, load_detector
from sapiens_pl.detection.record import DetectionRecord
from sapiens_pl.detection.rules import PersonRules
from sapiens_pl.detection.settings import DETECTING


class DetectorBoxes:
    """Boxes from a person detector. `DetectionData` and `DetectionWriter` bring them; then this is a box source.

    Args:
        model: one of torchvision's detectors, or a transformers object detector (`detectors.load_detector`).
        weights: a file with a torchvision model's weights.
        images_per_batch: images a forward pass; None for 8, on a CPU 1.
        score_threshold, nms_threshold, largest_n, min_size: as in `PersonRules`.

    Raises:
        ConfigError: no such detector, no weights, or a value that cannot work.
    """

    def __init__(
        self,
        model: str | None = None,
        weights: str | None = None,
        images_per_batch: int | None = None,
        score_threshold: float = 0.3,
        nms_threshold: float | None = 0.3,
        largest_n: int | None = None,
        min_size: float = 1.0,
    ) -> None:
        check(DETECTING, {"images_per_batch": images_per_batch})
        self.rules = PersonRules(score_threshold, nms_threshold, largest_n, min_size)
        self.images_per_batch = images_per_batch
        self._detector: PersonDetector | None = load_detector(model, weights)
        self.settings: dict[str, Any] = {
            "boxes.model": self._detector.name,
            "boxes.weights": f"SHA-256 of the tensors {self._detector.weights_sha256()}",
            **self.rules.settings(),
        }
        self.share = np.zeros(0, np.int64)
        """The indices of this process's images that have no result yet."""
        self.failures: list[Failure] = []
        """Those of them that could not be read."""
        self.num_done_before = self.num_failed_before = 0
        self._row_rules = BoxRules("xywh", score_threshold=0.0, nms_threshold=None, exif="upright")

    def take_detector(self) -> PersonDetector:
        """Hands it over, once: whoever runs it decides when its memory is free again."""
        detector, self._detector = self._detector, None
        assert detector is not None
        return detector

    def in_folder(self, record: DetectionRecord) -> None:
        """Says where the boxes are written down."""
        self.record = record

    def __call__(self, pictures: Pictures) -> DealtImages:
        """The share's images with their boxes, as from a box file; an image that failed is none."""
        failed = {failure.image for failure in self.failures}
        known = self.share[self.known(pictures.names.select(self.share))]
        unknown = len(self.share) - len(known) - len(failed)
        tasks, unusable = self.tasks(pictures, known)
        return DealtImages(tasks, [*self.failures, *unusable], self.num_done_before, self.num_failed_before, unknown)

    def known(self, names: Names) -> np.ndarray:
        """(n,) bool: images that have been looked at for people."""
        return np.fromiter((name in self.record.known for name in names), bool, len(names))

    def tasks(self, pictures: Pictures, indices: np.ndarray) -> tuple[Tasks, list[Failure]]:
        """Detected images with their boxes, and those of the boxes that an edit has made unusable.

        Args:
            indices: (n,) int64, ascending.
        """
        rows = [self.record.known[name].rows for name in pictures.names.select(indices)]
        whose = np.repeat(indices, [len(of_image) for of_image in rows])
        ruled = self._row_rules.apply(pictures, whose, table_of_arrays(np.concatenate([np.zeros((0, 5)), *rows])))
        return Tasks(pictures, ruled.boxes, indices), ruled.failures


def auto_boxes(demo_file: str | None = None, **detector: Any) -> JsonBoxes | DetectorBoxes:
    """`boxes=auto`: the demo's boxes for the demo's images, and a person detector for all others.

    Args:
        demo_file: the demo's box file, given only with the demo's images.
        detector: as for `DetectorBoxes`.
    """
    return JsonBoxes(demo_file) if demo_file else DetectorBoxes(**detector)
