"""Boxes from YOLO's label files, one for each image."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from sapiens_pl.boxes.classes import ClassRule, People, Wanted
from sapiens_pl.boxes.files import lines_of
from sapiens_pl.boxes.image_finder import either, one_spelling, photographs_of
from sapiens_pl.boxes.rules import BoxRules
from sapiens_pl.boxes.table import BoxRow, table_of
from sapiens_pl.boxes.units import check_inverted, check_units, check_usable
from sapiens_pl.boxes.video_frames import NOT_CHOSEN, NOWHERE, VideoFrames
from sapiens_pl.boxes.yolo_data_set import CLASS_FILES, DataSet, data_set_of
from sapiens_pl.boxes.yolo_labels import Columns, Label, columns_of, parse_line, score_and_id, what_is_wrong
from sapiens_pl.core.errors import AmbiguousNameError, ConfigError
from sapiens_pl.core.folders import walk
from sapiens_pl.core.not_counted import RowsNotCounted, Some
from sapiens_pl.core.plan import Pictures, Tasks
from sapiens_pl.core.protocols import BoxedImages
from sapiens_pl.core.structures import Failure

log = logging.getLogger(__name__)

_FRAME = re.compile(r"(.+)_(\d{1,12})")
_OWN_DIGITS = 12
"""Of the numbers in this package's names of frames, which count from 0."""


class YoloBoxes:
    """Boxes from a folder of YOLO's label files, one for each image (`boxes=yolo`).

    The boxes of `a/b.jpg` stand in `a/b.txt` below the folder, a line each: `class cx cy w h`, parts of the image's
    width and height, then where given the keypoints of a pose, which are skipped, the score and the track id. Whether
    a single column behind the box is a score or an id is found from all files together. An image without such a file
    has nobody in it. Of videos, `walk_12.txt` is the twelfth frame of `walk.mp4`, as ultralytics writes it.

    Args:
        file: the folder.
        category_id: the person's class, a number or a name, or several; None: told by a `data.yaml` or `classes.txt`
            beside the labels, without one 0.
        rules: as in `BoxRules`.

    Raises:
        ConfigError: no such folder, or it has nothing for any of the images (when called).
    """

    def __init__(self, file: str | None, *, category_id: Wanted = None, format: str = "cxcywhn", **rules: Any) -> None:
        if not file or not os.path.isdir(os.path.expanduser(str(file))):
            raise ConfigError(f"boxes.file={file} is not a folder; give the one with YOLO's label files (.txt).")
        self.folder, self.category_id = os.path.expanduser(str(file)), category_id
        self.rules = BoxRules(format, **rules)

    def __call__(self, source: Pictures) -> BoxedImages:
        files, failures = self._label_files(source)
        labels = [
            Label(index, path, number, *parse_line(line))
            for index, path in files.items()
            for number, line in lines_of(path)
        ]
        data_set = data_set_of(self.folder)
        kinds = self._people(labels, data_set)
        people = [label for label in labels if label.kind in kinds.kinds]
        columns = columns_of(people, data_set.keypoints, self.folder)
        people.sort(key=lambda label: label.image)
        whose = np.array([label.image for label in people], np.int64)
        table = table_of([_row(source.names[label.image], label, columns) for label in people])
        check_units(self.folder, table, self.rules)
        ruled = self.rules.apply(source, whose, table, lambda index: f"{files[index]}, line")
        check_inverted(self.folder, ruled.failures, len(people), self.rules)
        check_usable(self.folder, ruled.failures, len(people))
        not_counted = RowsNotCounted(
            file=self.folder,
            rows=len(labels),
            used=len(ruled.boxes.bboxes_xyxy),
            classes=kinds.classes,
            other_classes=kinds.num_others,
            below_score=ruled.num_below,
            overlapping=ruled.num_overlapping,
            unusable=len(ruled.failures),
            inverted=ruled.num_inverted,
            unnamed=_without_file(source, files),
        )
        return BoxedImages(Tasks(source, ruled.boxes), failures + ruled.failures, not_counted)

    def _people(self, labels: list[Label], data_set: DataSet) -> People:
        where = f"{self.folder} (classes of {data_set.file})" if data_set.file else self.folder
        return ClassRule(where, self.category_id, data_set.names, usual=0).people(label.kind for label in labels)

    def _label_files(self, source: Pictures) -> tuple[dict[int, str], list[Failure]]:
        """Each image's label file, and the label files that could be more than one image's.

        Raises:
            ConfigError: no image has one.
        """
        files: dict[int, str] = {}
        holders: dict[str, list[int]] = {}
        for index, name in enumerate(source.names):
            path = os.path.join(self.folder, f"{os.path.splitext(name)[0]}.txt")
            if os.path.isfile(path):
                holders.setdefault(path, []).append(index)
        if len(holders) < len(source.names):
            self._match_spellings(source, holders)
        failures = []
        for path, indexes in holders.items():
            if len(indexes) == 1:
                files[indexes[0]] = path
                continue
            names = either([source.names[index] for index in indexes])
            message = f"{path} could be the labels of {names}; keep only one of them in data.images."
            failures.append(Failure(os.path.relpath(path, self.folder), None, AmbiguousNameError.__name__, message))
        if not holders:
            expected = f"{os.path.splitext(source.names[0])[0]}.txt"
            raise ConfigError(f"boxes.file={self.folder} has no label file for any of the images, such as {expected}.")
        return files, failures

    def _match_spellings(self, source: Pictures, holders: dict[str, list[int]]) -> None:
        """Adds label files whose names are written otherwise, and says how many belong to no image."""
        taken = {index for indexes in holders.values() for index in indexes}
        by_stem: dict[str, list[int]] = {}
        for index, name in enumerate(source.names):
            if index not in taken:
                by_stem.setdefault(one_spelling(os.path.splitext(name)[0]), []).append(index)
        frames = None if source.frames is None else VideoFrames(source)
        unused = []
        for path in self._all_label_files():
            if path not in holders:
                stem = one_spelling(os.path.relpath(path, self.folder)[: -len(".txt")])
                indexes = by_stem.get(stem, [])
                frame = self._frame(frames, stem, path) if frames is not None and not indexes else NOWHERE
                if frame == NOT_CHOSEN:
                    continue
                if frame >= 0:
                    holders[path] = [frame]
                elif indexes:
                    holders[path] = indexes
                else:
                    unused.append(path)
        if unused and source.complete:
            log.warning("%d label files belong to none of the images: %s.", len(unused), either(unused))

    def _frame(self, frames: VideoFrames, stem: str, path: str) -> int:
        """The frame of a video that `walk_12` means, as ultralytics writes it, or why it is none."""
        match = _FRAME.fullmatch(stem)
        video = frames.find(match[1]) if match else None
        if match is None or not isinstance(video, int):
            return NOWHERE
        if len(match[2]) == _OWN_DIGITS:
            return int(frames.at_index(np.array([video]), np.array([int(match[2])]))[0])
        first = self.rules.first_frame
        if first is None and int(match[2]) == 0:
            raise ConfigError(f"{path} is of a frame 0, but labels count frames from 1; say boxes.first_frame=0.")
        index = int(match[2]) - (1 if first is None else first)
        return int(frames.at_index(np.array([video]), np.array([index]))[0])

    def _all_label_files(self) -> Iterator[str]:
        for parent, folders, names in walk(self.folder):
            folders.sort()
            for name in sorted(names):
                if name.endswith(".txt") and not name.startswith(".") and name not in CLASS_FILES:
                    yield os.path.join(parent, name)


def _without_file(source: Pictures, files: Collection[int]) -> Some:
    """Photographs without a label file."""
    photographs = photographs_of(source)
    unnamed = (source.names[index] for index in photographs if index not in files)
    return Some.of(unnamed, len(photographs) - sum(index in files for index in photographs))


def _row(image: str, label: Label, columns: Columns) -> BoxRow:
    extra = score_and_id(label, columns)
    if extra is None:
        return BoxRow(image, what_is_wrong(label), None, None, label.number)
    return BoxRow(image, label.values[:4], *extra, label.number)
