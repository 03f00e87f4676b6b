"""Files that hold a whole run, where videos are among its pictures: which frame, when, who, smoothed."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pandas
import pyarrow.parquet as pq
from products.made import InMemory, smoothed
from pycocotools.coco import COCO
from records.made_up import frame_result, pose_result

from sapiens_pl.core.structures import NO_TRACK_ID, ShardMember
from sapiens_pl.products import parquet_table
from sapiens_pl.products.coco_annotations import CocoAnnotations
from sapiens_pl.products.coco_results import CocoResults
from sapiens_pl.products.csv_table import COLUMNS, CsvTable, write_csv
from sapiens_pl.products.openpose_json import OpenPoseJson
from sapiens_pl.products.parquet_table import ParquetTable, pose_table

WALK, RUN = "a/walk.mp4", "=run.mkv"
K = 17


def mixed(with_smoothed: bool = False) -> list:
    """Two photographs, and frames of two videos; in one of them somebody is nobody's track, in one somebody bridged."""
    frames = [frame_result(WALK, 0, 2), frame_result(WALK, 3, 1), frame_result(WALK, 5, 0), frame_result(RUN, 1, 1)]
    frames[1] = frames[1]._replace(track_ids=np.array([NO_TRACK_ID]))
    if with_smoothed:
        frames = [smoothed(frame, *([2, 8] if frame is frames[1] else [])) for frame in frames]
    return [pose_result("b.jpg", 2), *frames, pose_result("z.jpg", 1)]


def parquet(tmp_path, results):
    ParquetTable().write(InMemory(results), tmp_path)
    return pq.read_table(tmp_path / "parquet")


def csv_rows(tmp_path, results) -> list[dict[str, str]]:
    CsvTable().write(InMemory(results), tmp_path)
    with open(tmp_path / "keypoints.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_tables_say_which_frame_and_who_and_leave_that_empty_for_photographs(tmp_path):
    table = parquet(tmp_path, mixed()).to_pandas()
    expected = {
        "video": [RUN, WALK, WALK, WALK, None, None, None],
        "frame": [1, 0, 0, 3, None, None, None],
        "pts": [512, 0, 0, 1536, None, None, None],
        "seconds": [0.04, 0, 0, 0.12, None, None, None],
        "track_id": [1, 1, 2, None, None, None, None],
    }
    for name, column in expected.items():
        assert [None if pandas.isna(value) else value for value in table[name]] == column, name
    assert "bridged" not in table and "keypoints_x_smoothed" not in table
    rows = csv_rows(tmp_path, mixed())
    assert len(rows) == 7 * K
    assert tuple(rows[0]) == (*COLUMNS, "video", "frame", "pts", "seconds", "track_id")
    of_csv = pandas.read_csv(tmp_path / "keypoints.csv").iloc[::K]
    for name, column in expected.items():
        found = [None if pandas.isna(value) else value for value in of_csv[name]]
        assert found == [f"./{value}" if value == RUN else value for value in column], name
    assert rows[0]["image"] == "./=run.mkv/=run_000000000001"  # no formula


def test_smoothed_poses_stand_beside_the_raw_ones_and_bridged_people_have_no_raw_ones(tmp_path):
    results = mixed(True)
    table = parquet(tmp_path, results).to_pylist()
    rows = csv_rows(tmp_path, results)
    assert len(table) == 9 and len(rows) == 9 * K and list(rows[0])[-3:] == ["bridged", "x_smoothed", "y_smoothed"]
    for index, person in enumerate(table):
        of_csv = rows[index * K : index * K + K]
        assert [row["image"].removeprefix("./") for row in of_csv] == [person["image"]] * K
        if person["video"] is None:
            assert person["bridged"] is person["keypoints_x_smoothed"] is person["keypoints_y_smoothed"] is None
            assert {row["bridged"] + row["x_smoothed"] + row["y_smoothed"] for row in of_csv} == {""}
            continue
        result = next(each for each in results if each.name == person["image"])
        row = result.smoothed.track_ids.tolist().index(
            NO_TRACK_ID if person["track_id"] is None else person["track_id"]
        )
        for axis, name in enumerate(("x", "y")):
            expected = result.smoothed.keypoints[row, :, axis]
            np.testing.assert_allclose(person[f"keypoints_{name}_smoothed"], expected, atol=6e-4)
            np.testing.assert_allclose([float(each[f"{name}_smoothed"]) for each in of_csv], expected, atol=6e-4)
        np.testing.assert_allclose(person["keypoint_scores"], result.smoothed.keypoint_scores[row], atol=1e-6)
        np.testing.assert_allclose([float(each["score"]) for each in of_csv], person["keypoint_scores"], atol=1e-6)
        assert person["bridged"] == (row >= len(result.instance_ids)) == (of_csv[0]["bridged"] == "1")
        raw = [person[name] for name in ("instance_id", "bbox", "bbox_score", "score", "keypoints_x", "keypoints_y")]
        if person["bridged"]:
            assert raw == [None] * 6 and of_csv[0]["track_id"] == str(person["track_id"])
            assert {each["instance_id"] + each["bbox_score"] + each["x"] + each["y"] for each in of_csv} == {""}
        else:
            assert None not in raw
            np.testing.assert_allclose(person["keypoints_x"], result.keypoints[row, :, 0], atol=6e-4)
    assert sum(bool(person["bridged"]) for person in table) == 2


def test_small_parquet_files_hold_the_same_rows(tmp_path, monkeypatch):
    whole = parquet(tmp_path, mixed(True))
    monkeypatch.setattr(parquet_table, "MAX_IMAGES", 1)
    (tmp_path / "small").mkdir()
    ParquetTable().write(InMemory(mixed(True)), tmp_path / "small")
    files = sorted((tmp_path / "small" / "parquet").iterdir())
    assert len(files) == 6
    tables = [pq.read_table(file).replace_schema_metadata() for file in files]
    assert [row for table in tables for row in table.to_pylist()] == whole.to_pylist()
    assert {table.schema for table in tables} == {whole.schema.remove_metadata()}


def test_coco_files_say_which_frame_of_which_video_an_image_is(tmp_path):
    results = mixed(True)
    CocoAnnotations(0.3).write(InMemory(results), tmp_path)
    coco = COCO(str(tmp_path / "coco_annotations.json"))
    videos = coco.dataset["videos"]
    assert [(video["id"], video["name"], video["width"]) for video in videos] == [(1, RUN, 640), (2, WALK, 640)]
    images = {image["file_name"]: image for image in coco.loadImgs(coco.getImgIds())}
    assert len(images) == len(results)
    for result in results:
        image = images[result.name]
        people = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
        assert len(people) == len(result.instance_ids)
        if result.frame is None:
            assert "video_id" not in image and all("track_id" not in person for person in people)
            continue
        assert videos[image["video_id"] - 1]["name"] == result.frame.video
        assert image["frame_id"] == result.frame.frame_index
        tracks = [person.get("track_id", NO_TRACK_ID) for person in people]
        assert tracks == result.track_ids.tolist()
    CocoResults().write(InMemory(results), tmp_path)
    listing = json.loads((tmp_path / "coco_images.json").read_text())
    assert listing["videos"] == videos and listing["images"] == list(images.values())
    found = json.loads((tmp_path / "coco_keypoints.json").read_text())
    assert [person.get("track_id") for person in found] == [1, 1, 2, None, None, None, None]


def test_openpose_files_say_who_it_is():
    def ids(result):
        content = OpenPoseJson("BODY_25", True, 0.3).content(result, result.keypoint_set, lambda: np.empty(0))
        return [person["person_id"] for person in json.loads(content)["people"]]

    assert ids(frame_result(WALK, 0, 3)) == [[1], [2], [3]] and ids(pose_result("a.jpg", 2)) == [[-1], [-1]]
    assert ids(frame_result(WALK, 0, 2, track_ids=np.array([NO_TRACK_ID, 5]))) == [[-1], [5]]
    assert ids(smoothed(frame_result(WALK, 0, 2), 9)) == [[1], [2]]  # who is bridged was not found


def test_tables_of_a_run_say_of_which_sample_a_person_is_and_what_is_carried(tmp_path):
    member = ShardMember("0.tar", "a/\udcff")
    carried = {"url": "=1+1", "image": "ü", "gone": None}
    result = pose_result("0.tar/a/x.jpg", 2, member=member, carried=carried)
    nobody = pose_result("0.tar/a/a.jpg", 0, member=member, carried=dict.fromkeys(carried))
    table = pose_table([nobody, result], result.keypoint_set)
    assert table.column_names[-5:] == ["shard", "__key__", "url", "carried_image", "gone"]
    assert (
        table.select(table.column_names[-5:]).to_pylist()
        == [{"shard": "0.tar", "__key__": "a/\\udcff", "url": "=1+1", "carried_image": "ü", "gone": None}] * 2
    )
    file = io.BytesIO()
    write_csv([nobody, result], result.keypoint_set, file)
    rows = list(csv.reader(io.StringIO(file.getvalue().decode("utf-8", "surrogateescape"), newline="")))
    assert rows[0][-5:] == table.column_names[-5:] and len(rows) == 1 + 2 * 17
    assert {tuple(row[-5:]) for row in rows[1:]} == {("0.tar", "a/\udcff", "'=1+1", "ü", "")}
    alone = pose_table([pose_result("a.jpg")], result.keypoint_set)
    assert "shard" not in alone.column_names
