"""A run's results from Python, without torch: pictures and people as tables, results one by one, and what failed."""

from __future__ import annotations

import json
import subprocess
import sys

import cv2
import numpy as np
import pandas
import pytest

from sapiens_pl import open_run
from sapiens_pl.core.errors import ConfigError, MissingImageError
from sapiens_pl.core.structures import Failure
from tests.records.made_up import check_all_equal, check_equal, failed_result, frame_result, make_records, pose_result

NOT_UNICODE = b"\xff b.jpg".decode("utf-8", "surrogateescape")


@pytest.fixture
def results(tmp_path):
    box = Failure("train/b.jpg", 2, "BoxError", "Box 2 of train/b.jpg has no area; correct it.")
    some = [pose_result("train/a.jpg", 2), pose_result("train/b.jpg", 1, failures=(box,)), pose_result("val/c.jpg", 0)]
    some += [pose_result("val/[d].jpg", 3, image_id=7), pose_result(NOT_UNICODE, 1), failed_result("val/e.jpg")]
    some += [failed_result("val/absent.jpg", "MissingImageError")]
    make_records(tmp_path / "run", some)
    return some


@pytest.fixture
def run(tmp_path, results):
    return open_run(tmp_path / "run")


def test_results_come_back_as_they_were(run, results):
    done = [result for result in results if not result.image_failed]
    check_all_equal(run, done)
    check_all_equal(run.results("train/*"), done[:2])
    check_all_equal(run.results(["val/c.jpg", "nowhere.jpg"]), [done[2]])
    check_equal(run["val/[d].jpg"], done[3])
    check_all_equal(run.results("val/[d].jpg"), [done[3]])
    assert len(run) == 5 and run.keypoint_set.num_keypoints == 17
    for name in ("nowhere.jpg", "val/e.jpg"):
        with pytest.raises(KeyError, match=name):
            run[name]
    with pytest.raises(KeyError, match=r"val/e.jpg has no result: val/e.jpg is broken; look at it\."):
        run["val/e.jpg"]


def test_pictures_as_a_table(run):
    table = run.pictures().to_pandas()
    assert table["name"].tolist() == [*(sorted(table["name"][:-1])), "\\udcff b.jpg"] and len(table) == 7
    assert table.groupby("status").size().to_dict() == {"done": 5, "failed": 1, "absent": 1}
    assert table.set_index("name")["num_people"].to_dict()["train/a.jpg"] == 2
    (failed,) = run.pictures(status="failed").to_pylist()
    assert failed["name"] == "val/e.jpg" and failed["error"] == "DamagedImageError" and "is broken" in failed["message"]
    assert run.pictures("val/*", "done").column("name").to_pylist() == ["val/[d].jpg", "val/c.jpg"]
    assert run.pictures([]).num_rows == 0 and "width" in run.pictures([]).column_names
    with pytest.raises(ValueError, match="status='good' must be one of done, failed, absent, or None"):
        run.pictures(status="good")


def test_people_as_a_table(run, results):
    table = run.people()
    assert table.num_rows == 7 and isinstance(table.to_pandas(), pandas.DataFrame)
    of_b = run.people("train/b.jpg").to_pylist()[0]
    np.testing.assert_allclose(of_b["keypoints_x"], results[1].keypoints[0, :, 0], atol=6e-4)
    assert run.people("train/*").column("image").to_pylist() == ["train/a.jpg"] * 2 + ["train/b.jpg"]
    none = run.people([])
    assert none.num_rows == 0 and none.schema == table.schema


def test_failures_and_what_ran(run, tmp_path):
    assert {(failure.image, failure.error) for failure in run.failures()} == {
        ("train/b.jpg", "BoxError"), ("val/e.jpg", "DamagedImageError"), ("val/absent.jpg", "MissingImageError"),
    }  # fmt: skip
    assert run.info == {}
    product = {"image": "train/a.jpg", "instance_id": None, "error": "ValueError", "message": "x", "product": "overlay"}
    (run.folder / "failures.jsonl").write_text(json.dumps(product) + "\n")
    (run.folder / "run.json").write_text('{"status": "done"}')
    again = open_run(str(run.folder))
    assert again.info["status"] == "done"
    assert [failure.product for failure in again.failures()].count("overlay") == 1 and len(again.failures()) == 4


def test_in_words(run, results):
    told = repr(run)
    assert (
        "5 pictures, 1 failed, 1 absent, 7 people; KeypointSet(coco, 17 keypoints)" in told and str(run.folder) in told
    )
    assert repr(results[0]) == "PoseResult(train/a.jpg: 2 people of 17 keypoints, 640x480 px)"
    assert repr(results[1]).endswith("1 person of 17 keypoints, 640x480 px, 1 box failed)")
    assert (
        "nobody of 17" in repr(results[2])
        and repr(results[5]) == "PoseResult(val/e.jpg: val/e.jpg is broken; look at it.)"
    )


def test_frames_of_videos_have_their_tracks(tmp_path):
    frames = [frame_result("walk.mp4", index, bboxes=np.array([[10, 10, 50, 90.0]])) for index in range(4)]
    make_records(tmp_path / "run", [*(frame._replace(track_ids=np.full(1, -(2**63))) for frame in frames)])
    run = open_run(tmp_path / "run")
    people = run.people().to_pandas()
    assert people["frame"].tolist() == [0, 1, 2, 3] and people["video"].unique().tolist() == ["walk.mp4"]
    assert people["track_id"].notna().all() and [result.track_ids for result in run]
    assert run.pictures().column("video").to_pylist() == ["walk.mp4"] * 4


def test_pixels_are_read_again_where_they_lie(tmp_path):
    path = tmp_path / "a.png"
    pixels = np.random.default_rng(0).integers(0, 255, (480, 640, 3)).astype(np.uint8)
    cv2.imwrite(str(path), pixels)
    make_records(tmp_path / "run", [pose_result("a.png", 1, path=str(path))])
    (tmp_path / "run" / "run.json").write_text(json.dumps({"config": {"data": {"images": str(tmp_path)}}}))
    run = open_run(tmp_path / "run")
    np.testing.assert_array_equal(run.pixels(run["a.png"]), pixels)
    np.testing.assert_array_equal(run["a.png"].draw(run.pixels(run["a.png"])), run["a.png"].draw())
    path.unlink()
    with pytest.raises(MissingImageError):
        run.pixels(run["a.png"])


def test_what_is_no_run(tmp_path):
    with pytest.raises(ConfigError, match="holds no records; name the output folder of a run"):
        open_run(tmp_path)
    with pytest.raises(ConfigError, match="holds no records"):
        open_run(tmp_path / "nowhere")


@pytest.mark.slow
def test_torch_is_not_loaded(run):
    code = f"""
import sys, sapiens_pl
run = sapiens_pl.open_run({str(run.folder)!r})
assert run.pictures().num_rows == 7 and run.people().num_rows == 7 and len(list(run)) == 5
run.failures(), repr(run), sapiens_pl.results_table(run, long=True)
print([name for name in ("torch", "torchvision", "lightning", "matplotlib") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr
