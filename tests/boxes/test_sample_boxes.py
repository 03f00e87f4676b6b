"""Boxes beside the pictures themselves, and whole runs on tars and tables against the same pictures as files."""

from __future__ import annotations

import csv
import io
import json
import tarfile

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sapiens_pl.boxes.image_finder import ImageFinder
from sapiens_pl.boxes.sample_boxes import SampleBoxes
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.pictures.sources import open_source

BOX, OTHER = [1, 2, 13, 11], [4, 3, 15, 9]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def picture(seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 255, (3, 4, 3), np.uint8)
    return cv2.imencode(".jpg", cv2.resize(noise, (80, 60)))[1].tobytes()


def tar_of(path, notes: dict[str, object]):
    """Pictures with these notes: None for none, bytes as they stand, else as JSON."""
    with tarfile.open(path, "w") as tar:
        for seed, (key, note) in enumerate(notes.items()):
            members = {f"{key}.jpg": picture(seed)}
            if note is not None:
                members[f"{key}.json"] = note if isinstance(note, bytes) else json.dumps(note).encode()
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


def boxes_of(images, **options):
    pictures = open_source(str(images)).pictures()
    tasks, failures, _ = SampleBoxes(**options)(pictures)
    return {task.name.split("/")[1]: task for task in tasks}, failures


def test_a_tars_notes_give_boxes_scores_and_ids(tmp_path):
    notes = {
        "0": {"bboxes": [BOX, OTHER], "scores": [0.9, 0.8], "ids": [7, 3], "url": "x"},
        "1": {"bboxes": []},
        "2": None,
        "3": {"bboxes": BOX, "scores": 0.7},
        "4": {"url": "y"},
    }
    tasks, failures = boxes_of(tar_of(tmp_path / "a.tar", notes))
    assert {name: task.bboxes_xyxy.tolist() for name, task in tasks.items()} == {
        "0.jpg": [BOX, OTHER], "1.jpg": [], "2.jpg": [], "3.jpg": [BOX], "4.jpg": [],
    }  # fmt: skip
    assert not failures
    assert tasks["0.jpg"].bbox_scores.tolist() == [0.9, 0.8] and tasks["0.jpg"].instance_ids.tolist() == [7, 3]
    assert tasks["3.jpg"].bbox_scores.tolist() == [0.7] and tasks["3.jpg"].instance_ids.tolist() == [0]


def test_notes_that_cannot_be_read_cost_their_own_picture(tmp_path):
    notes = {
        "0": {"bboxes": [BOX, [5, 5, 5, 5]]}, "1": b"{broken", "2": {"bboxes": "none"},
        "3": {"bboxes": [BOX], "ids": [1, 2]}, "4": [1], "5": {"bboxes": [OTHER]},
    }  # fmt: skip
    path = tar_of(tmp_path / "a.tar", notes)
    tasks, failures = boxes_of(path)
    assert {name: task.bboxes_xyxy.tolist() for name, task in tasks.items()} == {"0.jpg": [BOX], "5.jpg": [OTHER]}
    told = {failure.image.split("/")[1]: failure.message for failure in failures}
    words = {"0.jpg": "has no area", "1.jpg": "is not JSON", "2.jpg": "no list under bboxes", "3.jpg": "1 bboxes and 2"}
    words |= {"4.jpg": "not a JSON object"}
    assert told.keys() == words.keys() and all(words[name] in told[name] for name in words)
    assert [failure.instance_id for failure in failures] == [1, None, None, None, None]
    with pytest.raises(ConfigError, match=r"boxes.strict=true"):
        boxes_of(path, strict=True)


def test_fields_have_names_of_ones_own_also_inside_others(tmp_path):
    table = pa.table({"image": [picture(0), picture(1)], "objects": [{"bbox": [BOX], "conf": [0.5]}, None]})
    pq.write_table(table, tmp_path / "a.parquet")
    tasks, _ = boxes_of(tmp_path / "a.parquet", bboxes="objects.bbox", scores="objects.conf", format="xywh")
    (first, second) = tasks.values()
    assert first.bboxes_xyxy.tolist() == [[1, 2, 14, 13]] and first.bbox_scores.tolist() == [0.5]
    assert second.bboxes_xyxy.tolist() == []


def test_missing_fields_and_samples_are_told(tmp_path):
    path = tar_of(tmp_path / "a.tar", {"0": {"url": 1, "box": [BOX]}})
    with pytest.raises(ConfigError, match=r"under bboxes: their fields are box, url; name the field .*boxes=detector"):
        boxes_of(path)
    with pytest.raises(ConfigError, match=r"nothing stands beside .*; name the field .* set boxes=detector or"):
        boxes_of(tar_of(tmp_path / "b.tar", {"0": None}))
    with pytest.raises(ConfigError, match=r"1 samples cannot be read; .* is not JSON.*; name the field"):
        boxes_of(tar_of(tmp_path / "c.tar", {"0": b"{broken"}))
    pq.write_table(pa.table({"image": [picture(0)], "objects": [[BOX]], "url": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match=r"under boxen: their fields are objects, url; name the field .*FIELD"):
        boxes_of(tmp_path / "a.parquet", bboxes="boxen")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.jpg").write_bytes(picture(0))
    with pytest.raises(ConfigError, match="boxes=sample is for pictures from tars and tables"):
        boxes_of(tmp_path / "files")


def test_box_files_may_call_pictures_by_their_keys_alone(tmp_path):
    tar_of(tmp_path / "0.tar", {"a": None, "b": None})
    tar_of(tmp_path / "1.tar", {"b": None, "c.d": None})
    finder = ImageFinder(open_source(str(tmp_path / "{0,1}.tar")).pictures())
    found = {key: finder.find(key) for key in ("a", "0.tar/b", "1.tar/b.jpg", "c.d", "c.d.jpg", "b", "a.png", "0")}
    assert list(found.values()) == [0, 1, 2, 3, 3, None, None, None]
    assert finder.why_not("b").reason.startswith("could be 0.tar/b.jpg or 1.tar/b.jpg")


def test_files_tars_and_tables_give_the_same_people(predict, mini, tmp_path):
    boxes = {f"{number:03d}": [[5 + number, 4, 50, 55], [30, 10, 70, 58]][: number % 3] for number in range(12)}
    files = tmp_path / "files"
    files.mkdir()
    for number, key in enumerate(boxes):
        (files / f"{key}.jpg").write_bytes(picture(number))
    (tmp_path / "boxes.json").write_text(json.dumps({f"{key}.jpg": rows for key, rows in boxes.items()}))
    with open(tmp_path / "boxes.csv", "w") as table:
        rows = [[f"s/0.tar/{key}.jpg" if int(key) < 6 else f"{key}.jpg", *box] for key in boxes for box in boxes[key]]
        csv.writer(table).writerows([["image", "x1", "y1", "x2", "y2"], *rows])
    (tmp_path / "s").mkdir()
    keys = list(boxes)
    for shard in range(2):
        with tarfile.open(tmp_path / "s" / f"{shard}.tar", "w") as tar:
            for key in keys[6 * shard : 6 * shard + 6]:
                tar.add(files / f"{key}.jpg", f"{key}.jpg")
                info = tarfile.TarInfo(f"{key}.json")
                data = json.dumps({"bboxes": boxes[key]}).encode()
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    columns = {"image": [(files / f"{key}.jpg").read_bytes() for key in keys], "bboxes": list(boxes.values())}
    pq.write_table(pa.table(columns | {"key": keys}), tmp_path / "t.parquet", row_group_size=5)

    def people(folder, *overrides):
        run = predict(*mini, *overrides, "data.batch_size=4", folder=folder)
        assert run.code == 0, run.err
        found = {}
        for name, result in run.results.items():
            assert result["image"]["path"]
            found[name.split("/")[-1].removesuffix(".jpg")] = result["instance_info"]
        return run, found

    given = ("boxes=json", f"boxes.file={tmp_path}/boxes.json", "data.num_workers=2")
    _, expected = people("files_run", f"data.images={files}", *given)
    assert sum(map(len, expected.values())) == 12 and len(expected) == 12
    tars = f"data.images={tmp_path}/s/{{0..1}}.tar"
    run, found = people("tars_run", tars, "boxes=sample", "data.num_workers=2", "output.formats=[json,overlay]")
    assert found == expected
    assert len(list((run.folder / "overlays").rglob("*.jpg"))) == 12
    by_csv = ("boxes=csv", f"boxes.file={tmp_path}/boxes.csv", "data.num_workers=0", "output.formats=[json]")
    assert people("csv_run", tars, *by_csv)[1] == expected
    table = (f"data.images={tmp_path}/t.parquet", "data.columns.key=key", "boxes=sample")
    run, found = people("table_run", *table, "data.num_workers=2", "output.formats=[json,overlay]")
    assert found == expected
    assert len(list((run.folder / "overlays").rglob("*.jpg"))) == 12


def test_a_run_records_what_a_tar_lacks_and_goes_on_when_it_is_whole(predict, mini, tmp_path):
    notes = {str(number): {"bboxes": [BOX]} for number in range(4)} | {"4": b"{", "5": {"bboxes": [OTHER]}}
    path = tar_of(tmp_path / "a.tar", notes)
    whole = path.read_bytes()
    with tarfile.open(path) as tar:
        path.write_bytes(whole[: tar.getmember("5.jpg").offset_data + 50])
    given = (*mini, f"data.images={path}", "boxes=sample", "output.formats=[json]")
    run = predict(*given)
    assert run.code == 0, run.out + run.err
    assert sorted(run.results) == [f"a.tar/{number}.jpg" for number in range(4)]
    assert {row["image"]: row["error"] for row in run.failures} == {
        "a.tar": "UnreadableShardError", "a.tar/4.jpg": "BoxError", "a.tar/5.jpg": "DamagedImageError",
    }  # fmt: skip
    notes["4"] = {"bboxes": []}
    tar_of(path, notes)
    run = predict(*given, "output.redo=failed")
    assert run.code == 0 and sorted(run.results) == [f"a.tar/{number}.jpg" for number in range(6)], run.err
    assert not run.failures
