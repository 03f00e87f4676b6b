"""Boxes that are written otherwise than `boxes.format` says are told by their pictures' sizes; right ones never are."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from conftest import COCO

from sapiens_pl.boxes.coco_boxes import CocoBoxes
from sapiens_pl.boxes.json_boxes import JsonBoxes
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.pictures.folder import list_images

WIDTH, HEIGHT = 640, 360
KINDS = {"anywhere": (0.05, 0.6), "small": (0.01, 0.05), "close-ups": (0.75, 1.0)}
"""How large people are, as parts of the picture."""


def corners(kind, count, rng):
    low, high = KINDS[kind]
    wh = rng.uniform(low, high, (count, 2)) * (WIDTH, HEIGHT)
    xy = rng.uniform(0, 1, (count, 2)) * ((WIDTH, HEIGHT) - wh)
    return np.concatenate([xy, xy + wh], axis=1).round(1) + [0, 0, 0.1, 0.1]


def written(boxes, format):
    xy, wh = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    parts = {"xyxy": (xy, boxes[:, 2:]), "xywh": (xy, wh), "cxcywh": (xy + wh / 2, wh)}[format]
    return np.concatenate(parts, axis=1).round(2)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(10):
        cv2.imwrite(str(folder / f"{number}.jpg"), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    return list_images(folder)


def boxed(pictures, tmp_path, rows, said):
    by_name = {name: rows[index::10].tolist() for index, name in enumerate(pictures.names)}
    (tmp_path / "boxes.json").write_text(json.dumps(by_name))
    return JsonBoxes(str(tmp_path / "boxes.json"), format=said)(pictures).not_counted


@pytest.mark.parametrize("format", ["xyxy", "xywh", "cxcywh"])
@pytest.mark.parametrize("kind", KINDS)
def test_right_files_are_taken_without_a_word(pictures, tmp_path, kind, format):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        counted = boxed(pictures, tmp_path, written(corners(kind, 100, rng), format), format)
        assert counted.used == 100 and counted.remedy == ""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("written_as, said", [("xyxy", "xywh"), ("xywh", "xyxy"), ("cxcywh", "xyxy")])
def test_other_formats_are_refused_and_named(pictures, tmp_path, kind, written_as, said):
    rows = written(corners(kind, 100, np.random.default_rng(1)), written_as)
    if kind == "close-ups" and said == "xyxy" and not (rows[:, :2] > rows[:, 2:]).any():
        assert boxed(pictures, tmp_path, rows, said).used == 100  # which nothing can tell from smaller boxes
        return
    with pytest.raises(ConfigError, match=r"(boxes.format=[a-z ]*|are inverted: was boxes.format=)xy.* meant\?"):
        boxed(pictures, tmp_path, rows, said)


def test_few_inverted_boxes_are_no_other_format(pictures, tmp_path):
    rows = corners("anywhere", 100, np.random.default_rng(0))
    rows[:15] = rows[:15, [2, 1, 0, 3]]
    counted = boxed(pictures, tmp_path, rows, "xyxy")
    assert (counted.inverted, counted.unusable, counted.used, counted.remedy) == (15, 15, 85, "")


def test_of_few_boxes_the_setting_is_only_suggested(pictures, tmp_path):
    rows = np.array([[30, 20, 200, 300], [300, 20, 310, 330], [20, 10, 400, 320], [30, 20, 500, 300]] * 2, float)
    counted = boxed(pictures, tmp_path, rows, "xyxy")
    assert counted.remedy == "" and counted.used == 8
    rows[1] = [300, 20, 100, 330]
    assert boxed(pictures, tmp_path, rows, "xyxy").remedy == "boxes.format=xywh"


def test_published_boxes_are_right():
    found = CocoBoxes(str(COCO / "test_coco_det_AP_H_56.json"))(list_images(COCO))
    assert found.not_counted.remedy == "" and found.not_counted.unusable == 0
