from __future__ import annotations

import numpy as np
import pytest

from sapiens_pl.boxes.coco_boxes import CocoBoxes
from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.plan import Pictures
from sapiens_pl.detection.rules import PersonRules

BOXES = np.array([[0, 0, 10, 30], [100, 0, 130, 60], [101, 2, 131, 61], [200, 0, 290, 20], [5, 5, 6, 50]], np.float32)
SCORES = np.array([0.5, 0.8, 0.9, 0.29, 0.7], np.float32)


def kept(**given):
    rules = {"score_threshold": 0.3, "nms_threshold": 0.3, "largest_n": None, "min_size": 1} | given
    return PersonRules(**rules)(BOXES, SCORES)


def test_the_likeliest_come_first_as_corner_and_sides():
    np.testing.assert_array_equal(kept(), [[101, 2, 30, 59, 0.9], [5, 5, 1, 45, 0.7], [0, 0, 10, 30, 0.5]])


@pytest.mark.parametrize(
    ("given", "scores"),
    [
        ({"score_threshold": 0.0}, [0.9, 0.7, 0.5, 0.29]),
        ({"score_threshold": 0.85}, [0.9]),
        ({"nms_threshold": None}, [0.9, 0.8, 0.7, 0.5]),
        ({"min_size": 5}, [0.9, 0.5]),
        ({"largest_n": 1}, [0.9]),
        ({"largest_n": 2, "score_threshold": 0.0}, [0.9, 0.29]),
        ({"largest_n": 2, "min_size": 5}, [0.9, 0.5]),
    ],
)
def test_each_setting_leaves_out_what_it_says(given, scores):
    assert kept(**given)[:, 4].tolist() == scores


def test_boxes_without_area_or_without_numbers_are_nobody():
    boxes = np.array([[3, 3, 3, 9], [9, 9, 3, 3], [0, 0, np.nan, 9], [0, 0, 0.004, 9], [0, 0, 9, 9]], np.float32)
    rules = PersonRules(0.3, 0.3, None, 0)
    assert len(rules(boxes, np.full(5, 0.9, np.float32))) == 1
    assert rules(np.empty((0, 4), np.float32), np.empty(0, np.float32)).shape == (0, 5)


def test_a_coco_reader_with_the_same_thresholds_leaves_all_that_is_written(tmp_path):
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 200, (300, 2))
    boxes = np.column_stack([corners, corners + rng.uniform(1, 120, (300, 2))]).astype(np.float32)
    rows = PersonRules(0.3, 0.3, None, 1)(boxes, rng.uniform(0.2, 1, 300).astype(np.float32))
    people = ", ".join(
        f'{{"image_id": 7, "category_id": 1, "bbox": {row[:4].tolist()}, "score": {row[4]}}}' for row in rows
    )
    (tmp_path / "people.json").write_text(f"[{people}]")
    source = Pictures(str(tmp_path), Names.of(["7.jpg"]), complete=False)
    task = CocoBoxes(str(tmp_path / "people.json"))(source).tasks[0]
    assert task.num_boxes == len(rows) > 20
    np.testing.assert_array_equal(task.bbox_scores, rows[:, 4])


@pytest.mark.parametrize(
    "given",
    [{"score_threshold": "high"}, {"nms_threshold": -1}, {"largest_n": 0}, {"largest_n": 1.5}, {"min_size": True}],
)
def test_values_that_cannot_work_are_refused_by_name(given):
    with pytest.raises(ConfigError, match=f"^{next(iter(given))}=.* must be"):
        kept(**given)


def test_what_is_left_out_is_counted():
    boxes = np.array([[0, 0, 50, 90], [1, 1, 51, 91], [60, 0, 61, 90], [100, 0, 120, 90], [0, 0, 9, 9]], np.float32)
    rules = PersonRules(0.3, 0.3, 1, 5)
    assert len(rules(boxes, np.array([0.9, 0.8, 0.7, 0.6, 0.1], np.float32))) == 1
    found = rules.counted
    assert (found.rows, found.used, found.overlapping, found.too_small, found.not_largest) == (4, 1, 1, 1, 1)
    rules(boxes[:1], np.array([0.9], np.float32))
    assert (rules.counted.rows, rules.counted.used) == (5, 2)
