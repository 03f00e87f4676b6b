"""YOLO's label files as the field's programs write them: people are found, and no column is taken for another."""

from __future__ import annotations

import logging
import unicodedata

import pytest

from sapiens_pl.boxes.yolo_boxes import YoloBoxes
from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.plan import Pictures

BOX = "0.5 0.5 0.2 0.4"


def boxes_of(folder, labels, **options):
    """Each image's ids and scores, and the failures."""
    for name, text in labels.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    names = options.pop("images", sorted(name.replace(".txt", ".jpg") for name in labels if name[:-4].isalpha()))
    source = Pictures("/photos", Names.of(names), True)
    tasks, failures, _ = YoloBoxes(str(folder), **options)(source)
    return [list(zip(task.instance_ids.tolist(), task.bbox_scores.tolist())) for task in tasks], failures


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("0.9", "0.25", [(0, 0.9), (0, 0.25)]),
        ("1", "0.25", [(0, 1.0), (0, 0.25)]),
        ("7", "9", [(7, 1.0), (9, 1.0)]),
        ("7.0", "1", [(7, 1.0), (1, 1.0)]),
        ("1", "1", [(1, 1.0), (1, 1.0)]),
        ("1", "-1", [(1, 1.0), (0, 1.0)]),
        ("1.0", "1.0", [(0, 1.0), (0, 1.0)]),
        ("0.9 7", "0.25 8", [(7, 0.9), (8, 0.25)]),
        ("0.9 7", "0.25", [(7, 0.9), (0, 0.25)]),
        ("7 0.9", "8 0.25", [(7, 0.9), (8, 0.25)]),
        ("1 1", "0.5 2", [(1, 1.0), (2, 0.5)]),
    ],
)
def test_the_column_behind_the_box_is_told_from_all_files(tmp_path, first, second, expected):
    (one, two), failures = boxes_of(tmp_path, {"a.txt": f"0 {BOX} {first}\n", "b.txt": f"0 {BOX} {second}\n"})
    assert [*one, *two] == expected and not failures


@pytest.mark.parametrize("columns", [("87.5", "12.5"), ("0.9", "7"), ("7", "7"), ("0.9 1.5", "0.2 2.5")])
def test_a_column_that_is_neither_score_nor_id_is_refused(tmp_path, columns):
    with pytest.raises(ConfigError, match=r"a.txt, line 1: the column after the box is neither"):
        boxes_of(tmp_path, {"a.txt": "".join(f"0 {BOX} {column}\n" for column in columns)})


def test_a_line_with_no_number_there_costs_its_own_place(tmp_path):
    (people,), failures = boxes_of(
        tmp_path, {"a.txt": "".join(f"0 {BOX} {tail}\n" for tail in ("high", "7", "nan", "8"))}
    )
    assert people == [(7, 1.0), (8, 1.0)]
    assert ["line 1" in failures[0].message, "line 3" in failures[1].message] == [True, True]


POSE_3D = " ".join(["0.5 0.5 2"] * 16 + ["0 0 0"])
POSE_2D = " ".join(f"0.{45 + n % 10} 0.{40 + n}" for n in range(17))


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        (POSE_3D, (0, 1.0)),
        (POSE_2D, (0, 1.0)),
        (f"{POSE_3D} 0.9", (0, 0.9)),
        (f"{POSE_3D} 0.9 7", (7, 0.9)),
        (f"{POSE_2D} 0.9", (0, 0.9)),
        (f"{POSE_2D} 7", (7, 1.0)),
        (" ".join(["0.5 0.5 0.83"] * 17), (0, 1.0)),
        (" ".join(["0.5 0.5 1"] * 5), (0, 1.0)),
    ],
)
def test_labels_of_poses_give_their_box(tmp_path, tail, expected):
    (people, other), failures = boxes_of(tmp_path, {"a.txt": f"0 {BOX} {tail}\n", "b.txt": ""})
    assert people == [expected] and not other and not failures


def test_a_data_set_says_how_many_keypoints_its_poses_have(tmp_path):
    yaml = "names: {0: swimmer}\nkpt_shape: [4, 2]\n"
    (people,), _ = boxes_of(tmp_path, {"a.txt": f"0 {BOX} 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.75\n", "data.yaml": yaml})
    assert people == [(0, 0.75)]


OUTLINE = " ".join(f"{0.5 + 0.2 * x:.3f} {0.5 + 0.2 * y:.3f}" for x, y in [(1, 0), (0.7, 0.7), (0, 1), (-0.7, 0.7)] * 3)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (f"0 {OUTLINE}", "segmentation"),
        ("0 0.1 0.1 0.9 0.1 0.5 0.9", "segmentation"),
        ("0 0.1 0.1 0.9 0.1 0.9 0.9 0.1 0.9", "turned box .OBB. or a segmentation"),
        ("0 " + " ".join(f"{0.5 + 0.02 * n} 0.{50 + n}" for n in range(19)), "segmentation"),
        ("0 0.5 0.5 0.1", "no label"),
    ],
)
def test_labels_without_a_box_are_refused_by_their_kind(tmp_path, line, kind):
    with pytest.raises(ConfigError, match=rf"no line has a box .*a.txt, line 1, is .*{kind}"):
        boxes_of(tmp_path, {"a.txt": f"{line}\n"})


def test_an_outline_among_boxes_is_recorded(tmp_path):
    (people,), (failure,) = boxes_of(tmp_path, {"a.txt": f"0 {BOX}\n0 {OUTLINE}\n"})
    assert people == [(0, 1.0)] and "a.txt, line 2" in failure.message and "segmentation label" in failure.message


@pytest.mark.parametrize(
    ("lines", "beside"),
    [
        (["person", "dog"], {}),
        (["Person", "traffic light"], {}),
        (["0", "16"], {}),
        (["2", "0"], {"data.yaml": "names: [bicycle, car, person]\n"}),
        (["2", "0"], {"data.yaml": "names:\n  0: dog\n  2: pedestrian\n"}),
        (["1", "0"], {"classes.txt": "dog\nhuman\n"}),
    ],
)
def test_people_are_told_by_the_classes_names(tmp_path, lines, beside):
    labels = {"labels/a.txt": f"{lines[0]} {BOX} 0.9\n{lines[1]} {BOX} 0.8\n"}
    for name, text in beside.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "labels").mkdir()
    (people,), failures = boxes_of(tmp_path / "labels", {"a.txt": labels["labels/a.txt"]})
    assert people == [(0, 0.9)] and not failures


def test_where_nobody_is_a_person_the_classes_are_named(tmp_path):
    labels = {"a.txt": f"2 {BOX}\n2 {BOX}\n3 {BOX}\n"}
    with pytest.raises(ConfigError, match=r"classes 2 \(2\), 3 \(1\).*boxes.category_id="):
        boxes_of(tmp_path, labels)
    assert len(boxes_of(tmp_path, labels, category_id=2)[0][0]) == 2
    (tmp_path / "classes.txt").write_text("dog\ncat\nplayer\nball\n")
    assert len(boxes_of(tmp_path, labels, category_id="player")[0][0]) == 2
    with pytest.raises(ConfigError, match=r"classes.txt.*2 'player' \(2\), 3 'ball'"):
        boxes_of(tmp_path, labels)


def test_one_label_file_for_two_images_is_nobodys(tmp_path):
    labels = {"a.txt": f"0 {BOX}\n", "b.txt": f"0 {BOX}\n"}
    (jpg, png, b), (failure,) = boxes_of(tmp_path, labels, images=["a.jpg", "a.png", "b.jpg"])
    assert not jpg and not png and len(b) == 1
    assert failure.image == "a.txt" and "could be the labels of a.jpg or a.png" in failure.message


def test_label_files_are_found_in_other_spellings_and_the_unused_are_said(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    labels = {unicodedata.normalize("NFC", "s/é.txt"): f"0 {BOX}\n", "b.txt": f"0 {BOX}\n", "gone.txt": f"0 {BOX}\n"}
    (accent, b), failures = boxes_of(tmp_path, labels, images=[unicodedata.normalize("NFD", "s/é.jpg"), "b.jpg"])
    assert len(accent) == len(b) == 1 and not failures
    assert "1 label files belong to none" in caplog.text and "gone.txt" in caplog.text


def test_labels_in_px_and_empty_ones(tmp_path):
    with pytest.raises(ConfigError, match="px, not parts.*boxes.format="):
        boxes_of(tmp_path, {"a.txt": "0 320 240 100 200\n" * 3})
    assert boxes_of(tmp_path, {"a.txt": ""}) == ([[]], [])


def test_a_line_of_commas_costs_its_own_place(tmp_path):
    (people,), failures = boxes_of(tmp_path, {"a.txt": f"0 {BOX}\n,\n , ,\n"})
    assert people == [(0, 1.0)] and len(failures) == 2
