"""Annotation files as people have them: what pycocotools takes is taken, what it cannot tell is refused by name."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from conftest import COCO, GOLDEN
from pycocotools.coco import COCO as PycocoFile
from pycocotools.cocoeval import COCOeval
from test_average_precision import drawn_poses

from sapiens_pl.accuracy.annotations import read_annotations
from sapiens_pl.accuracy.average_precision import METRICS, accuracy_of
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.models.keypoint_sets import COCO as COCO_17
from sapiens_pl.models.keypoint_sets import our_set

CONTENT = json.loads((GOLDEN / "evaluation_17_annotations.json").read_text())
NOBODY = {"id": 9999, "image_id": 7, "category_id": 1, "iscrowd": 0, "area": 0, "bbox": [0, 0, 0, 0]}


def accuracy_with(tmp_path, change, encoding="utf-8", results=None, run_images=()):
    """The figures where `change` has been at the golden annotation file."""
    content = copy.deepcopy(CONTENT)
    content = change(content) or content
    (tmp_path / "annotations.json").write_text(json.dumps(content), encoding)
    poses = drawn_poses(17) if results is None else results
    return accuracy_of(poses, our_set(COCO_17), read_annotations(tmp_path / "annotations.json"), run_images)


@pytest.fixture(scope="module")
def expected():
    return accuracy_of(
        drawn_poses(17), our_set(COCO_17), read_annotations(GOLDEN / "evaluation_17_annotations.json")
    ).parts


def each_person(**values):
    def change(content):
        for row in content["annotations"]:
            row.update({key: value(row) for key, value in values.items()})

    return change


def each_image(**values):
    def change(content):
        for row in content["images"]:
            row.update({key: value(row) for key, value in values.items()})

    return change


def all_ids_as(form):
    def change(content):
        each_image(id=lambda row: form(row["id"]))(content)
        each_person(image_id=lambda row: form(row["image_id"]))(content)

    return change


def without(*keys):
    def change(content):
        for row in content["annotations"]:
            for key in keys:
                del row[key]

    return change


def with_a_person(**values):
    return lambda content: content["annotations"].append(NOBODY | values)


def no_crowd_absent(content):
    for row in content["annotations"]:
        if not row["iscrowd"]:
            del row["iscrowd"]


def with_another_category_first(content):
    content["categories"] = [{"id": 1, "name": "bicycle"}, {"id": 2, "name": "Person"}]
    for row in content["annotations"]:
        row["category_id"] = 2
    bicycle = dict(content["annotations"][0], id=777, category_id=1, bbox=[5, 5, 50, 50])
    content["annotations"].insert(0, bicycle)


SAME = {
    "keypoints empty": with_a_person(keypoints=[], num_keypoints=0),
    "keypoints null": with_a_person(keypoints=None, num_keypoints=0),
    "keypoints absent": with_a_person(num_keypoints=0),
    "keypoints without coordinates": with_a_person(keypoints=[None, None, 0] * 17),
    "num_keypoints absent": without("num_keypoints"),
    "num_keypoints null": each_person(num_keypoints=lambda row: None),
    "iscrowd absent": no_crowd_absent,
    "iscrowd null": each_person(iscrowd=lambda row: row["iscrowd"] or None),
    "keypoints as floats": each_person(keypoints=lambda row: [float(value) for value in row["keypoints"]]),
    "keypoints in triples": each_person(keypoints=lambda row: np.reshape(row["keypoints"], (17, 3)).tolist()),
    "annotations' ids are text": each_person(image_id=lambda row: str(row["image_id"])),
    "images' ids are padded text": each_image(id=lambda row: f"{row['id']:012d}"),
    "ids are floats": each_person(image_id=lambda row: float(row["image_id"])),
    "ids are words": all_ids_as(lambda number: f"picture {number:05d}"),
    "ids of more than 64 bits": all_ids_as(lambda number: number + 2**70),
    "folders": each_image(file_name=lambda row: f"val2017/{row['file_name']}"),
    "backslashes": each_image(file_name=lambda row: f"C:\\data\\val2017\\{row['file_name']}"),
    "another category first": with_another_category_first,
    "no categories": lambda content: content.pop("categories") and None,
    "category ids are text": lambda content: content["categories"][0].update(id="1"),
    "images without size": each_image(width=lambda row: None, height=lambda row: 0),
}


@pytest.mark.parametrize("what", SAME)
def test_the_same_people_give_the_same_figures(tmp_path, expected, what):
    found = accuracy_with(tmp_path, SAME[what])
    assert found.parts == expected and not found.notes


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_encodings_are_told_apart(tmp_path, expected, encoding):
    assert accuracy_with(tmp_path, lambda content: None, encoding).parts == expected


def test_people_without_points_are_what_pycocotools_makes_of_them(tmp_path):
    """Whoever is found where one of them stands is not wrong."""
    content = copy.deepcopy(CONTENT)
    labelled = [row for row in content["annotations"] if row["num_keypoints"]]
    for row in labelled[::4]:
        row.update(keypoints=[], num_keypoints=0)
    for row in labelled[1::8]:
        row.update(num_keypoints=0)  # whatever its keypoints say
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    poses = drawn_poses(17)
    found = accuracy_of(
        poses, our_set(COCO_17), read_annotations(tmp_path / "annotations.json"), oks_nms_threshold=1.0
    ).parts["body"]

    truth = PycocoFile(str(tmp_path / "annotations.json"))
    ids = {row["file_name"]: row["id"] for row in content["images"]}
    rows = []
    for result in poses:
        for points, scores, box_score in zip(result.keypoints, result.keypoint_scores, result.bbox_scores):
            visible = scores[scores > np.float32(0.2)].astype(np.float64)
            triples = np.concatenate([points, scores[:, None]], axis=1).ravel().tolist()
            score = float(box_score * visible.mean()) if len(visible) else 0.0
            rows.append({"image_id": ids[result.name], "category_id": 1, "keypoints": triples, "score": score})
    evaluation = COCOeval(truth, truth.loadRes(rows), "keypoints")
    evaluation.evaluate(), evaluation.accumulate(), evaluation.summarize()
    assert [found[name] for name in METRICS] == pytest.approx(evaluation.stats.tolist(), abs=1e-6)


def test_a_missing_area_is_said(tmp_path, expected):
    found = accuracy_with(tmp_path, without("area"))
    assert "no area" in found.notes[0] and found.parts["body"]["AP"] >= expected["body"]["AP"]


def test_other_sizes_are_said(tmp_path, expected):
    found = accuracy_with(tmp_path, lambda content: content["images"][3].update(width=17))
    assert found.parts == expected and "1 images are not as large" in found.notes[0]
    assert CONTENT["images"][3]["file_name"] in found.notes[0]


def two_with_one_id(content):
    content["images"][1]["id"] = content["images"][0]["id"]


def one_name_twice(content):
    content["images"][1]["file_name"] = content["images"][0]["file_name"]


def many_categories(content):
    content["categories"] = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]


FIRST, SECOND = (CONTENT["images"][index]["file_name"] for index in (0, 1))
REFUSED = {
    "no annotations": (lambda content: content.update(annotations=[]), "no person with keypoints"),
    "boxes only": (without("keypoints", "num_keypoints"), "no person with keypoints"),
    "two images with one id": (two_with_one_id, f"two images the id 7, {FIRST} and {SECOND}"),
    "one image with two ids": (one_name_twice, f"{FIRST} twice, with the ids"),
    "detection results": (lambda content: content["annotations"], "is a list, as detection results are"),
    "26 keypoints": (each_person(keypoints=lambda row: [1.0] * 78), "has 78 numbers, not 51"),
    "points nowhere": (each_person(keypoints=lambda row: [None, 5, 2] * 17), "without finite coordinates"),
    "text for an area": (each_person(area=lambda row: "large"), "'large' in area of annotation 1"),
    "ids of lists": (each_image(id=lambda row: [row["id"]]), "has [7] for an id"),
    "categories without people": (many_categories, "(1 cat, 2 dog); call one of them person"),
    "ids that do not meet": (
        each_person(image_id=lambda row: row["image_id"] + 10**6),
        "no person with keypoints in the 60",
    ),
    "other names": (each_image(file_name=lambda row: f"x{row['file_name']}"), "None of the run's images"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_compared_is_said_in_a_sentence(tmp_path, what):
    change, complaint = REFUSED[what]
    with pytest.raises(ConfigError) as caught:
        accuracy_with(tmp_path, change)
    assert complaint in str(caught.value) and "annotations.json" in str(caught.value) and "\n" not in str(caught.value)


def test_an_annotated_image_is_one_image_of_the_run(tmp_path, expected):
    poses = drawn_poses(17)
    elsewhere = [result._replace(name=f"camA/{result.name}") for result in poses]
    assert accuracy_with(tmp_path, lambda content: None, results=elsewhere).parts == expected
    doubled = [*elsewhere, poses[0]._replace(name=f"camB/{poses[0].name}")]
    with pytest.raises(ConfigError, match=r"camA/.* and camB/.* would both be image 7 of"):
        accuracy_with(tmp_path, lambda content: None, results=doubled, run_images=[result.name for result in doubled])
    # ... and where one has the very name, it is the one.
    doubled = [poses[0]._replace(name=f"camB/{poses[0].name}"), *poses]
    names = [result.name for result in doubled]
    assert accuracy_with(tmp_path, lambda content: None, results=doubled, run_images=names).parts == expected


def test_ids_of_a_box_file_serve_where_names_do_not(tmp_path, expected):
    ids = {row["file_name"]: row["id"] for row in CONTENT["images"]}
    renamed = [
        result._replace(name=f"r{ids[result.name]}.png", image_id=ids[result.name]) for result in drawn_poses(17)
    ]
    assert accuracy_with(tmp_path, lambda content: None, results=renamed).parts == expected
    smaller = [result._replace(image_wh=(5, 5)) for result in renamed]  # other pictures that happen to have the ids
    with pytest.raises(ConfigError, match="None of the run's images"):
        accuracy_with(tmp_path, lambda content: None, results=smaller)


def test_the_wholebody_file_keeps_its_people_without_body_points(tmp_path):
    content = json.loads((COCO / "test_coco_wholebody.json").read_text())
    people = read_annotations(COCO / "test_coco_wholebody.json").people
    assert len(people) == len(content["annotations"])
