"""`boxes=detector` and `boxes=auto`: boxes from a detector that looks at the images before the poses.

Both networks run in the same processes. Each process detects people in its own share of the images, dealt by their
number, as the numbers of people are not known yet, and then poses the same images: it needs no other process's
boxes, and waits for none. What any process of an earlier run has detected is not detected again.

Of tars and tables, where there are enough of them for all processes, a process looks at some and poses these, then at
the next ones.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from typing import Any, NamedTuple

import numpy as np
import torch

from sapiens_pl.boxes.json_boxes import JsonBoxes
from sapiens_pl.boxes.matching import DealtImages
from sapiens_pl.boxes.rules import BoxRules
from sapiens_pl.boxes.table import table_of_arrays
from sapiens_pl.core.columns import whole_pictures
from sapiens_pl.core.errors import UnreadableImageError
from sapiens_pl.core.not_counted import RowsNotCounted
from sapiens_pl.core.plan import Pictures, Tasks
from sapiens_pl.core.protocols import PictureSource
from sapiens_pl.core.settings import check
from sapiens_pl.core.structures import Failure, ListedImage
from sapiens_pl.detection.detectors import PersonDetector, load_detector
from sapiens_pl.detection.every import Looks, Neighbours, rows_of
from sapiens_pl.detection.people_file import Detected
from sapiens_pl.detection.record import DetectionRecord
from sapiens_pl.detection.rules import PersonRules
from sapiens_pl.detection.settings import DETECTING
from sapiens_pl.detection.shard_record import DetectedInShards


class _Found(NamedTuple):
    """Where the people of some pictures come from.

    `near` has the pictures themselves, or those that they lie between; `is_known` (n,) bool says that all of these have
    been looked at, `is_lost` that there are none: those that there were could not be read.
    """

    near: Neighbours
    is_known: np.ndarray
    is_lost: np.ndarray


_IMAGES_ON_GPU, _IMAGES_ON_CPU = 8, 1


def images_at_a_time(device: torch.device) -> int:
    """Images in a forward pass, where nobody has said how many."""
    return _IMAGES_ON_CPU if device.type == "cpu" else _IMAGES_ON_GPU


Find = Callable[[PictureSource, Tasks, Callable[[int, "tuple[int, int]", np.ndarray], None]], "list[Failure]"]
"""Looks for people in some pictures, tells of each its number in the source, its size and its people, and gives those
that cannot be read."""


class DetectorBoxes:
    """Boxes from a person detector. `DetectionData` and `DetectionWriter` bring them; then this is a box source.

    Of tars and tables, `of_shards` gives those of some of them, for which `look_at` has `find` bring the boxes.

    Args:
        model: one of torchvision's detectors, or a transformers object detector (`detectors.load_detector`).
        weights: a file with a torchvision model's weights.
        images_per_batch: images a forward pass; None for 8, on a CPU 1.
        score_threshold, nms_threshold, largest_n, min_size: as in `PersonRules`.
        every: of a video each so-manieth frame is looked at (`every.Looks`), and others have boxes between those.

    Raises:
        ConfigError: no such detector, no weights, or a value that cannot work.
    """

    of_each_picture = True

    def __init__(
        self,
        model: str | None = None,
        weights: str | None = None,
        images_per_batch: int | None = None,
        score_threshold: float = 0.3,
        nms_threshold: float | None = 0.3,
        largest_n: int | None = None,
        min_size: float = 1.0,
        every: int = 1,
    ) -> None:
        check(DETECTING, {"images_per_batch": images_per_batch, "every": every})
        self.rules = PersonRules(score_threshold, nms_threshold, largest_n, min_size)
        self.images_per_batch, self.every = images_per_batch, every
        self._detector: PersonDetector | None = load_detector(model, weights)
        self.settings: dict[str, Any] = {
            "boxes.model": self._detector.name,
            "boxes.weights": f"SHA-256 of the tensors {self._detector.weights_sha256()}",
            **self.rules.settings(),
            **({"boxes.every": every} if every > 1 else {}),  # which earlier versions do not write
        }
        self.share = np.zeros(0, np.int64)
        """The indices of this process's images that have no result yet."""
        self.failures: list[Failure] = []
        """Those of them that could not be read."""
        self.given_up: set[str] = set()
        """The names of frames to look at that could not be read in earlier runs, and are not tried again."""
        self.find: Find | None = None
        self._in_shards: DetectedInShards | None = None
        self.not_counted: RowsNotCounted | None = None
        self._looks: Looks | None = None
        self.num_done_before = self.num_failed_before = 0
        self._row_rules = BoxRules("xywh", score_threshold=0.0, nms_threshold=None, exif="upright")

    def batch_size(self, device: torch.device) -> int:
        """Images in a forward pass."""
        return self.images_per_batch or images_at_a_time(device)

    def take_detector(self) -> PersonDetector:
        """Hands it over, once: whoever runs it decides when its memory is free again."""
        detector, self._detector = self._detector, None
        assert detector is not None
        return detector

    def in_folder(self, record: DetectionRecord) -> None:
        """Says where the boxes are written down."""
        self.record = record

    def of_shards(self, shards: Sequence[str]) -> DetectorBoxes:
        """The boxes of the pictures of some tars or tables, as far as these have been looked at (`data.looking`)."""
        of_these = copy(self)
        of_these._in_shards, of_these.failures, of_these._looks = self.record.of_shards(shards), [], None
        return of_these

    def look_at(self, source: PictureSource, pictures: Pictures, indices: np.ndarray) -> list[Failure]:
        """Has people looked for in some pictures of these shards; gives the pictures that cannot be read."""
        detected, shards, find = self._in_shards, pictures.shards, self.find
        assert detected is not None and shards is not None and find is not None
        self.rules.counted = RowsNotCounted()

        def note(index: int, image_wh: tuple[int, int], rows: np.ndarray) -> None:
            image = ListedImage(pictures.names[index], *image_wh, None)
            detected.append(shards.names[shards.shard_of(index)], image, rows)

        try:
            self.failures = find(source, Tasks(pictures, whole_pictures(len(pictures.names)), indices), note)
        finally:
            detected.close()
        self.not_counted = self.rules.counted if self.rules.counted.rows else None
        return self.failures

    def __call__(self, pictures: Pictures) -> DealtImages:
        """The share's images with their boxes, as from a box file; an image that failed is none."""
        failed = {failure.image for failure in self.failures}
        found = self._found(pictures, self.share)
        lost = [self._lost(pictures, index) for index in self.share[found.is_lost].tolist()]
        of_share = sum(name in failed for name in pictures.names.select(self.share)) if failed else 0
        unknown = len(self.share) - int(found.is_known.sum()) - len(lost) - of_share
        tasks, unusable = self.tasks(pictures, self.share[found.is_known])
        failures = [*self.failures, *lost, *unusable]
        counted = self.rules.counted if self.rules.counted.rows else None
        return DealtImages(tasks, failures, self.num_done_before, self.num_failed_before, unknown, counted)

    def known(self, pictures: Pictures, indices: np.ndarray) -> np.ndarray:
        """(n,) bool: images that have been looked at for people, and frames between such.

        Args:
            indices: (n,) int64, ascending.
        """
        return self._found(pictures, indices).is_known

    def to_look_at(self, pictures: Pictures, indices: np.ndarray) -> np.ndarray:
        """The pictures that nobody has looked at, and that must be for these (n,) ascending ones."""
        near = self.looks(pictures).near(indices)
        seen = self._are_seen(pictures, near)
        return near[~seen & ~self._are_in(self.given_up, pictures, near)]

    def tasks(self, pictures: Pictures, indices: np.ndarray) -> tuple[Tasks, list[Failure]]:
        """Detected images with their boxes, and those of the boxes that an edit has made unusable.

        Args:
            indices: (n,) int64, ascending.
        """
        found = self._found(pictures, indices)

        def seen(index: int) -> np.ndarray:
            return self._known[pictures.names[index]].rows

        rows = rows_of(self.looks(pictures), indices, found.near, seen)
        whose = np.repeat(indices, [len(of_image) for of_image in rows])
        ruled = self._row_rules.apply(pictures, whose, table_of_arrays(np.concatenate([np.zeros((0, 5)), *rows])))
        return Tasks(pictures, ruled.boxes, indices), ruled.failures

    @property
    def _known(self) -> Mapping[str, Detected]:
        return self.record.known if self._in_shards is None else self._in_shards.known

    def looks(self, pictures: Pictures) -> Looks:
        """At which pictures."""
        if self._looks is None:
            self._looks = Looks(pictures, self.every)
        return self._looks

    def _found(self, pictures: Pictures, indices: np.ndarray) -> _Found:
        looks = self.looks(pictures)
        is_seen = self._are_seen(pictures, indices)
        near = Neighbours(*np.where(is_seen, indices, np.full((2, 1), -1)))
        if looks.is_looked_at[indices].all():
            return _Found(near, is_seen, np.zeros(len(indices), bool))
        around = looks.near(indices)
        failed = self.given_up | {failure.image for failure in self.failures}
        usable = around[~self._are_in(failed, pictures, around)]
        is_ready = np.append(self._are_seen(pictures, usable), True)  # the last one is that of -1
        between = ~is_seen & ~looks.is_looked_at[indices]
        sides = looks.neighbours(indices[between], usable)
        ready = [is_ready[np.where(side < 0, -1, np.searchsorted(usable, side))] for side in sides]
        for own, side in zip(near, sides):
            own[between] = side
        is_lost, is_known = np.zeros((2, len(indices)), bool)
        is_lost[between] = (sides.before < 0) & (sides.after < 0)
        is_known[between] = ready[0] & ready[1]
        return _Found(near, is_seen | (is_known & ~is_lost), is_lost)

    def _are_seen(self, pictures: Pictures, indices: np.ndarray) -> np.ndarray:
        return self._are_in(self._known, pictures, indices)

    def _are_in(self, names: Collection[str], pictures: Pictures, indices: np.ndarray) -> np.ndarray:
        if not names:
            return np.zeros(len(indices), bool)
        return np.fromiter((name in names for name in pictures.names.select(indices)), bool, len(indices))

    def _lost(self, pictures: Pictures, index: int) -> Failure:
        message = (
            f"Of the frames of {pictures.path(index)} near {pictures.names[index]} that the person detector was to "
            f"look at (boxes.every={self.every}) none could be read; look at the video, or set boxes.every=1."
        )
        return Failure(pictures.names[index], None, UnreadableImageError.__name__, message)


def auto_boxes(demo_file: str | None = None, **detector: Any) -> JsonBoxes | DetectorBoxes:
    """`boxes=auto`: the demo's boxes for the demo's images, and a person detector for all others.

    Args:
        demo_file: the demo's box file, given only with the demo's images.
        detector: as for `DetectorBoxes`.
    """
    return JsonBoxes(demo_file) if demo_file else DetectorBoxes(**detector)
