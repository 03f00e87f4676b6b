from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import COCO

from sapiens_pl.boxes.coco_boxes import CocoBoxes
from sapiens_pl.boxes.json_boxes import JsonBoxes
from sapiens_pl.boxes.matching import WholeImage
from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.plan import Pictures
from sapiens_pl.pictures.folder import list_images


def source_of(*names, complete=True):
    return Pictures("/photos", Names.of(names), complete)


def from_json(tmp_path, text, *names, **options):
    path = tmp_path / "boxes.json"
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    return JsonBoxes(str(path), **options)(source_of(*names))


def test_coco_annotations_give_the_twelve_people(people):
    tasks, failures, _ = CocoBoxes(str(COCO / "test_coco.json"))(list_images(COCO))
    assert not failures
    assert [task.num_boxes for task in tasks] == [1, 2, 4, 5]
    annotations = json.loads((COCO / "test_coco.json").read_text())["annotations"]
    ids = {row["id"] for row in annotations if row["num_keypoints"]}
    assert {int(i) for task in tasks for i in task.instance_ids} == ids
    for task in tasks:
        np.testing.assert_allclose(task.bboxes_xyxy, people[task.name], atol=1e-3)
        assert (task.bbox_scores == 1).all()


def test_coco_detections_find_their_images_with_and_without_a_list():
    rows = json.loads((COCO / "test_coco_det_AP_H_56.json").read_text())
    source = list_images(COCO)
    by_name = CocoBoxes(str(COCO / "test_coco_det_AP_H_56.json"))(source)
    by_list = CocoBoxes(str(COCO / "test_coco_det_AP_H_56.json"), images_file=str(COCO / "test_coco.json"))(source)
    for one, other in zip(by_name.tasks, by_list.tasks):
        np.testing.assert_array_equal(one.bboxes_xyxy, other.bboxes_xyxy)
    everything = CocoBoxes(str(COCO / "test_coco_det_AP_H_56.json"), score_threshold=0.0, nms_threshold=None)(source)
    assert sum(task.num_boxes for task in everything.tasks) == len(rows) == 118
    kept = np.concatenate([task.bbox_scores for task in by_name.tasks])
    assert kept.min() >= 0.3
    assert len(kept) < sum(row["score"] >= 0.3 for row in rows)  # suppression took some more
    assert by_name.tasks[0].num_boxes == 1


def test_json_keeps_order_scores_and_ids(tmp_path):
    content = {"a.jpg": [[0, 0, 10, 20], [5, 5, 9, 9, 0.25], {"bbox": [1, 1, 2, 2], "score": 0.5, "id": 77}]}
    (a, b), failures, _ = from_json(tmp_path, content, "a.jpg", "b.jpg")
    assert a.bboxes_xyxy.tolist() == [[0, 0, 10, 20], [5, 5, 9, 9], [1, 1, 2, 2]]
    assert a.bbox_scores.tolist() == [1.0, 0.25, 0.5]
    assert a.instance_ids.tolist() == [0, 1, 77]
    assert b.num_boxes == 0 and not failures


@pytest.mark.parametrize(
    "text",
    [
        '{"image": "a.jpg", "bboxes": [[0, 0, 4, 4], [1, 1, 3, 3]]}\n\n{"path": "s/b.jpg", "boxes": []}\n',
        '{"a.jpg": [[0, 0, 4, 4], [1, 1, 3, 3]]}\n{"s/b.jpg": []}\n',
        '[{"image": "a.jpg", "bbox": [0, 0, 4, 4]}, {"image": "a.jpg", "bbox": [1, 1, 3, 3]}]',
        '{"a.jpg": {"bboxes": [[0, 0, 4, 4], [1, 1, 3, 3]]}}',
        '{"/photos/a.jpg": [[0, 0, 4, 4], [1, 1, 3, 3]]}',
        '{"photos/a.jpg": [[0, 0, 4, 4], [1, 1, 3, 3]]}',
    ],
)
def test_the_ways_to_write_json_mean_the_same(tmp_path, text):
    tasks, failures, _ = from_json(tmp_path, text, "a.jpg", "s/b.jpg")
    assert tasks[0].bboxes_xyxy.tolist() == [[0, 0, 4, 4], [1, 1, 3, 3]]
    assert tasks[0].instance_ids.tolist() == [0, 1]
    assert tasks[1].num_boxes == 0 and not failures


def test_xywh_and_thresholds(tmp_path):
    content = {"a.jpg": [[10, 20, 30, 40, 0.9], [11, 21, 30, 40, 0.8], [200, 20, 30, 40, 0.1]]}
    (task,), *_ = from_json(tmp_path, content, "a.jpg", format="xywh", score_threshold=0.2, nms_threshold=0.5)
    assert task.bboxes_xyxy.tolist() == [[10, 20, 40, 60]]


BAD_BOXES = [
    [0, 0, 0, 10],
    [5, 5, 5, 5],
    [10, 0, 5, 10],
    [0, 10, 10, 5],
    [0, 0, float("nan"), 5],
    [0, 0, float("inf"), 5],
    ["a", 0, 1, 1],
    "box",
    None,
    [1, 2, 3],
    [[1], 2, 3, 4],
    [0, 0, 1e300, 1e300],
    [0, 0, 10**400, 5],
    [0, 0, 5, 5, float("inf")],
    [0, 0, 5, 5, 10**400],
]


def test_bad_boxes_are_named_and_the_good_one_stays(tmp_path):
    (task,), failures, _ = from_json(tmp_path, {"a.jpg": [*BAD_BOXES, [1, 2, 3, 4]]}, "a.jpg")
    assert task.bboxes_xyxy.tolist() == [[1, 2, 3, 4]]
    assert task.instance_ids.tolist() == [len(BAD_BOXES)]
    assert [failure.instance_id for failure in failures] == list(range(len(BAD_BOXES)))
    assert all(f.error == "BoxError" and "Box" in f.message and "/photos/a.jpg" in f.message for f in failures)


def test_a_box_file_naming_absent_images_is_accounted_for(tmp_path):
    content = {"a.jpg": [[0, 0, 1, 1]], "gone.jpg": [[0, 0, 1, 1]], "empty.jpg": []}
    tasks, failures, _ = from_json(tmp_path, content, "a.jpg")
    assert len(tasks) == 1
    assert [(f.image, f.instance_id, f.error) for f in failures] == [
        ("gone.jpg", None, "MissingImageError"),
        ("empty.jpg", None, "MissingImageError"),
    ]


def test_alike_names_in_other_folders_are_not_mixed_up(tmp_path):
    tasks, failures, _ = from_json(tmp_path, {"x/a.jpg": [[0, 0, 1, 1]], "a.jpg": [[0, 0, 2, 2]]}, "x/a.jpg", "y/a.jpg")
    assert [task.num_boxes for task in tasks] == [1, 0]
    assert tasks[0].bboxes_xyxy.tolist() == [[0, 0, 1, 1]]
    assert [failure.image for failure in failures] == ["a.jpg"]


def test_ids_that_are_no_numbers_give_way_to_positions(tmp_path):
    rows = [{"bbox": [0, 0, 1, 1], "id": identity} for identity in ("seven", 2**70, True, 5)]
    (task,), *_ = from_json(tmp_path, {"a.jpg": rows}, "a.jpg")
    assert task.instance_ids.tolist() == [0, 1, 2, 5]


def test_the_whole_image_is_one_box():
    tasks, *_ = WholeImage()(source_of("a.jpg"))
    assert tasks[0].bboxes_xyxy is None and tasks[0].num_boxes == 1


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("not json", "line 1"),
        ("[" * 100_000, "line 1"),
        ('{"image": 3}\n{}', "line 1: .*does not say which image"),
        ("3", "neither an object nor a list"),
    ],
)
def test_files_that_are_no_box_files_are_refused(tmp_path, text, complaint):
    with pytest.raises(ConfigError, match=complaint):
        from_json(tmp_path, text, "a.jpg")


def test_settings_that_cannot_be_meant_are_refused(tmp_path):
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(ConfigError, match="^format='ltrb' must be one of xyxy"):
        JsonBoxes(str(tmp_path / "b.json"), format="ltrb")
    with pytest.raises(ConfigError, match="^score_threshold='high' must be a number, or None"):
        JsonBoxes(str(tmp_path / "b.json"), score_threshold="high")
    with pytest.raises(ConfigError, match="boxes.file is not set"):
        JsonBoxes(None)
    with pytest.raises(ConfigError, match="neither a COCO"):
        CocoBoxes(str(tmp_path / "b.json"))(source_of("a.jpg"))
