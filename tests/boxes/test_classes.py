"""Only people are posed, however a box file says which of its classes they are."""

from __future__ import annotations

import json
import logging

import pytest
from box_sources import BOX, DOG, boxes_of, coco_of

from sapiens_pl.boxes.coco_boxes import CocoBoxes
from sapiens_pl.boxes.csv_boxes import CsvBoxes
from sapiens_pl.boxes.json_boxes import JsonBoxes
from sapiens_pl.core.errors import ConfigError


def named(**names):
    return [{"id": int(number[1:]), "name": name} for number, name in names.items()]


@pytest.mark.parametrize(
    ("content", "people"),
    [
        (coco_of(0, 1, categories=named(_0="person", _1="bicycle")), [0]),
        (coco_of(1, 2, categories=named(_1="bicycle", _2="Person")), [1]),
        (coco_of(3, 1, categories=named(_3="pedestrian", _1="car")), [0]),
        (coco_of(0, 1, 2, categories=named(_0="people", _1="person", _2="dog")), [0, 1]),
        (coco_of("1", "2", categories=[{"id": "1", "name": "human"}, {"id": "2", "name": "dog"}]), [0]),
        (coco_of(1, 2.0, "2", categories=[{"id": 2, "name": "person"}, {"id": 1, "name": "dog"}]), [1, 2]),
        (coco_of("person", "dog", categories=named(_1="person")), [0]),
        (coco_of(5, categories=[{"id": 5, "name": "swimmer", "keypoints": ["nose"]}]), [0]),
        (coco_of(1, 18), [0]),
        (coco_of(1, 18, categories=[]), [0]),
        (coco_of("1", 18), [0]),
        (coco_of(None, 18), [0]),
    ],
)
def test_the_categories_of_a_coco_file_name_the_person(tmp_path, content, people):
    boxes, failures = boxes_of(CocoBoxes, tmp_path, content)
    assert [box[0] for box in boxes["a.jpg"]] == people and not failures


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (coco_of(1, categories=named(_1="bicycle")), r"1 'bicycle' \(1\)"),
        (coco_of(0, 2, 2, categories=named(_0="dog", _2="cat")), r"2 'cat' \(2\), 0 'dog' \(1\)"),
        (coco_of(0, 0), r"0 \(2\)"),
        (coco_of(0, 1), r"0 \(1\), 1 \(1\)"),
        (coco_of(2, 3), r"2 \(1\), 3 \(1\)"),
        ([{"image_id": "a", "category_id": 0, "bbox": BOX, "score": 0.9}], r"0 \(1\)"),
    ],
)
def test_where_no_category_is_a_person_those_there_are_are_named(tmp_path, content, named):
    with pytest.raises(ConfigError, match=rf"boxes.txt has rows of the classes {named}.*boxes.category_id="):
        boxes_of(CocoBoxes, tmp_path, content)
    number = (content if isinstance(content, list) else content["annotations"])[0]["category_id"]
    boxes, _ = boxes_of(CocoBoxes, tmp_path, content, category_id=str(number))
    assert boxes["a.jpg"]


@pytest.mark.parametrize("categories", [{"1": "dog", "2": "person"}, ["dog", "person"], [{"name": "person"}], "person"])
def test_categories_that_cannot_be_read_are_no_numbers_of_coco(tmp_path, categories):
    content = coco_of(1, 2, categories=categories)
    with pytest.raises(ConfigError, match=r"boxes.txt: its categories .* have no id and name each"):
        boxes_of(CocoBoxes, tmp_path, content)
    assert [box[0] for box in boxes_of(CocoBoxes, tmp_path, content, category_id=2)[0]["a.jpg"]] == [1]


def test_marks_of_crowds_and_labels_may_be_texts(tmp_path):
    content = coco_of(1, 1, 1)
    for row, crowd, labelled in zip(content["annotations"], ("0", "1", False), ("3", "3", "0")):
        row.update(iscrowd=crowd, num_keypoints=labelled)
    assert [box[0] for box in boxes_of(CocoBoxes, tmp_path, content)[0]["a.jpg"]] == [0]


def test_a_category_may_be_chosen_by_its_name(tmp_path):
    content = coco_of(1, 2, categories=named(_1="person", _2="Goal keeper"))
    boxes, _ = boxes_of(CocoBoxes, tmp_path, content, category_id="goal_keeper")
    assert [box[0] for box in boxes["a.jpg"]] == [1]
    with pytest.raises(ConfigError, match=r"2 'Goal keeper' \(1\), and none of them is boxes.category_id=3; say which"):
        boxes_of(CocoBoxes, tmp_path, content, category_id=3)


def test_the_images_files_categories_count_for_detections(tmp_path):
    (tmp_path / "images.json").write_text(json.dumps(coco_of(categories=named(_0="person", _1="dog"))))
    rows = [{"image_id": 1.0, "category_id": kind, "bbox": [kind, 0, 9, 9], "score": 0.9} for kind in (1, 0)]
    boxes, _ = boxes_of(CocoBoxes, tmp_path, rows, images_file=str(tmp_path / "images.json"))
    assert boxes["a.jpg"] == [[0, 0, 9, 9]]


def test_what_is_left_out_is_counted(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    content = coco_of(1, 1, 1, 18, 18, 3, categories=named(_1="person", _3="car", _18="dog"))
    content["annotations"][0]["iscrowd"] = content["annotations"][1]["num_keypoints"] = 1
    content["annotations"][2]["num_keypoints"] = 0
    boxes, _ = boxes_of(CocoBoxes, tmp_path, content)
    assert [box[0] for box in boxes["a.jpg"]] == [1]
    assert "left out 3 rows of other classes (18 'dog' (2), 3 'car' (1))" in caplog.text
    assert "left out 2 crowds or people without keypoints" in caplog.text
    for row in content["annotations"]:
        row["num_keypoints"] = 0
    boxes, _ = boxes_of(CocoBoxes, tmp_path, content)
    assert len(boxes["a.jpg"]) == 2 and "no labelled keypoints at all" in caplog.text


CSV_TABLES = {
    "TensorFlow": "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,9,9,person,{}\na.jpg,9,9,dog,{}\n",
    "YOLOv5's pandas": "image,class,name,xmin,ymin,xmax,ymax\na.jpg,0,person,{}\na.jpg,16,dog,{}\n",
    "Label": "image;Label;x1;y1;x2;y2\na.jpg;Pedestrian;{}\na.jpg;car;{}\n",
    "category_id": "image,category_id,x1,y1,x2,y2\na.jpg,1,{}\na.jpg,18,{}\n",
    "name alone": "image,name,x1,y1,x2,y2\na.jpg,person,{}\na.jpg,dog,{}\n",
    "className": "image,className,x1,y1,x2,y2\na.jpg,person,{}\na.jpg,dog,{}\n",
    "Class Name": "image,Class Name,x1,y1,x2,y2\na.jpg,person,{}\na.jpg,dog,{}\n",
    "type": "image,type,x1,y1,x2,y2\na.jpg,pedestrian,{}\na.jpg,Car,{}\n",
    "object": "image,object,x1,y1,x2,y2\na.jpg,person,{}\na.jpg,dog,{}\n",
    "a blank": "image,class,x1,y1,x2,y2\na.jpg,,{}\na.jpg,dog,{}\n",
    "numbers and names": "image,category_id,category_name,x1,y1,x2,y2\na.jpg,5,human,{}\na.jpg,1,dog,{}\n",
}


@pytest.mark.parametrize("form", CSV_TABLES)
def test_a_tables_class_column_is_looked_at(tmp_path, form):
    separator = ";" if ";" in CSV_TABLES[form] else ","
    text = CSV_TABLES[form].format(*(separator.join(map(str, box)) for box in (BOX, DOG)))
    assert boxes_of(CsvBoxes, tmp_path, text) == ({"a.jpg": [BOX]}, [])


def test_a_tables_numbers_need_a_word_where_they_could_mean_anything(tmp_path, caplog):
    text = "image,class,x1,y1,x2,y2\na.jpg,{},10,20,30,60\na.jpg,{},40,50,70,80\n"
    with pytest.raises(ConfigError, match=r"boxes.txt \(class\) has rows of the classes 0 \(1\), 16 \(1\)"):
        boxes_of(CsvBoxes, tmp_path, text.format(0, 16))
    assert boxes_of(CsvBoxes, tmp_path, text.format(0, 16), category_id=0)[0] == {"a.jpg": [BOX]}
    assert boxes_of(CsvBoxes, tmp_path, text.format(0, 0))[0] == {"a.jpg": [BOX, DOG]}
    for name, first, other in (("name", "Alice", "Bob"), ("type", "gt", "det"), ("object", "1", "2")):
        text = f"image,{name},x1,y1,x2,y2\na.jpg,{first},10,20,30,60\na.jpg,{other},40,50,70,80\n"
        assert boxes_of(CsvBoxes, tmp_path, text)[0] == {"a.jpg": [BOX, DOG]}
        assert f"the column {name} was not looked at" in caplog.text


@pytest.mark.parametrize(
    "content",
    [
        [{"image": "a.jpg", "bbox": BOX, "category_id": 1}, {"image": "a.jpg", "bbox": DOG, "category_id": 18}],
        [{"image": "a.jpg", "bbox": BOX, "class": "person"}, {"image": "a.jpg", "bbox": DOG, "class": "dog"}],
        [{"image": "a.jpg", "bbox": BOX, "name": "person", "class": 0}, {"image": "a.jpg", "bbox": DOG, "name": "dog"}],
        [{"image": "a.jpg", "bbox": BOX, "type": "person"}, {"image": "a.jpg", "bbox": DOG, "type": "dog"}],
        {"a.jpg": [{"bbox": BOX, "label": "human"}, {"bbox": DOG, "label": "dog"}]},
        {"a.jpg": {"bboxes": [BOX, DOG], "labels": ["person", "dog"]}},
        {"image": "a.jpg", "bboxes": [BOX, DOG], "category_ids": [1, 18]},
        {"image": "a.jpg", "bboxes": [BOX, DOG], "classes": ["person", "dog"], "scores": [0.9, 0.8]},
    ],
)
def test_the_classes_of_json_rows_are_looked_at(tmp_path, content):
    assert boxes_of(JsonBoxes, tmp_path, content) == ({"a.jpg": [BOX]}, [])


@pytest.mark.parametrize("wanted", [[1, 18], ["1", "dog"], ["person", 18.0]])
def test_several_classes_may_be_people(tmp_path, wanted):
    content = coco_of(1, 18, 3, categories=named(_1="person", _18="dog", _3="car"))
    boxes, failures = boxes_of(CocoBoxes, tmp_path, content, category_id=wanted)
    assert [box[0] for box in boxes["a.jpg"]] == [0, 1] and not failures
    rows = [{"image": "a.jpg", "bbox": BOX, "category_id": number} for number in (1, 18, 3)]
    boxes, _ = boxes_of(JsonBoxes, tmp_path, rows, category_id=[1, 18])
    assert len(boxes["a.jpg"]) == 2
    with pytest.raises(ConfigError, match=r"none of them is boxes.category_id=\[7, 'cat'\]; say which one"):
        boxes_of(CocoBoxes, tmp_path, content, category_id=[7, "cat"])
    with pytest.raises(ConfigError, match="names no class"):
        boxes_of(CocoBoxes, tmp_path, content, category_id=[])
