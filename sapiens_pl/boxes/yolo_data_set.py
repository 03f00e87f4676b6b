"""What a `data.yaml` or a `classes.txt` beside YOLO's labels says of them."""

from __future__ import annotations

import logging
import os
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from sapiens_pl.boxes.classes import ClassId
from sapiens_pl.boxes.files import whole
from sapiens_pl.core.text_files import read_text
from sapiens_pl.core.wording import one_line

log = logging.getLogger(__name__)

CLASS_FILES = ("classes.txt", "obj.names", "_darknet.labels")
_DATA_FILES = ("data.yaml", "data.yml", "dataset.yaml")


class DataSet(NamedTuple):
    """What stands beside the labels: the classes' names, and how many keypoints a pose has with how many numbers each.

    `file` says it, None if none does.
    """

    file: str | None
    names: dict[ClassId, str]
    keypoints: tuple[int, int] | None


def data_set_of(folder: str) -> DataSet:
    """Looks for `data.yaml` and `classes.txt` in the labels' folder and the two above it."""
    above = os.path.dirname(os.path.abspath(folder))
    for place in (os.path.abspath(folder), above, os.path.dirname(above)):
        for name in _DATA_FILES:
            found = _from_yaml(os.path.join(place, name))
            if found is not None:
                return found
        for name in CLASS_FILES:
            path = os.path.join(place, name)
            if os.path.isfile(path):
                lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
                return DataSet(path, dict(enumerate(lines)), None)
    return DataSet(None, {}, None)


def _from_yaml(path: str) -> DataSet | None:
    if not os.path.isfile(path):
        return None
    try:
        data: Any = OmegaConf.to_container(OmegaConf.create(read_text(path)))
    except Exception as error:  # PyYAML's errors and OmegaConf's have no common class
        log.warning("%s was not looked at (%s).", path, one_line(error))
        return None
    names = data.get("names") if isinstance(data, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict):
        return None
    shape = data.get("kpt_shape")
    known = isinstance(shape, list) and len(shape) == 2 and all(type(size) is int and size > 0 for size in shape)
    if known and len(names) == 1:  # what has keypoints and is alone
        names = dict.fromkeys(names, "person")
    by_number: dict[ClassId, str] = {}
    for key, name in names.items():
        number = whole(str(key))
        by_number[str(key) if number is None else number] = str(name)
    return DataSet(path, by_number, (shape[0], shape[1]) if known else None)
