"""What is written in any format is read back; and whatever a file holds, it is read or refused in a sentence."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from box_sources import boxes_of
from properties import any_text, given, positions, st

from sapiens_pl.boxes.coco_boxes import CocoBoxes
from sapiens_pl.boxes.csv_boxes import CsvBoxes
from sapiens_pl.boxes.json_boxes import JsonBoxes
from sapiens_pl.boxes.mot_boxes import MotBoxes
from sapiens_pl.boxes.rules import BOX_FORMATS
from sapiens_pl.boxes.yolo_boxes import YoloBoxes
from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import SapiensError
from sapiens_pl.core.plan import Pictures

READERS = {"json": JsonBoxes, "csv": CsvBoxes, "coco": CocoBoxes, "mot": MotBoxes}
SIZE = np.array([640.0, 480.0])


@st.composite
def corners(draw):
    left, top = draw(positions(1e6)), draw(positions(1e6))
    width, height = (draw(st.floats(2, 4000)) for _ in range(2))
    return [left, top, left + width, top + height]


def in_format(box, format):
    one, two = np.array(box[:2]), np.array(box[2:])
    pairs = {
        "xyxy": (one, two),
        "xywh": (one, two - one),
        "cxcywh": ((one + two) / 2, two - one),
        "cxcywhn": ((one + two) / 2 / SIZE, (two - one) / SIZE),
    }
    return np.concatenate(pairs[format]).tolist()


COLUMNS = {"xyxy": "x1,y1,x2,y2", "xywh": "x,y,w,h", "cxcywh": "cx,cy,w,h", "cxcywhn": "cx,cy,w,h"}


def written(form, boxes, format):
    """A file's text with these boxes of a.jpg."""
    rows = [in_format(box, format) for box in boxes]
    if form == "csv":
        text = io.StringIO()
        csv.writer(text).writerows([f"image,{COLUMNS[format]}".split(","), *(["a.jpg", *row] for row in rows)])
        return text.getvalue()
    if form == "json":
        return json.dumps({"a.jpg": rows})
    return "".join(json.dumps({"image": "a.jpg", "bbox": row}) + "\n" for row in rows)


@pytest.mark.parametrize("form", ["json", "json lines", "csv"])
@given(format=st.sampled_from(BOX_FORMATS), boxes=st.lists(corners(), min_size=1, max_size=2))
def test_what_is_written_in_a_format_is_read_back(tmp_path, form, format, boxes):
    kind = READERS[form.split()[0]]
    found, failures = boxes_of(kind, tmp_path, written(form, boxes, format), format=format, score_threshold=None)
    assert not failures
    expected = np.array(boxes) if format != "cxcywhn" else np.array(boxes) / np.tile(SIZE, 2)
    np.testing.assert_allclose(found["a.jpg"], expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


NUMBERS = st.one_of(
    st.integers(-9, 99), st.integers(-(10**30), 10**30), st.floats(width=64), st.booleans(), st.none(), any_text
)
KEYS = st.sampled_from(
    ["a.jpg", "image", "bbox", "bboxes", "score", "scores", "id", "ids", "video", "frame", "seconds", "labels", "class"]
    + ["images", "annotations", "categories", "image_id", "category_id", "file_name", "name", "instance_info", "frames"]
    + ["keypoints", "bbox_score", "instances", "path", "width", "height", "meta_info"]
)
BOXES = st.lists(NUMBERS, min_size=3, max_size=6)
TREES = st.recursive(
    st.one_of(NUMBERS, BOXES),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)
ROWS = st.lists(
    st.dictionaries(KEYS, st.one_of(NUMBERS, BOXES, st.just("a.jpg"), st.just(1)), min_size=2, max_size=6), max_size=4
)


def check_read_or_refused(kind, tmp_path, content, **options):
    """Each box that is taken is one, and all else has its sentence."""
    try:
        found, failures = boxes_of(kind, tmp_path, content, "a.jpg", "b/000002.jpg", **options)
    except SapiensError as error:
        assert str(error).strip() and "\n" not in str(error)
        return
    for boxes in found.values():
        array = np.array(boxes or np.zeros((0, 4)), float)
        assert np.isfinite(array).all() and (array[:, 2:] > array[:, :2]).all()
    assert all(failure.message.strip() and "\n" not in failure.message for failure in failures)


@pytest.mark.parametrize("form", ["json", "coco"])
@given(content=st.one_of(TREES, ROWS, ROWS.map(lambda rows: {"images": rows, "annotations": rows, "categories": rows})))
def test_any_json_is_read_or_refused_in_a_sentence(tmp_path, form, content):
    check_read_or_refused(READERS[form], tmp_path, json.dumps(content))


FIELDS = st.one_of(
    st.integers(-3, 9).map(str),
    NUMBERS.map(str),
    st.sampled_from(["a.jpg", "000002", "nan", "-inf", "1e999", "1e30", "1e19", "", " "]),
)


GOOD_LINES = {
    "csv": ["a.jpg", "1", "2", "30", "40", "0.5", "7", "person"],
    "mot": ["2", "7", "1", "2", "30", "40", "0.5", "1", "1"],
    "yolo": ["0", "0.5", "0.5", "0.1", "0.1", "0.5", "7"],
}


@st.composite
def lines_of_a(draw, form):
    """Good lines of which some fields are anything, some are missing and some stand twice."""
    lines = []
    for _ in range(draw(st.integers(0, 5))):
        line = [draw(FIELDS) if draw(st.integers(0, 3)) == 0 else field for field in GOOD_LINES[form]]
        length = draw(st.sampled_from([len(line)] * 3 + [1, 5, 6, 7]))
        lines.append((line + line)[: length + draw(st.sampled_from([0, 0, 0, 1]))])
    return lines


@pytest.mark.parametrize("form", ["csv", "mot"])
@given(data=st.data(), separator=st.sampled_from(",,;\t "))
def test_any_table_is_read_or_refused_in_a_sentence(tmp_path, form, data, separator):
    header = "image,x1,y1,x2,y2,score,id,class\n".replace(",", separator) if form == "csv" else ""
    text = header + "\n".join(separator.join(line) for line in data.draw(lines_of_a(form)))
    check_read_or_refused(READERS[form], tmp_path, text.encode("utf-8", "surrogatepass"))


@given(lines=lines_of_a("yolo"))
def test_any_label_file_is_read_or_refused_in_a_sentence(tmp_path, lines):
    label = tmp_path / "a.txt"
    label.write_bytes("\n".join(" ".join(line) for line in lines).encode("utf-8", "surrogatepass"))
    try:
        tasks, failures, _ = YoloBoxes(str(tmp_path))(Pictures("/photos", Names.of(["a.jpg", "b.jpg"]), True))
    except SapiensError as error:
        assert str(error).strip() and "\n" not in str(error)
        return
    for task in tasks:
        assert np.isfinite(task.bboxes_xyxy).all() and (task.bboxes_xyxy[:, 2:] > task.bboxes_xyxy[:, :2]).all()
    assert all("\n" not in failure.message for failure in failures)


@pytest.mark.parametrize("form", READERS)
@given(content=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_in_a_sentence(tmp_path, form, content):
    check_read_or_refused(READERS[form], tmp_path, content)
