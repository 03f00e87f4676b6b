"""The COCO annotation file, as pycocotools loads it."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from records.made_up import make_records, pose_result

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.products.coco_annotations import CocoAnnotations
from sapiens_pl.products.suspicions import judged
from sapiens_pl.products.worst import WorstTable
from sapiens_pl.records.reading import Records

NAMES = ("b/000000000785.jpg", "000000000009.jpg", "nobody 12.jpg", "ünï,'3'.jpg")


def written(folder, results, num_keypoints=17, threshold=0.4, **some):
    make_records(folder, results, num_keypoints)
    CocoAnnotations(threshold, **some).write(Records.read(folder), folder)
    return folder / "coco_annotations.json"


def some_results(num_keypoints):
    counts = (2, 1, 0, 3)
    return [pose_result(name, count, num_keypoints) for name, count in zip(NAMES, counts)]


@pytest.mark.parametrize("num_keypoints", [17, 133, 308, 5])
def test_pycocotools_finds_every_person_with_its_keypoints(tmp_path, num_keypoints, capsys):
    results = some_results(num_keypoints)
    coco = COCO(str(written(tmp_path, results, num_keypoints)))
    keypoint_set = Records.read(tmp_path).keypoint_set
    (category,) = coco.loadCats(coco.getCatIds())
    assert category["name"] == "person" and category["keypoints"] == list(keypoint_set.names)
    assert category["skeleton"] == [[start + 1, end + 1] for start, end in keypoint_set.skeleton]
    assert all(1 <= number <= num_keypoints for link in category["skeleton"] for number in link)
    images = {image["file_name"]: image for image in coco.loadImgs(coco.getImgIds())}
    assert list(images) == sorted(NAMES) and len(coco.getAnnIds()) == 6 == len(set(coco.getAnnIds()))
    assert min(coco.getAnnIds()) == 1
    for result in results:
        image = images[result.name]
        assert (image["width"], image["height"]) == result.image_wh
        people = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]], iscrowd=False))
        assert len(people) == len(result.instance_ids)
        for row, person in enumerate(people):
            left, top, width, height = person["bbox"]
            np.testing.assert_allclose([left, top, left + width, top + height], result.bboxes[row], atol=0.0101)
            assert person["area"] == pytest.approx(width * height) and person["category_id"] == category["id"]
            x, y, flags = np.reshape(person["keypoints"], (-1, 3)).T
            assert len(flags) == num_keypoints and person["num_keypoints"] == (flags > 0).sum()
            np.testing.assert_allclose(x[flags > 0], result.keypoints[row, flags > 0, 0], atol=5.1e-3)
            np.testing.assert_allclose(y[flags > 0], result.keypoints[row, flags > 0, 1], atol=5.1e-3)
            seen = result.keypoint_scores[row][result.keypoint_scores[row] > 0.2]
            assert person["score"] == pytest.approx(result.bbox_scores[row] * seen.mean(), abs=1e-6)


def test_flags_follow_the_threshold_and_what_is_outside_is_not_labelled(tmp_path):
    result = pose_result("a.jpg")
    points = np.full((1, 17, 2), 100, np.float32)
    points[0, :4] = (-0.1, 5), (5, 480), (639, 479), (0, 0)
    scores = np.full((1, 17), 0.9, np.float32)
    scores[0, 4:8] = 0.4, 0.39, 0.0, -0.1
    file = written(tmp_path, [result._replace(keypoints=points, keypoint_scores=scores)], threshold=0.4)
    (person,) = json.loads(file.read_text())["annotations"]
    triples = np.reshape(person["keypoints"], (-1, 3))
    assert triples[:, 2].tolist() == [0, 0, 2, 2, 2, 1, 0, 0] + [2] * 9 and person["num_keypoints"] == 13
    assert not triples[triples[:, 2] == 0].any()


def test_ids_are_those_of_the_box_file_and_an_empty_run_is_a_file_too(tmp_path, capsys):
    known = [pose_result("a.jpg", image_id=1 << 70), pose_result("b.jpg", image_id=4)]
    content = json.loads(written(tmp_path / "known", known).read_text())
    assert [image["id"] for image in content["images"]] == [1 << 70, 4]
    assert [person["image_id"] for person in content["annotations"]] == [1 << 70, 4]
    assert COCO(str(written(tmp_path / "nobody", [pose_result("a.jpg", 0)]))).getAnnIds() == []
    assert json.loads(written(tmp_path / "none", []).read_text())["images"] == []


def test_what_other_programs_keep_tells_who_a_person_is_in_the_run(tmp_path):
    """datumaro keeps two decimals and `attributes`, and wants a `segmentation`; FiftyOne refuses `instance_id`."""
    result = pose_result(
        "a.jpg", 2, instance_ids=np.array([7, 3]), bboxes=np.array([[1 / 3, 0, 50, 60], [5, 5, 9, 9.1]])
    )
    people = json.loads(written(tmp_path, [result]).read_text())["annotations"]
    for row, person in enumerate(people):
        assert list(person)[:2] == ["id", "image_id"] and person["segmentation"] == []
        assert "instance_id" not in person and "instance_id" not in person["attributes"]
        assert person["attributes"]["posed_id"] == [7, 3][row]
        assert person["attributes"]["posed_score"] == result.bbox_scores[row]
        box = [float(number) for number in person["attributes"]["posed_bbox"].split(" ")]
        assert box == result.bboxes[row].tolist()
        for number in (*person["bbox"], *person["keypoints"]):
            assert number == round(number, 2)
        assert person["area"] == person["bbox"][2] * person["bbox"][3]


@pytest.mark.parametrize(
    ("subset", "counts"),
    [("body", (17, 17, 17)), ("body_feet", (17, 23, 23)), ("wholebody", (17, 133, 88)), ("all", (17, 133, 308))],
)
def test_a_subset_has_its_keypoints_and_their_lines_alone(tmp_path, subset, counts):
    for num_keypoints, count in zip((17, 133, 308), counts):
        (result,) = results = [pose_result("a.jpg", 2, num_keypoints, keypoint_scores=np.ones((2, num_keypoints)))]
        content = json.loads(written(tmp_path / str(num_keypoints), results, num_keypoints, subset=subset).read_text())
        (category,) = content["categories"]
        names = list(result.keypoint_set.names)
        assert len(category["keypoints"]) == count == len(set(category["keypoints"]))
        lines = {(category["keypoints"][one - 1], category["keypoints"][end - 1]) for one, end in category["skeleton"]}
        assert lines <= {(names[one], names[end]) for one, end in result.keypoint_set.skeleton}
        assert {("left_ankle", "left_big_toe") in lines} == {subset != "body" and num_keypoints > 17}
        for row, person in enumerate(content["annotations"]):
            triples = np.reshape(person["keypoints"], (-1, 3))
            assert len(triples) == count and person["num_keypoints"] == (triples[:, 2] > 0).sum()
            columns = [names.index(name) for name in category["keypoints"]]
            inside = triples[:, 2] > 0
            found = result.keypoints[row, columns]
            np.testing.assert_allclose(triples[inside, :2], found[inside], atol=5.1e-3)


def test_the_worst_people_come_with_their_images_and_are_as_among_all(tmp_path):
    results = [pose_result(f"{name}.jpg", count) for name, count in zip("abcd", (2, 1, 0, 3))]
    whole = json.loads(written(tmp_path / "all", results).read_text())
    some = json.loads(written(tmp_path / "some", results, worst=2).read_text())
    with_them = {person["image_id"] for person in some["annotations"]}
    assert some["images"] == [image for image in whole["images"] if image["id"] in with_them]
    among_all = [{**person, "id": 0} for person in whole["annotations"]]
    assert [person["attributes"].pop("worst") for person in some["annotations"]] == [2, 2]
    assert all({**person, "id": 0} in among_all for person in some["annotations"])
    many = json.loads(written(tmp_path / "many", results, worst=500).read_text())
    assert many["annotations"] == whole["annotations"] and len(many["images"]) == 3


def test_the_worst_people_are_the_first_of_the_table(tmp_path):
    results = [pose_result(f"{number:02}.jpg", number % 4, seed=number) for number in range(40)]
    with open(tmp_path / "lines", "w+b") as lines:
        table = WorstTable(lines)
        for people in judged(results, results[0].keypoint_set, 0.3):
            table.add(people)
        table.write(tmp_path / "worst.csv")
    with open(tmp_path / "worst.csv", newline="") as file:
        first = [(row["image"], int(row["instance_id"])) for row in csv.DictReader(file)][:7]
    content = json.loads(written(tmp_path / "run", results, worst=7).read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    found = [(names[person["image_id"]], person["attributes"]["posed_id"]) for person in content["annotations"]]
    assert found == sorted(first)


def test_settings_that_cannot_be_are_refused():
    for some, words in (
        ({"visible_threshold": "half"}, "output.visible_threshold=half must be a number"),
        ({"subset": "hands"}, "output.subset=hands must be one of body, body_feet, wholebody, all"),
        ({"worst": 0}, "output.worst=0 must be a whole number of at least 1, or null"),
    ):
        with pytest.raises(ConfigError, match=words):
            CocoAnnotations(**({"visible_threshold": 0.3} | some))
    assert CocoAnnotations(0.3, "body").needs == ("body",) and CocoAnnotations(0.3).needs == ()
