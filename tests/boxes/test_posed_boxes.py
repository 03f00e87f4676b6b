"""The annotation file of a run as its box file: boxes that nobody changed are those that people were posed in."""

from __future__ import annotations

import copy
import json

import cv2
import numpy as np
import pytest
from records.made_up import make_records, pose_result

from sapiens_pl.boxes.coco_boxes import CocoBoxes
from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.plan import Pictures
from sapiens_pl.data.digests import digests
from sapiens_pl.products.coco_annotations import CocoAnnotations
from sapiens_pl.records.reading import Records

NAMES = ("a.jpg", "b.jpg", "c.jpg", "d.jpg")


@pytest.fixture
def content(tmp_path):
    """What a run with odd boxes, low scores, boxes that overlap and somebody without a keypoint hands out."""
    results = []
    for name, count in zip(NAMES, (2, 1, 0, 3)):
        rng = np.random.default_rng(count)
        boxes = np.array([[1 / 3, 2 / 7, 100.005, 200]] * count).reshape(-1, 4) + rng.random((count, 4))
        scores = np.linspace(0.05, 0.9, count)
        ids = np.array([5, 0, 2])[:count]
        result = pose_result(name, count, bboxes=boxes, bbox_scores=scores, instance_ids=ids)
        results.append(result._replace(keypoints=np.full_like(result.keypoints, -9 if name == "b.jpg" else 50)))
    make_records(tmp_path, results)
    CocoAnnotations(0.3).write(Records.read(tmp_path), tmp_path)
    return json.loads((tmp_path / "coco_annotations.json").read_text()), results


def boxes_of(tmp_path, content, **options):
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    tasks, failures, _ = CocoBoxes(str(tmp_path / "boxes.json"), **options)(Pictures("/photos", Names.of(NAMES), True))
    assert not failures
    return tasks


def digests_of(tasks):
    return digests(tasks.boxes).tolist()


def rounded(content):
    """As datumaro keeps it: two decimals, whatever else is in `attributes`."""
    for person in content["annotations"]:
        person["bbox"] = [round(number + 0.004, 2) for number in person["bbox"]]
        person["attributes"] = {key: str(value) for key, value in person["attributes"].items()}


def test_a_file_that_nobody_touched_has_the_boxes_of_the_run(tmp_path, content):
    content, results = content
    for change in (lambda content: None, rounded):
        file = copy.deepcopy(content)
        change(file)
        for task, result in zip(boxes_of(tmp_path, file), results, strict=True):
            np.testing.assert_array_equal(task.bboxes_xyxy, result.bboxes)
            np.testing.assert_array_equal(task.bbox_scores, result.bbox_scores)
            np.testing.assert_array_equal(task.instance_ids, result.instance_ids)


def test_only_what_was_changed_differs(tmp_path, content):
    content, _ = content
    whole = digests_of(boxes_of(tmp_path, content))
    changed = copy.deepcopy(content)
    changed["annotations"][0]["bbox"][0] += 0.5
    assert [one == other for one, other in zip(whole, digests_of(boxes_of(tmp_path, changed)))] == [False, *[True] * 3]
    for drop in (1, 2, 4):
        fewer = copy.deepcopy(content)
        picture = fewer["annotations"].pop(drop)["image_id"]
        same = [one == other for one, other in zip(whole, digests_of(boxes_of(tmp_path, fewer)))]
        assert same == [number != picture - 1 for number in range(4)]


@pytest.mark.parametrize("change", [lambda content: None, rounded])
def test_a_file_with_some_people_only_is_refused_as_boxes(tmp_path, content, change):
    CocoAnnotations(0.3, worst=4).write(Records.read(tmp_path), tmp_path)
    some = json.loads((tmp_path / "coco_annotations.json").read_text())
    assert len(some["annotations"]) == 4
    change(some)
    with pytest.raises(ConfigError, match=r"output.worst=4.* lose their poses; give it as annotations=FILE"):
        boxes_of(tmp_path, some)
    CocoAnnotations(0.3, worst=6).write(Records.read(tmp_path), tmp_path)
    boxes_of(tmp_path, json.loads((tmp_path / "coco_annotations.json").read_text()))


def test_who_was_added_has_an_id_of_its_own_and_a_score_of_one(tmp_path, content):
    content, _ = content
    content["annotations"] += [
        {"id": 90 + number, "image_id": image, "category_id": 1, "bbox": [5, 5, 30, 40], "keypoints": [50, 50, 2] * 17}
        for number, image in enumerate((1, 1, 3))
    ]
    first, _, third, _ = boxes_of(tmp_path, content)
    assert first.instance_ids.tolist() == [5, 0, 6, 7] and first.bbox_scores[2:].tolist() == [1, 1]
    assert first.bboxes_xyxy[2].tolist() == [5, 5, 35, 45]
    assert third.instance_ids.tolist() == [0]


def test_other_files_are_read_as_ever(tmp_path, content):
    """Without the attributes a file of a run is one of anybody's, and thresholds count."""
    content, _ = content
    for person in content["annotations"]:
        person["score"], person["attributes"] = 0.9, {"occluded": False}
    first, second, *_ = boxes_of(tmp_path, content, score_threshold=0.3)
    assert first.num_boxes == 1 and second.num_boxes == 0


def test_a_run_poses_again_what_was_corrected_and_nothing_else(predict, mini, tmp_path):
    (tmp_path / "images").mkdir()
    for name in NAMES:
        pixels = np.random.default_rng(ord(name[0])).integers(0, 256, (80, 60, 3)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "images" / name), pixels)
    boxes = {name: [[5 + 1 / 3, 5, 50, 60], [1, 1, 40.125, 70]] for name in NAMES}
    (tmp_path / "first.json").write_text(json.dumps(boxes))
    settings = [f"data.images={tmp_path / 'images'}", "data.num_workers=0", *mini, "output.formats=[coco_annotations]"]
    first = predict(*settings, "boxes=json", f"boxes.file={tmp_path / 'first.json'}")
    assert first.code == 0, first.err
    content = json.loads((first.folder / "coco_annotations.json").read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    for person in content["annotations"]:
        if names[person["image_id"]] == "c.jpg":
            person["bbox"][2] += 3
    (tmp_path / "corrected.json").write_text(json.dumps(content))
    corrected = ["boxes=coco", f"boxes.file={tmp_path / 'corrected.json'}"]
    second = predict(*settings, *corrected, "output.redo=changed")
    assert second.code == 0 and second.info["counts"]["images_done"] == 1, second.err
    assert (second.folder / "changed.txt").read_text() == "c.jpg\n"
    third = predict(*settings, *corrected, "output.redo=changed")
    assert third.code == 0 and third.info["counts"]["images_planned"] == 0, third.err
