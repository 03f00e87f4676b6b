"""The record of what was detected: appended to by many, torn by kills, put in order, edited by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.structures import ListedImage
from sapiens_pl.detection.record import DetectionRecord
from sapiens_pl.records.run_folder import RunFolder

ONE = np.array([[1.5, 2.0, 30.0, 40.0, 0.9]])
NOBODY = np.empty((0, 5))


def record(path, rank=0, shard=0, num_shards=1):
    folder = RunFolder(path, rank, shard, num_shards)
    folder.open()
    return DetectionRecord(folder)


def listed(name):
    return ListedImage(name, 640, 480, None)


def names(path):
    reader = record(path)
    reader.read()
    return set(reader.known)


def test_everybodys_lines_are_read_and_a_torn_one_costs_only_itself(tmp_path):
    ranks = [record(tmp_path, rank) for rank in range(2)]
    for rank, writer in enumerate(ranks):
        for index in range(3):
            writer.append(listed(f"{rank}/{index}.jpg"), ONE if index else NOBODY)
        writer.close()
    torn = tmp_path / "detections" / "part-0of1-1.jsonl"
    torn.write_bytes(torn.read_bytes()[:-20])
    assert names(tmp_path) == {"0/0.jpg", "0/1.jpg", "0/2.jpg", "1/0.jpg", "1/1.jpg"}
    again = record(tmp_path, 1)
    again.read()
    again.append(listed("1/2.jpg"), ONE)
    assert len(names(tmp_path)) == 6
    np.testing.assert_array_equal(again.known["0/1.jpg"].rows, ONE)


def test_settling_writes_coco_results_and_what_their_ids_mean(tmp_path):
    writer = record(tmp_path)
    writer.append(listed("b/second \udcff.jpg"), np.vstack([ONE, ONE / 2]))
    writer.append(listed("a.jpg"), NOBODY)
    writer.close()
    before = names(tmp_path)
    record(tmp_path).settle()
    assert not (tmp_path / "detections").exists() and names(tmp_path) == before
    assert json.loads((tmp_path / "person_detections.json").read_text()) == [
        {"image_id": 2, "category_id": 1, "bbox": [1.5, 2.0, 30.0, 40.0], "score": 0.9},
        {"image_id": 2, "category_id": 1, "bbox": [0.75, 1.0, 15.0, 20.0], "score": 0.45},
    ]
    listing = json.loads((tmp_path / "person_images.json").read_text())
    assert listing["images"] == [
        {"id": 1, "file_name": "a.jpg", "width": 640, "height": 480},
        {"id": 2, "file_name": "b/second \udcff.jpg", "width": 640, "height": 480},
    ]
    more = record(tmp_path)
    more.read()
    more.append(listed("0_new.jpg"), ONE)
    more.append(listed("a.jpg"), ONE)  # by another process that did not know of it
    more.close()
    more.settle()
    ids = {
        image["file_name"]: image["id"] for image in json.loads((tmp_path / "person_images.json").read_text())["images"]
    }
    assert ids["a.jpg"] == 1 and ids["b/second \udcff.jpg"] == 2 and ids["0_new.jpg"] == 3
    assert len(json.loads((tmp_path / "person_detections.json").read_text())) == 3


def test_cocos_file_names_keep_cocos_ids(tmp_path):
    writer = record(tmp_path)
    writer.append(listed("000000000785.jpg"), ONE)
    writer.settle()
    assert json.loads((tmp_path / "person_detections.json").read_text())[0]["image_id"] == 785


def test_an_edited_file_counts_and_boxes_of_unlisted_images_do_not(tmp_path, caplog):
    writer = record(tmp_path)
    writer.append(listed("a.jpg"), ONE)
    writer.settle()
    people = [
        {"image_id": 1, "bbox": [0, 0, 5, 5]},
        {"image_id": 1, "category_id": 18, "bbox": [0, 0, 6, 6]},
        {"image_id": 99, "category_id": 1, "bbox": [0, 0, 7, 7], "score": 0.5},
    ]
    (tmp_path / "person_detections.json").write_text(json.dumps(people, indent=4))
    reader = record(tmp_path)
    reader.read()
    np.testing.assert_array_equal(reader.known["a.jpg"].rows, [[0, 0, 5, 5, 1.0]])
    assert "1 boxes of images" in caplog.text


@pytest.mark.parametrize("content", ["[{", "{}", '[{"image_id": 1, "bbox": [1, 2]}]', "[3]"])
def test_a_damaged_file_is_one_sentence_that_names_it(tmp_path, content):
    writer = record(tmp_path)
    writer.append(listed("a.jpg"), ONE)
    writer.settle()
    (tmp_path / "person_detections.json").write_text(content)
    with pytest.raises(ConfigError) as caught:
        record(tmp_path).read()
    assert "person_detections.json" in str(caught.value) and "detect again" in str(caught.value)


def test_odd_lines_and_folders_among_the_parts_cost_only_themselves(tmp_path):
    writer = record(tmp_path)
    writer.append(listed("a.jpg"), ONE)
    writer.close()
    (tmp_path / "detections" / "part-0of1-8.jsonl").mkdir()
    odd = b'[1]\n3\n{"image": [1], "width": 3, "height": 3, "bboxes": [], "scores": []}\n\xff\n'
    (tmp_path / "detections" / "part-0of1-9.jsonl").write_bytes(odd)
    assert names(tmp_path) == {"a.jpg"}
    record(tmp_path).settle()
    assert names(tmp_path) == {"a.jpg"}
