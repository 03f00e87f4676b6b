"""Boxes from YOLO's label files, one for each image."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from sapiens_pl.data.box_files import lines_of, whole
from sapiens_pl.data.box_rules import BoxRow, BoxRules
from sapiens_pl.data.boxes import BoxedImages
from sapiens_pl.data.sources import ImageSource
from sapiens_pl.errors import ConfigError


class YoloBoxes:
    """Boxes from a folder of YOLO's label files, one for each image (`boxes=yolo`).

    The boxes of `a/b.jpg` stand in `a/b.txt` below the folder, a line each: `class cx cy w h`, parts of the image's
    width and height, then where given the score and the track id. An image without such a file has nobody in it.

    Args:
        file: the folder.
        category_id: the person class's number.
        rules: as in `BoxRules`.

    Raises:
        ConfigError: no such folder, or it has nothing for any of the images (when called).
    """

    def __init__(self, file: str | None, *, category_id: int = 0, format: str = "cxcywhn", **rules: Any) -> None:
        if not file or not os.path.isdir(os.path.expanduser(str(file))):
            raise ConfigError(f"boxes.file={file} is no folder; give the one with YOLO's label files (.txt).")
        self.folder, self.category_id = os.path.expanduser(str(file)), category_id
        self.rules = BoxRules(format, **rules)

    def __call__(self, source: ImageSource) -> BoxedImages:
        tasks, failures, num_files = [], [], 0
        for file in source.files:
            label_file = os.path.join(self.folder, f"{os.path.splitext(file.name)[0]}.txt")
            rows: list[BoxRow] = []
            if os.path.isfile(label_file):
                num_files += 1
                rows = [row for number, line in lines_of(label_file) for row in self._rows(file.name, number, line)]
            task, complaints = self.rules.apply(file, rows, f"{label_file}, line")
            tasks.append(task)
            failures += complaints
        if not num_files:
            expected = f"{os.path.splitext(source.files[0].name)[0]}.txt"
            raise ConfigError(f"boxes.file={self.folder} has no label file for any of the images, such as {expected}.")
        return BoxedImages(tasks, failures)

    def _rows(self, image: str, number: int, line: str) -> Iterator[BoxRow]:
        fields = line.split()
        if not 5 <= len(fields) <= 7:
            yield BoxRow(image, line.strip(), None, None, number)
        elif whole(fields[0]) == self.category_id:
            score, identity = (fields[5:] + [None, None])[:2]
            yield BoxRow(image, fields[1:5], score, identity, number)
