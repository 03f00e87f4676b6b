"""Box files as the field's programs write them: boxes are found, and what may be wrong is refused in a sentence."""

from __future__ import annotations

import gzip
import json
import os

import numpy as np
import pytest
from box_sources import BOX, boxes_of, coco_of

from sapiens_pl.boxes.coco_boxes import CocoBoxes
from sapiens_pl.boxes.csv_boxes import CsvBoxes
from sapiens_pl.boxes.json_boxes import JsonBoxes
from sapiens_pl.boxes.mot_boxes import MotBoxes
from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.plan import Pictures


def test_mot_classes_by_their_columns(tmp_path):
    visdrone = "1,1,11,21,20,40,1,1,0,0\n1,2,41,51,30,30,1,4,0,1\n1,3,41,51,30,30,0,0,0,0\n"
    assert boxes_of(MotBoxes, tmp_path, visdrone, "1.jpg")[0] == {"1.jpg": [BOX]}
    for tail in ("-1,-1,-1", "0,0,0", "2.5,3.5,0"):
        assert boxes_of(MotBoxes, tmp_path, f"1,1,11,21,20,40,1,{tail}\n", "1.jpg")[0] == {"1.jpg": [BOX]}
    for text in ("1 1 11 21 20 40\n", "1; 1; 11; 21; 20; 40; 0.5; -1; -1; -1\n", "1,1,11,21,20,40,0.5,-1,-1\n"):
        assert boxes_of(MotBoxes, tmp_path, text, "1.jpg")[0] == {"1.jpg": [BOX]}
    with pytest.raises(ConfigError, match=r"classes 3 'car' \(1\)"):
        boxes_of(MotBoxes, tmp_path, "1,1,11,21,20,40,1,3,1\n", "1.jpg")
    with pytest.raises(ConfigError, match="marks all 1 boxes to be ignored"):
        boxes_of(MotBoxes, tmp_path, "1,1,11,21,20,40,0,1,1\n", "1.jpg")


def test_one_id_for_two_images_and_two_ids_for_one(tmp_path):
    content = coco_of(1, 1, categories=[{"id": 1, "name": "person"}])
    content["images"].append({"id": "1", "file_name": "b.jpg"})
    with pytest.raises(ConfigError, match=r"boxes.txt gives two images, a.jpg and b.jpg, the same id 1,"):
        boxes_of(CocoBoxes, tmp_path, content, "a.jpg", "b.jpg")
    content["images"][1] = {"id": 2, "file_name": "a.jpg"}
    content["annotations"][1]["image_id"] = 2
    content["annotations"].append({"id": 9, "image_id": 77, "category_id": 1, "bbox": [0, 0, 5, 5]})
    boxes, (failure,) = boxes_of(CocoBoxes, tmp_path, content)
    assert len(boxes["a.jpg"]) == 2 and failure.image == "77" and "is the id of no image that" in failure.message


def test_ids_that_a_list_of_images_does_not_have(tmp_path):
    content = coco_of(1, 1)
    content["annotations"][0]["image_id"] = "a.jpg"
    content["annotations"][1]["image_id"] = 5
    boxes, (failure,) = boxes_of(CocoBoxes, tmp_path, content)
    assert boxes["a.jpg"] == [[0, 0, 9, 9]] and failure.image == "5"
    content["annotations"][0]["image_id"] = 6
    with pytest.raises(
        ConfigError, match=r"boxes.txt has boxes of the image_id 6 \(2 such ids\), and .* but one with 1;"
    ):
        boxes_of(CocoBoxes, tmp_path, content)


@pytest.mark.parametrize(
    ("kind", "content", "what"),
    [
        (CsvBoxes, "image,x1,y1,x2,y2\n" + 3 * 'a.jpg,"60,5",0,"110,5",63\n', '"60,5", "0", "110,5", "63"'),
        (CsvBoxes, "image,x1,y1,x2,y2,score\n" + 3 * "a.jpg,60,0,110,63,95%\n", 'a score of "95%"'),
        (JsonBoxes, {"a.jpg": 3 * [[60, 0, 110, 63, 0.9, 0]]}, "60, 0, 110, 63, 0.9, 0"),
        (JsonBoxes, {"a.jpg": 3 * [{"x1": 1, "y1": 2, "x2": 3, "y2": 4}]}, "null, not four"),
        (MotBoxes, 3 * "1,1,x,1,50,63,1\n", '"x", "1", "50", "63"'),
        (CocoBoxes, coco_of(1, 1, 1) | {"annotations": 3 * [{"image_id": 1, "bbox": [1, 2, 3]}]}, "1, 2, 3"),
    ],
)
def test_a_file_without_one_box_that_can_be_used_is_refused(tmp_path, kind, content, what):
    with pytest.raises(ConfigError, match=rf"boxes.txt: none of its 3 boxes can be used. .*{what}"):
        boxes_of(kind, tmp_path, content, "a.jpg" if kind is not MotBoxes else "1.jpg")


@pytest.mark.parametrize("separator", [";", "\t"])
def test_decimals_may_have_a_comma_where_columns_have_none_between_them(tmp_path, separator):
    text = "image,x1,y1,x2,y2,score\na_1.jpg,10.5,20,30.25,60,0.5\n".replace(",", separator).replace(".5", ",5")
    text = text.replace(".25", ",25").replace("a_1", "a,1")
    assert boxes_of(CsvBoxes, tmp_path, text, "a,1.jpg") == ({"a,1.jpg": [[10.5, 20, 30.25, 60]]}, [])
    assert boxes_of(CsvBoxes, tmp_path, text, "a,1.jpg", score_threshold=0.6) == ({"a,1.jpg": []}, [])


@pytest.mark.parametrize(
    "content",
    [
        {"a.jpg": BOX},
        {"a.jpg": [*BOX, 0.5]},
        {"image": "a.jpg", "bboxes": BOX},
        {"a.jpg": [BOX]},
    ],
)
def test_a_single_box_needs_no_list_around_it(tmp_path, content):
    assert boxes_of(JsonBoxes, tmp_path, content) == ({"a.jpg": [BOX]}, [])


@pytest.mark.parametrize(
    "content",
    [
        {"a.jpg": [{"bbox": BOX, "confidence": 0.5, "track_id": 7}]},
        {"a.jpg": {"bboxes": [BOX], "bbox_scores": [0.5], "track_ids": [7]}},
        [{"image": "a.jpg", "bbox": BOX, "conf": 0.5, "person_id": "7"}],
    ],
)
def test_scores_and_ids_of_json_have_the_names_of_tables(tmp_path, content):
    (tmp_path / "b.json").write_text(json.dumps(content))
    (task,), failures, _ = JsonBoxes(str(tmp_path / "b.json"))(Pictures("/photos", Names.of(["a.jpg"]), True))
    assert (task.bbox_scores.tolist(), task.instance_ids.tolist(), failures) == ([0.5], [7], [])


def test_a_list_of_another_length_than_the_boxes_is_not_guessed_at(tmp_path):
    content = [{"image": "a.jpg", "bboxes": [BOX, BOX], "scores": [0.5]}, {"image": "b.jpg", "bboxes": [BOX]}]
    boxes, (failure,) = boxes_of(JsonBoxes, tmp_path, content, "a.jpg", "b.jpg")
    assert boxes == {"a.jpg": [], "b.jpg": [BOX]}
    assert "boxes.txt, entry 1: it has 2 boxes and 1 of what it calls score" in failure.message


@pytest.mark.parametrize("content", [coco_of(1), [{"image_id": 1, "category_id": 1, "bbox": BOX, "score": 0.5}]])
def test_cocos_files_are_not_taken_for_boxes_by_path(tmp_path, content):
    with pytest.raises(ConfigError, match=r"boxes.txt is a COCO file; read it with boxes=coco"):
        boxes_of(JsonBoxes, tmp_path, content)


@pytest.mark.parametrize("image_id", ["000785", 785.0, "785.0", 785])
def test_ids_are_found_however_they_are_written(tmp_path, image_id):
    row = {"image_id": image_id, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 0.9}
    listed = {"images": [{"id": "785", "file_name": "x.jpg"}], "annotations": [row]}
    assert boxes_of(CocoBoxes, tmp_path, [row], "s/000785.jpg") == ({"s/000785.jpg": [[0, 0, 5, 5]]}, [])
    assert boxes_of(CocoBoxes, tmp_path, listed, "x.jpg") == ({"x.jpg": [[0, 0, 5, 5]]}, [])
    table = f"image_id,x1,y1,x2,y2\n{image_id},0,0,5,5\n"
    assert boxes_of(CsvBoxes, tmp_path, table, "s/000785.jpg") == ({"s/000785.jpg": [[0, 0, 5, 5]]}, [])


def test_a_number_of_two_images_is_a_failure_that_names_both(tmp_path):
    row = {"image_id": 7, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 0.9}
    names = ("camA/000007.jpg", "camB/000007.jpg")
    for kind, content in ((CocoBoxes, [row]), (CsvBoxes, "image_id,x1,y1,x2,y2\n7,0,0,5,5\n")):
        for complete in (True, False):
            boxes, (failure,) = boxes_of(kind, tmp_path, content, *names, complete=complete)
            assert boxes == {name: [] for name in names} and failure.image == "7"
            assert f"names 7, which could be {names[0]} or {names[1]}" in failure.message


def test_ids_that_fit_into_no_column_are_not_handed_on(tmp_path):
    ids = {2**63: None, 2**63 - 1: 2**63 - 1, -(2**70): None, "abc": None, "12": 12}
    for given, expected in ids.items():
        listed = {"images": [{"id": given, "file_name": "a.jpg"}], "annotations": []}
        listed["annotations"].append({"id": 2**64, "image_id": given, "bbox": [0, 0, 5, 5]})
        (tmp_path / "b.json").write_text(json.dumps(listed))
        source = Pictures("/photos", Names.of(["a.jpg"]), True)
        (task,), failures, _ = CocoBoxes(str(tmp_path / "b.json"))(source)
        assert task.image_id == expected and task.instance_ids.tolist() == [0] and not failures


@pytest.mark.parametrize("kind", [JsonBoxes, CocoBoxes, CsvBoxes, MotBoxes])
@pytest.mark.parametrize("content", [b"", b" \n\n", b"\xef\xbb\xbf", "\n".encode("utf-16")])
def test_an_empty_file_does_not_say_that_nobody_is_there(tmp_path, kind, content):
    with pytest.raises(ConfigError, match="boxes.txt is empty"):
        boxes_of(kind, tmp_path, content)


@pytest.mark.parametrize("content", ["{}", "[]", '{"a.jpg": []}'])
def test_nobody_may_be_said(tmp_path, content):
    assert boxes_of(JsonBoxes, tmp_path, content) == ({"a.jpg": []}, [])


def test_inverted_boxes_ask_for_the_other_format(tmp_path):
    as_xywh = [[100 + n, 100, 50, 80] for n in range(11)] + [[0, 0, 5, 5]]
    with pytest.raises(ConfigError, match="11 of 12 boxes are inverted: was boxes.format=xywh meant"):
        boxes_of(JsonBoxes, tmp_path, {"a.jpg": as_xywh})
    boxes, failures = boxes_of(JsonBoxes, tmp_path, {"a.jpg": [[0, 0, 5, 5]] * 6 + as_xywh[:6]})
    assert len(boxes["a.jpg"]) == 6 and len(failures) == 6
    assert all(failure.message.endswith("was boxes.format=xywh meant?") for failure in failures)


def test_corners_that_are_taken_for_a_corner_and_a_size_are_asked_for(tmp_path):
    content = {"images": [{"id": 1, "file_name": "a.jpg", "width": 640, "height": 480}]}
    content["annotations"] = [{"id": n, "image_id": 1, "bbox": [300 + n, 200, 500, 400]} for n in range(4)]
    with pytest.raises(ConfigError, match="4 of 4 boxes reach beyond .*640x480 px: was boxes.format=xyxy meant"):
        boxes_of(CocoBoxes, tmp_path, content)
    assert len(boxes_of(CocoBoxes, tmp_path, content, format="xyxy")[0]["a.jpg"]) == 4
    content["annotations"][:2] = [{"id": n, "image_id": 1, "bbox": [300, 200, 339, 270]} for n in range(2)]
    assert len(boxes_of(CocoBoxes, tmp_path, content)[0]["a.jpg"]) == 4


def test_parts_of_an_image_are_no_px(tmp_path):
    parts = {"a.jpg": [[0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1]]}
    with pytest.raises(ConfigError, match="lie between 0 and 1, such as 0.1, 0.2, 0.3, 0.4: .*boxes.format=cxcywhn"):
        boxes_of(JsonBoxes, tmp_path, parts)
    assert len(boxes_of(JsonBoxes, tmp_path, parts, format="cxcywhn")[0]["a.jpg"]) == 2
    assert len(boxes_of(JsonBoxes, tmp_path, {"a.jpg": [[0, 0, 1, 1]]})[0]["a.jpg"]) == 1
    with pytest.raises(ConfigError, match="are px, not parts"):
        boxes_of(JsonBoxes, tmp_path, {"a.jpg": [[100, 200, 30, 40]] * 3}, format="cxcywhn")


def test_scores_above_one_are_said(tmp_path, caplog):
    boxes_of(JsonBoxes, tmp_path, {"a.jpg": [[0, 0, 5, 5, 98.5], [0, 0, 5, 5, 0.5]]})
    assert "1 of 2 scores are above 1 (up to 98.5)" in caplog.text


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig", "utf-32"])
def test_other_encodings(tmp_path, encoding):
    for kind, text in (
        (JsonBoxes, '{"ä.jpg": [[0, 0, 5, 5]]}'),
        (JsonBoxes, '{"image": "ä.jpg", "bbox": [0, 0, 5, 5]}\r\n{"image": "ä.jpg", "bboxes": []}\r\n'),
        (CsvBoxes, "image,x1,y1,x2,y2\r\nä.jpg,0,0,5,5\r\n"),
        (CocoBoxes, '[{"image_id": "ä", "bbox": [0, 0, 5, 5], "score": 1}]'),
    ):
        assert boxes_of(kind, tmp_path, text.encode(encoding), "ä.jpg") == ({"ä.jpg": [[0, 0, 5, 5]]}, [])
    assert boxes_of(MotBoxes, tmp_path, "1,1,1,1,5,5\r\n".encode(encoding), "1.jpg")[0] == {"1.jpg": [[0, 0, 5, 5]]}


def test_a_key_that_stands_twice(tmp_path, caplog):
    both = '{"a.jpg": [[0, 0, 5, 5]], "a.jpg": [[1, 1, 6, 6]]}'
    assert boxes_of(JsonBoxes, tmp_path, both)[0] == {"a.jpg": [[0, 0, 5, 5], [1, 1, 6, 6]]}
    assert "has the key 'a.jpg' twice in one object; what both say counts" in caplog.text
    boxes_of(JsonBoxes, tmp_path, '[{"image": "a.jpg", "bbox": [0, 0, 5, 5], "bbox": [1, 1, 6, 6]}]')
    assert "the key 'bbox' twice in one object; the last one counts" in caplog.text
    with pytest.raises(ConfigError, match="'annotations' twice"):
        boxes_of(CocoBoxes, tmp_path, '{"annotations": [], "images": [], "annotations": []}')


def test_a_file_about_other_images_is_refused(tmp_path):
    content = {"x/1.jpg": [BOX], "x/2.jpg": [BOX]}
    for complete in (True, False):
        with pytest.raises(ConfigError, match=r"none of the 1 images .*names x/1.jpg \(2 such names\).*has a.jpg"):
            boxes_of(JsonBoxes, tmp_path, content, complete=complete)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "2.jpg").touch()
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    listed = Pictures(str(tmp_path), Names.of(["a.jpg"]), False)
    assert JsonBoxes(str(tmp_path / "boxes.json"))(listed).tasks[0].num_boxes == 0  # of images that were not asked for


def test_every_form_says_the_same_of_the_same_people(tmp_path):
    """Ids, scores and names as each format writes them."""
    people = {"seq/000001.jpg": [(20, 10, 60, 120, 0.9, 7), (100.5, 20.25, 50, 100, 0.75, 9)],
              "seq/000002.jpg": [(10, 30, 80, 200, 0.5, 7)], "seq/000003.jpg": []}  # fmt: skip
    rows = [(name, int(name[4:10]), *row) for name, of_image in people.items() for row in of_image]
    coco = [
        {"image_id": number, "category_id": 1, "bbox": [x, y, w, h], "score": s, "id": i}
        for _, number, x, y, w, h, s, i in rows
    ]
    listed = {
        "images": [{"id": int(name[4:10]), "file_name": name} for name in people],
        "annotations": [*coco, {**coco[0], "category_id": 2}],
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}],
    }
    objects = [{"image": n, "bbox": [x, y, x + w, y + h], "score": s, "id": i} for n, _, x, y, w, h, s, i in rows]
    by_path = {name: [each for each in objects if each["image"] == name] for name in people}
    with_classes = [{**each, "class": "person"} for each in objects] + [{**objects[0], "class": "dog"}]

    def lines(header, line):
        return header + "".join(f"{line(*row)}\n" for row in rows)

    def corners(name, number, x, y, w, h, score, track):
        return f"{name},{x},{y},{x + w},{y + h},{score},{track}"

    def centred(name, number, x, y, w, h, score, track):
        return f"{number}.0;{x + w / 2};{y + h / 2};{w};{h};{score};{track}.0"

    forms = [
        (JsonBoxes, by_path),
        (JsonBoxes, with_classes),
        (JsonBoxes, "\n".join(map(json.dumps, [*objects, {"image": "seq/000003.jpg", "bboxes": []}]))),
        (CocoBoxes, coco),
        (CocoBoxes, listed),
        (CsvBoxes, lines("image,x1,y1,x2,y2,score,id\n", corners)),
        (CsvBoxes, lines("image,x,y,w,h,score,id\n", lambda n, _, *row: ",".join(map(str, (n, *row))))),
        (CsvBoxes, lines("image_id;cx;cy;w;h;conf;track_id\n", centred)),
        (MotBoxes, lines("", lambda _, k, x, y, w, h, s, i: f"{k},{i},{x + 1},{y + 1},{w},{h},{s},-1,-1,-1")),
    ]  # fmt: skip
    source = Pictures("/photos", Names.of(people), True)
    for kind, content in forms:
        (tmp_path / "form").write_text(content if isinstance(content, str) else json.dumps(content))
        tasks, failures, _ = kind(str(tmp_path / "form"))(source)
        assert not failures, (kind, failures)
        for task, of_image in zip(tasks, people.values()):
            expected = np.reshape([(x, y, x + w, y + h) for x, y, w, h, _, _ in of_image], (-1, 4))
            np.testing.assert_allclose(task.bboxes_xyxy, expected, atol=1e-9)
            assert task.bbox_scores.tolist() == [row[4] for row in of_image], kind
            assert task.instance_ids.tolist() == [row[5] for row in of_image], kind


def test_a_box_that_a_second_name_of_its_picture_repeats_counts_once(tmp_path):
    text = json.dumps({"A.JPG": [BOX, BOX], "a.jpg": [BOX, [5, 5, 9, 9]]})
    assert boxes_of(JsonBoxes, tmp_path, text, "a.jpg") == ({"a.jpg": [BOX, BOX, [5, 5, 9, 9]]}, [])


def test_ids_that_cannot_be_kept_or_tell_nobody_apart_are_said(tmp_path, caplog):
    ids = ["5", "5", "anna", "1.5", "", "99999999999999999999", "7.0"]
    rows = "".join(f"a.jpg,{identity},{place},0,99,99\n" for place, identity in enumerate(ids))
    boxes_of(CsvBoxes, tmp_path, f"image,id,x1,y1,x2,y2\n{rows}")
    assert "3 ids are no whole numbers (anna the first), so these people have others here" in caplog.text
    assert "2 people have the id of another one in the same picture (5 in a.jpg the first)" in caplog.text
    caplog.clear()
    boxes_of(JsonBoxes, tmp_path, [{"image": "a.jpg", "bboxes": [[0, 0, 9, 9]] * 2, "ids": ["b", 0]}])
    assert "1 ids are no whole numbers (b the first)" in caplog.text and "(0 in a.jpg the first)" in caplog.text
    caplog.clear()
    boxes_of(JsonBoxes, tmp_path, [{"image": "a.jpg", "bboxes": [[0, 0, 9, 9]] * 2, "ids": [3, None]}])
    assert not caplog.text
    caplog.clear()
    boxes_of(CsvBoxes, tmp_path, "image,id,x1,y1,x2,y2\na.jpg,\x1b[31m,0,0,99,99\n")
    assert r"(\x1b[31m the first)" in caplog.text  # it commands no terminal


def test_what_is_no_box_file_is_said(tmp_path):
    with pytest.raises(ConfigError, match="is a folder; name the file in it"):
        JsonBoxes(str(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="is a pipe or a device"):
        JsonBoxes(str(tmp_path / "pipe"))
    (tmp_path / "boxes.csv").write_bytes(gzip.compress(b"image,x1,y1,x2,y2\n"))
    with pytest.raises(ConfigError, match=r"boxes.csv is packed \(gzip\); unpack it"):
        CsvBoxes(str(tmp_path / "boxes.csv"))
    (tmp_path / "boxes.csv").write_text("image,x1,y1,x2,y2,X1\na.jpg,1,2,30,40,5\n")
    with pytest.raises(ConfigError, match="has several columns x1, so it is not clear which one counts"):
        CsvBoxes(str(tmp_path / "boxes.csv"))
