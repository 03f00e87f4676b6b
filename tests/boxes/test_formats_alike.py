"""People's own box files: the same boxes in every form, rows that cannot be used, and the real command on them."""

from __future__ import annotations

import json
import re

import cv2
import numpy as np
import pytest
from conftest import COCO, check_same
from PIL import Image

from sapiens_pl.boxes.coco_boxes import CocoBoxes
from sapiens_pl.boxes.csv_boxes import CsvBoxes
from sapiens_pl.boxes.json_boxes import JsonBoxes
from sapiens_pl.boxes.mot_boxes import MotBoxes
from sapiens_pl.boxes.yolo_boxes import YoloBoxes
from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.plan import Pictures

SIZES = {"seq/000001.jpg": (200, 160), "seq/000002.jpg": (120, 240), "seq/000003.jpg": (90, 90)}
PEOPLE = {  # left, top, width, height, score, id
    "seq/000001.jpg": [(20, 10, 60, 120, 0.9, 7), (100.5, 20.25, 50, 100, 0.75, 9)],
    "seq/000002.jpg": [(10, 30, 80, 200, 0.5, 7)],
    "seq/000003.jpg": [],
}


def rows_of(people=PEOPLE):
    return [(name, *row) for name, rows in people.items() for row in rows]


def as_csv(path, header, line, separator=","):
    lines = [line(*row) for row in rows_of()] + ["seq/000003.jpg" + separator * (len(header.split(separator)) - 1)]
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def write_all_forms(root):
    """Overrides for each form, by its name."""
    forms = {}
    text = as_csv(
        root / "corners.csv",
        "image,x1,y1,x2,y2,score,id",
        lambda n, x, y, w, h, s, i: f"{n},{x},{y},{x + w},{y + h},{s},{i}",
    )
    forms["csv corners"] = ["boxes=csv", f"boxes.file={text}"]
    text = as_csv(
        root / "sizes.csv",
        "Track_ID; Conf; X; Y; Width; Height; Filename",
        lambda n, x, y, w, h, s, i: f"{i}.0; {s}; {x}; {y}; {w}; {h}; {n}",
        ";",
    )
    (root / "sizes.csv").write_text(
        "\n".join(line for line in text.read_text().splitlines() if not line.endswith(";" * 6))
    )
    forms["csv sizes"] = ["boxes=csv", f"boxes.file={text}"]
    (root / "det.txt").write_text(
        "".join(f"{int(n[4:10])},{i},{x + 1},{y + 1},{w},{h},{s},-1,-1,-1\n" for n, x, y, w, h, s, i in rows_of())
    )
    forms["mot"] = ["boxes=mot", f"boxes.file={root / 'det.txt'}"]
    for name, rows in PEOPLE.items():
        width, height = SIZES[name]
        label = root / "labels" / name.replace(".jpg", ".txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        lines = [
            f"0 {(x + w / 2) / width} {(y + h / 2) / height} {w / width} {h / height} {s} {i}\n"
            for x, y, w, h, s, i in rows
        ]
        label.write_text("".join([*lines, "16 0.5 0.5 0.2 0.2 0.99 3\n"]))
    forms["yolo"] = ["boxes=yolo", f"boxes.file={root / 'labels'}"]
    centred = [
        {"image": n, "bbox": [x + w / 2, y + h / 2, w, h], "score": s, "id": i} for n, x, y, w, h, s, i in rows_of()
    ]
    (root / "centred.jsonl").write_text("".join(json.dumps(row) + "\n" for row in centred))
    forms["json centred"] = ["boxes=json", f"boxes.file={root / 'centred.jsonl'}", "boxes.format=cxcywh"]
    for row in centred:
        width, height = SIZES[row["image"]]
        row["bbox"] = (np.array(row["bbox"]) / [width, height, width, height]).tolist()
    (root / "parts.json").write_text(json.dumps(centred))
    forms["json parts"] = ["boxes=json", f"boxes.file={root / 'parts.json'}", "boxes.format=cxcywhn"]
    results = [
        {"image_id": int(n[4:10]), "category_id": 1, "bbox": [x, y, w, h], "score": s, "id": i}
        for n, x, y, w, h, s, i in rows_of()
    ]
    (root / "results.json").write_text(json.dumps(results))
    forms["coco"] = ["boxes=coco", f"boxes.file={root / 'results.json'}"]
    return forms


def test_the_same_boxes_in_every_form_give_the_same_results(predict, mini, tmp_path):
    rng = np.random.default_rng(0)
    for name, (width, height) in SIZES.items():
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = cv2.resize(rng.integers(0, 255, (12, 10, 3), np.uint8), (width, height))
        cv2.imwrite(str(tmp_path / "images" / name), pixels)
    corners = {n: [[x, y, x + w, y + h] for x, y, w, h, _, _ in rows] for n, rows in PEOPLE.items()}
    (tmp_path / "plain.json").write_text(json.dumps(corners))
    settings = [*mini, f"data.images={tmp_path / 'images'}", "data.num_workers=0"]
    plain = predict(*settings, "boxes=json", f"boxes.file={tmp_path / 'plain.json'}", folder="plain").results
    for form, overrides in write_all_forms(tmp_path).items():
        run = predict(*settings, *overrides, folder=form.replace(" ", "_"))
        assert run.code == 0 and not run.failures, (form, run.err)
        for name, rows in PEOPLE.items():
            people = run.results[name]["instance_info"]
            assert [person["instance_id"] for person in people] == [row[5] for row in rows], form
            assert [person["bbox_score"] for person in people] == [row[4] for row in rows], form
            np.testing.assert_allclose(
                np.reshape([person["bbox"] for person in people], (-1, 4)),
                np.reshape(corners[name], (-1, 4)),
                atol=1e-4,
            )
        results = run.results
        for name, result in results.items():
            result["image"].pop("id", None)
            for person, expected in zip(result["instance_info"], plain[name]["instance_info"]):
                person.update({key: expected[key] for key in ("instance_id", "bbox_score", "bbox")})
        check_same(results, plain, but_one_in=100)


def source_of(*names):
    return Pictures("/photos", Names.of(names), True)


def from_text(kind, tmp_path, text, *names, **options):
    path = tmp_path / "boxes.txt"
    path.write_text(text)
    return kind(str(path), **options)(source_of(*names))


MALFORMED = {
    "csv": (
        CsvBoxes,
        "image,x1,y1,x2,y2,score\na.jpg,0,0,5,5,1\na.jpg,0,0,5\n,0,0,5,5,1\na.jpg,0,0,five,5,1\na.jpg,0,0,5,5,high\n",
        {3: "fields", 4: "no image", 5: "five.*not four finite numbers", 6: "high.*not a finite number"},
    ),
    "mot": (
        MotBoxes,
        "1,3,1,1,5,5,1,-1,-1,-1\n1,2,3\nx,3,1,1,5,5,1,-1,-1,-1\n1,4,1,1,-5,5,1,-1,-1,-1\n",
        {2: "not frame, id", 3: "not frame, id", 4: "inverted"},
    ),
    "jsonl": (
        JsonBoxes,
        '{"image": "a.jpg", "bboxes": [[0, 0, 5, 5]]}\n{"image": "a.jpg"}\n{"image": "a.j',
        {2: "does not say which", 3: "not JSON"},
    ),
    "coco": (
        CocoBoxes,
        json.dumps([
            {"image_id": "a", "bbox": [0, 0, 5, 5], "score": 1},
            {"bbox": [0, 0, 5, 5]},
            "row",
            {"image_id": "a", "bbox": [0, 0, 5, 5], "score": "high"},
        ]),
        {2: "which image", 3: "which image", 4: "high.*not a finite number"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", MALFORMED)
def test_malformed_rows_are_named_and_the_good_ones_stay(tmp_path, form):
    kind, text, expected = MALFORMED[form]
    (task,), failures, _ = from_text(kind, tmp_path, text, "a.jpg")
    assert task.bboxes_xyxy.tolist() == [[0, 0, 5, 5]]
    assert len(failures) == len(expected)
    for number, reason in expected.items():
        found = [f for f in failures if f"boxes.txt, {'entry' if form == 'coco' else 'line'} {number}" in f.message]
        assert len(found) == 1 and found[0].instance_id is not None and found[0].error == "BoxError"
        assert re.search(reason, found[0].message)
    with pytest.raises(ConfigError, match=r"boxes.txt, \w+ \d.*boxes.strict=true"):
        from_text(kind, tmp_path, text, "a.jpg", strict=True)


def test_malformed_yolo_lines_are_named(tmp_path):
    (tmp_path / "a.txt").write_text(
        "0 0.5 0.5 0.1 0.1\n0 0.5 0.5 0.1\n0 0.1 0.2 0.3 0.4 0.1 0.2 0.3 0.4\n0 0.5 x 0.1 0.1\n"
    )
    (task, other), failures, _ = YoloBoxes(str(tmp_path))(source_of("a.jpg", "b.jpg"))
    assert task.num_boxes == 1 and task.normalised and other.num_boxes == 0
    assert [f"a.txt, line {number}" in f.message for number, f in zip((2, 3, 4), failures)] == [True] * 3
    with pytest.raises(ConfigError, match=r"a.txt, line 2.*strict"):
        YoloBoxes(str(tmp_path), strict=True)(source_of("a.jpg"))
    with pytest.raises(ConfigError, match="no label file for any of the images, such as c.txt"):
        YoloBoxes(str(tmp_path))(source_of("c.jpg"))
    with pytest.raises(ConfigError, match="is not a folder"):
        YoloBoxes(str(tmp_path / "a.txt"))


def test_mot_ground_truth_leaves_out_what_is_marked_and_no_people(tmp_path):
    text = "1,1,1,1,5,5,1,1,0.5\n1,2,1,1,5,5,0,1,1\n1,3,1,1,5,5,1,3,1\n2,1,2,2,5,5,1,7,1\n2,-1,2,2,5,5,0.25,1,1\n"
    (one, two), failures, _ = from_text(MotBoxes, tmp_path, text, "f_0001.png", "f_0002.png")
    assert one.instance_ids.tolist() == [1] and two.instance_ids.tolist() == [1, 1] and not failures
    assert two.bbox_scores.tolist() == [1.0, 0.25] and two.bboxes_xyxy.tolist() == [[1, 1, 6, 6]] * 2
    assert (one.image_id, two.image_id) == (1, 2)


@pytest.mark.parametrize(
    ("names", "frame_of"),
    [
        (("f1.jpg", "f2.jpg", "f10.jpg"), {1: "f1.jpg", 10: "f10.jpg"}),
        (("0000.jpg", "0001.jpg", "0002.jpg"), {1: "0000.jpg", 3: "0002.jpg"}),
        (("a.jpg", "b.jpg", "c.jpg"), {1: "a.jpg", 3: "c.jpg"}),
        (tuple(f"img ({n}).jpg" for n in (1, 10, 2)), {1: "img (1).jpg", 2: "img (2).jpg", 10: "img (10).jpg"}),
        (("1_cam.jpg", "10_cam.jpg", "9_cam.jpg"), {1: "1_cam.jpg", 9: "9_cam.jpg", 10: "10_cam.jpg"}),
        (("cam2_f_0009_v3.jpg", "cam2_f_0010_v3.jpg"), {9: "cam2_f_0009_v3.jpg", 10: "cam2_f_0010_v3.jpg"}),
        (("#cover.jpg", "000001.jpg", "000002.jpg"), {1: "000001.jpg", 2: "000002.jpg"}),
        (("7/img.jpg", "8/img.jpg", "10/img.jpg"), {7: "7/img.jpg", 10: "10/img.jpg"}),
        (("s3_01_x1.jpg", "s3_02_x1.jpg", "s4_03_x1.jpg"), {1: "s3_01_x1.jpg", 3: "s4_03_x1.jpg"}),
        (("t500_1.jpg", "t533_2.jpg"), {1: "t500_1.jpg", 2: "t533_2.jpg"}),
        (("only_3_of_9.jpg",), {3: "only_3_of_9.jpg"}),
    ],
)
def test_frames_of_a_sequence(tmp_path, names, frame_of):
    text = "".join(f"{frame},{frame},1,1,5,5,-1,-1,-1,-1\n" for frame in frame_of)
    tasks, failures, _ = from_text(MotBoxes, tmp_path, text, *names)
    assert not failures and {int(t.instance_ids[0]): t.name for t in tasks if t.num_boxes} == frame_of
    assert all((task.bbox_scores == 1).all() for task in tasks)
    _, failures, _ = from_text(MotBoxes, tmp_path, text + "99,1,1,1,5,5,1,-1,-1,-1\n", *names)
    assert [f.image for f in failures] == ["frame 99"] and "boxes.txt names frame 99" in failures[0].message


def test_two_sequences_are_not_one(tmp_path):
    with pytest.raises(ConfigError, match=r"a/1.jpg and b/1.jpg have the same frame number"):
        from_text(MotBoxes, tmp_path, "1,1,1,1,5,5,1,-1,-1,-1\n", "a/1.jpg", "b/1.jpg")


def test_tables_that_do_not_say_what_is_what_are_refused(tmp_path):
    for text in ("a.jpg,1,2,3,4\n", "image,x1,y1,x2\n", "x1,y1,x2,y2\n"):
        with pytest.raises(ConfigError, match="names no columns for the image"):
            from_text(CsvBoxes, tmp_path, text, "a.jpg")
    with pytest.raises(ConfigError, match="^format='ltrb' must be one of xyxy"):
        from_text(CsvBoxes, tmp_path, "image,x,y,w,h\n", "a.jpg", format="ltrb")
    both = "image,x1,y1,x2,y2,x,y,w,h\na.jpg,1,2,3,4,10,20,5,5\n"
    assert from_text(CsvBoxes, tmp_path, both, "a.jpg").tasks[0].bboxes_xyxy.tolist() == [[1, 2, 3, 4]]
    chosen = from_text(CsvBoxes, tmp_path, both, "a.jpg", format="xywh")
    assert chosen.tasks[0].bboxes_xyxy.tolist() == [[10, 20, 15, 25]]


def test_boxes_in_parts_of_an_image_that_lies_on_its_side(predict, mini, tmp_path):
    pixels = np.random.default_rng(1).integers(0, 255, (60, 100, 3), np.uint8)  # 100x60 px in the file, 60x100 upright
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "images").mkdir()
    Image.fromarray(pixels).save(tmp_path / "images" / "a.jpg", exif=exif)
    for kind, box in (("upright", [0.25, 0.5, 0.5, 0.2]), ("raw", [0.5, 0.75, 0.2, 0.5])):
        (tmp_path / "boxes.json").write_text(json.dumps({"a.jpg": [box]}))
        run = predict(
            *mini, f"data.images={tmp_path / 'images'}", "boxes=json", f"boxes.file={tmp_path / 'boxes.json'}",
            "boxes.format=cxcywhn", f"boxes.exif={kind}", "data.num_workers=0", folder=kind,
        )  # fmt: skip
        assert run.results["a.jpg"]["instance_info"][0]["bbox"] == pytest.approx([0, 40, 30, 60]), run.err


def test_detections_and_annotations_of_the_photographs(predict, mini):
    """Ids and scores of the results are those of the files' rows; the two differ in whom they name."""
    settings = [*mini, f"data.images={COCO}", "boxes=coco", "data.num_workers=0"]
    annotated = predict(*settings, f"boxes.file={COCO / 'test_coco.json'}", folder="annotations").results
    detected = predict(*settings, f"boxes.file={COCO / 'test_coco_det_AP_H_56.json'}", folder="detections").results
    rows = {row["id"]: row for row in json.loads((COCO / "test_coco.json").read_text())["annotations"]}
    scores = json.loads((COCO / "test_coco_det_AP_H_56.json").read_text())
    assert [len(result["instance_info"]) for result in annotated.values()] == [1, 2, 4, 5]
    counts = [len(result["instance_info"]) for result in detected.values()]
    assert counts != [1, 2, 4, 5] and all(1 <= count <= 10 for count in counts)
    for name, result in annotated.items():
        assert result["image"]["id"] == int(name[:-4])
        for person in result["instance_info"]:
            left, top, width, height = rows[person["instance_id"]]["bbox"]
            assert person["bbox"] == pytest.approx([left, top, left + width, top + height])
            assert rows[person["instance_id"]]["image_id"] == int(name[:-4])
    for name, result in detected.items():
        given = [row for row in scores if row["image_id"] == int(name[:-4])]
        for person in result["instance_info"]:
            row = given[person["instance_id"]]  # without an id, the position among the image's rows
            assert person["bbox_score"] == row["score"] >= 0.3
            assert person["bbox"][:2] == pytest.approx(row["bbox"][:2])


def test_a_strict_run_stops_before_it_has_begun(predict, mini, tmp_path):
    (tmp_path / "b.csv").write_text("image,x1,y1,x2,y2\n000000000785.jpg,0,0,99,99\n000000000785.jpg,9,9,9,9\n")
    settings = [*mini, f"data.images={COCO}", "boxes=csv", f"boxes.file={tmp_path / 'b.csv'}", "data.num_workers=0"]
    strict = predict(*settings, "boxes.strict=true", folder="strict")
    assert strict.code == 2 and strict.err.count("\n") == 1 and "b.csv, line 3" in strict.err, strict.err
    lenient = predict(*settings, folder="lenient")
    assert lenient.code == 0 and len(lenient.results) == 4
    (failure,) = lenient.failures
    assert failure["image"] == "000000000785.jpg" and "b.csv, line 3" in failure["message"]
    assert len(lenient.results["000000000785.jpg"]["instance_info"]) == 1
