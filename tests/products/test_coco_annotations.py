"""The COCO annotation file, as pycocotools loads it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from records.made_up import make_records, pose_result

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.products.coco_annotations import CocoAnnotations
from sapiens_pl.records.reading import Records

NAMES = ("b/000000000785.jpg", "000000000009.jpg", "nobody 12.jpg", "ünï,'3'.jpg")


def written(folder, results, num_keypoints=17, threshold=0.4):
    make_records(folder, results, num_keypoints)
    CocoAnnotations(threshold).write(Records.read(folder), folder)
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
            np.testing.assert_allclose([left, top, left + width, top + height], result.bboxes[row])
            assert person["area"] == pytest.approx(width * height) and person["category_id"] == category["id"]
            x, y, flags = np.reshape(person["keypoints"], (-1, 3)).T
            assert len(flags) == num_keypoints and person["num_keypoints"] == (flags > 0).sum()
            np.testing.assert_allclose(x[flags > 0], result.keypoints[row, flags > 0, 0], atol=6e-4)
            np.testing.assert_allclose(y[flags > 0], result.keypoints[row, flags > 0, 1], atol=6e-4)
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


def test_a_threshold_that_is_no_number_is_refused():
    with pytest.raises(ConfigError, match="output.visible_threshold=half must be a number"):
        CocoAnnotations("half")
