"""`boxes=detector` and `boxes=auto`: boxes from a detection pass over the images, before the poses.

Both passes run in the same processes. Each process detects people in its own share of the images, dealt by their
number, since nobody knows yet how many people there are, and then poses the very same images: it needs nobody
else's boxes, and waits for nobody. What earlier runs have detected, whoever did it, is not detected again.
"""

from __future__ import annotations

from typing import Any

from sapiens_pl.boxes.json_boxes import JsonBoxes
from sapiens_pl.boxes.matching import BoxRow, BoxRules, DealtImages
from sapiens_pl.core.settings import check
from sapiens_pl.core.structures import Failure, ImageFile, ImageTask
from sapiens_pl.detection.detectors import PersonDetector, load_detector
from sapiens_pl.detection.record import DetectionRecord
from sapiens_pl.detection.rules import PersonRules
from sapiens_pl.detection.settings import DETECTING
from sapiens_pl.pictures.folder import ImageSource


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
        self.share: list[ImageFile] = []
        """This process's images that have no result yet."""
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

    def __call__(self, source: ImageSource) -> DealtImages:
        """The share's images with their boxes, as from a box file; an image that failed is none."""
        failed = {failure.image for failure in self.failures}
        boxed = [self.task(file) for file in self.share if file.name in self.record.known]
        unknown = len(self.share) - len(boxed) - len(failed)
        failures = [*self.failures, *(row for _, rows in boxed for row in rows)]
        tasks = [task for task, _ in boxed]
        return DealtImages(tasks, failures, self.num_done_before, self.num_failed_before, unknown)

    def task(self, file: ImageFile) -> tuple[ImageTask, list[Failure]]:
        """A detected image with its boxes, and those of them that an edit has made unusable."""
        rows = self.record.known[file.name].rows.tolist()
        return self._row_rules.apply(file, [BoxRow(file.name, row[:4], row[4], None) for row in rows])


def auto_boxes(demo_file: str | None = None, **detector: Any) -> JsonBoxes | DetectorBoxes:
    """`boxes=auto`: the demo's boxes for the demo's images, and a person detector for all others.

    Args:
        demo_file: the demo's box file, given only with the demo's images.
        detector: as for `DetectorBoxes`.
    """
    return JsonBoxes(demo_file) if demo_file else DetectorBoxes(**detector)
