"""What became of each row of a box file: nothing disappears without a number."""

from __future__ import annotations

import json

import pytest

from sapiens_pl.boxes.coco_boxes import CocoBoxes
from sapiens_pl.boxes.csv_boxes import CsvBoxes
from sapiens_pl.boxes.json_boxes import JsonBoxes
from sapiens_pl.boxes.mot_boxes import MotBoxes
from sapiens_pl.boxes.yolo_boxes import YoloBoxes
from sapiens_pl.core.columns import Names
from sapiens_pl.core.not_counted import NotCounted, RowsNotCounted, Some, sum_of
from sapiens_pl.core.plan import Pictures

PICTURES = Pictures("/photos", Names.of(["a.jpg", "b.jpg", "c.jpg", "d.jpg"]))
WHOLE, LOW, TWIN, ELSEWHERE = [10, 20, 90, 200], [10, 20, 80, 190], [11, 20, 91, 200], [1, 2, 3, 4]
EXPECTED = RowsNotCounted(
    rows=9,
    used=2,
    classes={"person": 8, "dog": 1},
    other_classes=1,
    below_score=1,
    overlapping=1,
    unusable=2,
    inverted=1,
    without_picture=2,
    unknown=Some(1, ["lost.jpg"]),
    unnamed=Some(2, ["c.jpg", "d.jpg"]),
)


def rows():
    """Picture, xyxy box, score and class of one row of each kind."""
    return [
        *[("a.jpg", WHOLE, 0.9, "person"), ("a.jpg", LOW, 0.1, "person"), ("a.jpg", TWIN, 0.8, "person")],
        *[("a.jpg", [90, 20, 10, 200], 0.9, "person"), ("b.jpg", [5, 5, 5, 60], 0.9, "person")],
        *[("b.jpg", WHOLE, 0.9, "person"), ("b.jpg", WHOLE, 0.9, "dog")],
        *[("lost.jpg", ELSEWHERE, 0.9, "person")] * 2,
    ]


def as_json():
    return json.dumps(
        [{"image": name, "bbox": box, "score": score, "class": kind} for name, box, score, kind in rows()]
    )


def as_csv():
    lines = [f"{name},{','.join(map(str, box))},{score},{kind}" for name, box, score, kind in rows()]
    return "\n".join(["image,x1,y1,x2,y2,score,class", *lines])


def as_coco():
    names = ["a.jpg", "b.jpg", "lost.jpg"]
    annotations = [
        {
            "id": number,
            "image_id": names.index(name),
            "category_id": 1 if kind == "person" else 18,
            "bbox": [*box[:2], box[2] - box[0], box[3] - box[1]],
            "score": score,
        }
        for number, (name, box, score, kind) in enumerate(rows())
    ]
    images = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    categories = [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}]
    return json.dumps({"images": images, "annotations": annotations, "categories": categories})


@pytest.mark.parametrize("kind, content", [(JsonBoxes, as_json), (CsvBoxes, as_csv), (CocoBoxes, as_coco)])
def test_every_row_is_accounted_for(tmp_path, kind, content):
    (tmp_path / "boxes").write_text(content())
    thresholds = {"score_threshold": 0.3, "nms_threshold": 0.5}
    boxed = kind(str(tmp_path / "boxes"), **thresholds)(PICTURES)
    assert boxed.not_counted == EXPECTED._replace(file=str(tmp_path / "boxes"))
    assert boxed.not_counted.rows == boxed.not_counted.used + boxed.not_counted.num_left_out
    assert sum(task.num_boxes for task in boxed.tasks) == boxed.not_counted.used


def test_crowds_and_people_without_keypoints_are_counted(tmp_path):
    content = json.loads(as_coco())
    content["annotations"][0]["iscrowd"] = 1
    content["annotations"][5]["num_keypoints"] = 0
    content["annotations"].append({"bbox": [1, 2, 3, 4]})
    (tmp_path / "boxes").write_text(json.dumps(content))
    found = CocoBoxes(str(tmp_path / "boxes"), nms_threshold=0.5)(PICTURES).not_counted
    assert (found.rows, found.ignored, found.unusable, found.used) == (10, 2, 3, 1)


@pytest.mark.parametrize("odd", [[], ["what is that"]], ids=["plain", "line by line"])
def test_lines_of_motchallenge(tmp_path, odd):
    lines = [
        *["1,1,11,11,20,40,1,1,1", "1,2,11,11,20,40,0,1,1", "2,1,11,11,20,40,1,3,1", "2,2,1,1,0,5,1,1,1"],
        *["9,1,11,11,20,40,1,1,1", *odd],
    ]
    (tmp_path / "gt.txt").write_text("\n".join(lines) + "\n")
    pictures = Pictures("/photos", Names.of(["f_1.jpg", "f_2.jpg"]))
    found = MotBoxes(str(tmp_path / "gt.txt"))(pictures).not_counted
    assert (found.rows, found.used, found.ignored, found.other_classes) == (5 + len(odd), 1, 1, 1)
    assert (found.unusable, found.without_picture) == (1 + len(odd), 1)
    assert found.classes == {"person": 3, "car": 1} and found.unknown == Some(1, ["frame 9"])


def test_lines_of_yolo_and_pictures_without_labels(tmp_path):
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.2 0.4\n16 0.5 0.5 0.2 0.4\n0 0.5 0.5 0 0.4\n")
    found = YoloBoxes(str(tmp_path))(PICTURES).not_counted
    assert (found.rows, found.used, found.other_classes, found.unusable) == (3, 1, 1, 1)
    assert found.unnamed == Some(3, ["b.jpg", "c.jpg", "d.jpg"])


def test_what_all_processes_have_seen_counts_once_and_shares_add_up():
    one, other = RowsNotCounted(rows=5, used=3, too_small=2), RowsNotCounted(rows=4, used=4, classes={"dog": 1})
    assert sum_of([NotCounted(boxes=one), NotCounted(boxes=one)]).boxes == one
    both = sum_of([NotCounted(boxes=one, whole=False), NotCounted(boxes=other, whole=False)])
    assert (both.boxes.rows, both.boxes.used, both.boxes.too_small, both.boxes.classes) == (9, 7, 2, {"dog": 1})
    assert sum_of([NotCounted()], earlier=both).boxes == both.boxes and sum_of([NotCounted()]) is None
