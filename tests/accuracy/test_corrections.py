"""A run's annotation file that came back from annotators: what they changed, and how good the run was."""

from __future__ import annotations

import copy
import csv
import io
import json

import numpy as np
import pytest
from records.made_up import make_records, pose_result

from sapiens_pl.accuracy.annotations import read_annotations
from sapiens_pl.accuracy.of_run import evaluate_run
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.products.coco_annotations import CocoAnnotations
from sapiens_pl.records.reading import Records
from sapiens_pl.records.run_folder import RunFolder


def people_at(name, count, num_keypoints=17, **changes):
    """People inside of the picture, each in the box around the keypoints."""
    result = pose_result(name, count, num_keypoints)
    rng = np.random.default_rng([count, *name.encode()])
    middles = np.linspace(100, 540, count)[:, None, None] * [1, 0] + [0, 240]
    points = (middles + rng.uniform(-60, 60, (count, num_keypoints, 2))).astype(np.float32)
    boxes = np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1).astype(np.float64).reshape(count, 4)
    scores = rng.uniform(0.4, 1, (count, num_keypoints)).astype(np.float32)
    return result._replace(keypoints=points, bboxes=boxes, keypoint_scores=scores, **changes)


@pytest.fixture
def run(tmp_path):
    """A folder, and what was handed out of it."""

    def run(num_keypoints=17, **some):
        results = [people_at(f"{name}.jpg", count, num_keypoints) for name, count in zip("abc", (2, 1, 3))]
        make_records(tmp_path / "run", results, num_keypoints)
        CocoAnnotations(0.3, **some).write(Records.read(tmp_path / "run"), tmp_path / "run")
        return tmp_path / "run", json.loads((tmp_path / "run" / "coco_annotations.json").read_text()), results

    return run


def evaluated(folder, corrected, capsys, **options):
    """The rows of `corrections.csv` (None: there is none), the AP of each part, and what is printed."""
    file = folder.parent / "corrected.json"
    file.write_text(json.dumps(corrected))
    opened = RunFolder(folder)
    opened.open()
    try:
        evaluate_run(opened, read_annotations(file), **options)
    finally:
        opened.close()
    table = folder / "corrections.csv"
    rows = list(csv.DictReader(io.StringIO(table.read_text()))) if table.exists() else None
    figures = json.loads((folder / "evaluation.json").read_text())["parts"]
    return rows, {part: of["AP"] for part, of in figures.items()}, capsys.readouterr().out


def triples(person):
    return np.reshape(person["keypoints"], (-1, 3))


def with_triples(person, values):
    person["keypoints"] = np.asarray(values).ravel().tolist()


def test_a_file_that_nobody_touched_has_no_corrections(run, capsys):
    folder, content, _ = run()
    rows, figures, out = evaluated(folder, content, capsys)
    assert rows == [] and figures == {"body": 1.0}
    assert "3 in both files" in out and "6 as they were, 0 corrected, 0 added, 0 removed" in out


def corrected_of(content):
    """Every change once, and some that are none."""
    corrected = copy.deepcopy(content)
    first, second, _, one, *_ = corrected["annotations"]
    values = triples(first)
    values[0, :2] += (3, 4)  # moved by 5 px
    values[1, :2] += 0.7  # rounded by a program
    values[2] = 0
    values[3, 2] = 1
    with_triples(first, values)
    values = triples(second)
    values[5] = (10, 20, 2)
    with_triples(second, values)
    new = copy.deepcopy(one) | {"id": 99, "attributes": {}}
    values = triples(new)
    values[:, :2] += (0, 200)
    with_triples(new, values)
    new["bbox"][1] += 200
    corrected["annotations"] = [first, second, one, corrected["annotations"][5], new]  # two are removed
    return corrected


@pytest.mark.parametrize("keeps", ["everything", "no attributes", "other ids", "texts"])
def test_every_change_is_told_whatever_the_program_keeps(run, capsys, keeps):
    folder, content, results = run()
    content["annotations"][1]["keypoints"][15:18] = [0, 0, 0]  # was not labelled when it was handed out
    (folder / "coco_annotations.json").write_text(json.dumps(content))
    corrected = corrected_of(content)
    for number, person in enumerate(corrected["annotations"]):
        if keeps == "texts":
            person["attributes"] = {key: str(value) for key, value in person["attributes"].items()}
        elif keeps != "everything":
            person["attributes"] = {}
        if keeps == "other ids":
            person["id"] = 1000 + number
            person["image_id"] += 70
    if keeps == "other ids":
        for image in corrected["images"]:
            image["id"] += 70
    rows, figures, out = evaluated(folder, corrected, capsys)
    told = [(row["image"], row["instance_id"], row["change"], row["keypoint"], row["pixels"]) for row in rows]
    removed = [("c.jpg", "1", "person_removed", "", "")]
    assert sorted(told) == sorted(
        [
            ("a.jpg", "0", "moved", "nose", "5.0"),
            ("a.jpg", "0", "removed", "right_eye", ""),
            ("a.jpg", "0", "hidden", "left_ear", ""),
            ("a.jpg", "1", "added", "left_shoulder", ""),
            ("b.jpg", "0", "person_removed", "", ""),
            *removed,
            ("c.jpg", "", "person_added", "", ""),
        ]
    )
    moved = next(row for row in rows if row["change"] == "moved")
    assert float(moved["corrected_x"]) - float(moved["x"]) == pytest.approx(3)
    assert float(moved["score"]) == pytest.approx(results[0].keypoint_scores[0, 0], abs=1e-6)
    assert "2 as they were, 2 corrected, 1 added, 2 removed" in out
    assert "1 moved (half of them by 5.0 px or more, at most 5.0), 1 added, 1 removed, 1 hidden, 0 shown" in out
    assert 0.5 < figures["body"] < 1


@pytest.mark.parametrize(
    ("num_keypoints", "some", "parts"),
    [
        (308, {"subset": "body"}, ["body"]),
        (308, {"subset": "body_feet"}, ["body", "foot", "all"]),
        (308, {"subset": "wholebody"}, ["body", "foot", "left hand", "right hand", "hand", "all"]),
        (308, {}, ["body", "foot", "left hand", "right hand", "hand", "all"]),
        (133, {}, ["body", "foot", "face", "left hand", "right hand", "hand", "whole"]),
    ],
)
def test_keypoints_are_compared_by_their_names(run, capsys, num_keypoints, some, parts):
    folder, content, _ = run(num_keypoints, **some)
    corrected = copy.deepcopy(content)
    names = corrected["categories"][0]["keypoints"]
    order = np.random.default_rng(1).permutation(len(names))  # a program that sorts them in its own way
    corrected["categories"][0] |= {"keypoints": [names[place] for place in order], "skeleton": []}
    for person in corrected["annotations"]:
        with_triples(person, triples(person)[order])
    if len(names) == 17:  # COCO's own form has one order
        corrected = copy.deepcopy(content)
        order = np.arange(17)
    first = triples(corrected["annotations"][0])
    place = int(np.flatnonzero(order == names.index("left_ankle"))[0])
    first[place, 0] += 30
    with_triples(corrected["annotations"][0], first)
    rows, figures, _ = evaluated(folder, corrected, capsys)
    assert [(row["keypoint"], row["change"], row["pixels"]) for row in rows] == [("left_ankle", "moved", "30.0")]
    assert list(figures) == parts and all(figure > 0.9 for figure in figures.values())


def test_only_the_people_who_were_handed_out_count(run, capsys):
    folder, content, _ = run(worst=2)
    assert len(content["annotations"]) == 2
    rows, figures, out = evaluated(folder, content, capsys)
    assert rows == [] and figures == {"body": 1.0} and "2 as they were" in out
    del content["annotations"][0]
    rows, _, _ = evaluated(folder, content, capsys)
    assert [row["change"] for row in rows] == ["person_removed"]


def test_annotations_that_were_not_made_of_the_run_are_only_compared(run, capsys):
    folder, content, _ = run()
    for person in content["annotations"]:
        person["attributes"] = {}
        values = triples(person)
        values[:, :2] += np.random.default_rng(person["id"]).uniform(2, 6, (17, 2))
        with_triples(person, values)
    rows, figures, out = evaluated(folder, content, capsys)
    assert rows is None and "Corrected" not in out and "body" in figures
    with pytest.raises(ConfigError, match="was not made of handed_out="):
        evaluated(folder, content, capsys, handed_out=folder / "coco_annotations.json")


def test_the_handed_out_file_may_lie_elsewhere_and_be_none(run, capsys, tmp_path):
    folder, content, _ = run()
    (folder / "coco_annotations.json").rename(tmp_path / "given.json")
    assert evaluated(folder, content, capsys)[0] is None
    assert evaluated(folder, content, capsys, handed_out=tmp_path / "given.json")[0] == []
    with pytest.raises(ConfigError, match="handed_out=.*gone.json cannot be read"):
        evaluated(folder, content, capsys, handed_out=tmp_path / "gone.json")


def test_keypoints_of_another_set_are_told(run, capsys):
    folder, content, _ = run(308)
    content["categories"][0]["keypoints"][3] = "tail"
    (folder / "coco_annotations.json").unlink()
    with pytest.raises(ConfigError, match=r"1 of its 308 keypoints are none of goliath \(tail the first\)"):
        evaluated(folder, content, capsys)
