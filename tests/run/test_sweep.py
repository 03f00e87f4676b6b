"""Sweeps over the batch size: the real command, and what the report makes of odd folders."""

from __future__ import annotations

import csv
import json
import warnings

import cv2
import numpy as np
import pytest
from conftest import COCO, check_same, hungry

from sapiens_pl.core.structures import PoseResult
from sapiens_pl.run.sweep_report import SweepRow, compare, draw, read_sweep, recommended, table
from tests.records.made_up import make_records


def row_of(batch_size, speed, status="complete"):
    return SweepRow("0", "", batch_size, status, speed, 1.0, "host", 0.0, 0, 17)


@pytest.fixture
def swept(start, tmp_path):
    """A sweep of the demo over four batch sizes, of which one needs too much memory and one is none."""
    run = start(
        "-m",
        "data.batch_size=1,4,8,0",
        "model.flip_test=false,true",
        "output.overlay=false",
        "data.num_workers=0",
        f"hydra.sweep.dir={tmp_path / 'sweep'}",
        inject=hungry("sapiens_pl.models.sapiens.SapiensPose", 6),
    ).finish()
    return run, tmp_path / "sweep"


def test_a_sweep_ends_in_a_table_and_a_picture(swept):
    run, folder = swept
    assert run.code == 2 and "Traceback" not in run.err, run.err
    with open(folder / "sweep.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["others"], row["batch_size"]) for row in rows] == [
        (f"model.flip_test={flip}", size) for flip in ("False", "True") for size in ("0", "1", "4", "8")
    ]
    by_size = {row["batch_size"]: row for row in rows if row["others"].endswith("False")}
    assert by_size["0"]["status"] == "did not begin" and by_size["8"]["status"] == "out of memory, halved to 4"
    for size in ("1", "4"):
        assert by_size[size]["status"] == "complete" and float(by_size[size]["crops_per_second"]) > 0
        assert float(by_size[size]["largest_difference_px"]) <= 0.01 and by_size[size]["keypoints"] == str(17 * 17)
        assert 0.1 < float(by_size[size]["peak_gib"]) < 10 and by_size[size]["memory_of"] == "host"
    picture = cv2.imread(str(folder / "sweep.png"))
    assert picture.shape[0] > 300 and picture.std() > 5
    assert "out of memory, halved to 4" in run.out and run.out.count("use data.batch_size=") == 2
    jobs = {path.parent for path in folder.glob("*/run.json")}
    assert len(jobs) == 6  # each in its own folder, and none for the batches of none
    results = [
        {p.name: json.loads(p.read_text()) for p in sorted((job / "predictions").rglob("*.json"))}
        for job in sorted(jobs)
        if not json.loads((job / "run.json").read_text())["config"]["model"]["flip_test"]
    ]
    for one in results[1:]:
        check_same(one, results[0])


def test_a_job_of_a_sweep_is_one_process(start, tmp_path):
    options = ("data.batch_size=4,8", "trainer.accelerator=cpu", "trainer.devices=2")
    run = start("-m", *options, f"hydra.sweep.dir={tmp_path / 'sweep'}").finish()
    assert run.code == 2 and "Traceback" not in run.err, run.err
    assert run.err.count("error: trainer.devices=2 with -m: the jobs of a sweep run in one process each") == 2


def test_jobs_with_one_folder_tell_their_exit_codes(start, tmp_path):
    run = start("-m", "data.batch_size=0", f"output.dir={tmp_path / 'one'}", f"hydra.sweep.dir={tmp_path / 'sweep'}")
    ended = run.finish()
    assert ended.code == 2 and "raised" not in ended.err, ended.err
    url = start("-m", "data.batch_size=2", "output.dir=memory://x/y", f"hydra.sweep.dir={tmp_path / 'other'}").finish()
    assert url.code == 2 and "a sweep (-m) needs a folder on a disk" in url.err, url.err


def test_the_smallest_batch_near_the_best_speed_is_recommended():
    rows = [row_of(1, 50.0), row_of(4, 96.9), row_of(8, 97.1), row_of(16, 100.0), row_of(32, 300.0, "out of memory")]
    assert recommended(rows).batch_size == 8
    assert "use data.batch_size=8" in table(rows)
    assert recommended([row_of(2, None, "failed")]) is None and recommended([]) is None


def test_results_that_differ_are_seen(tmp_path):
    def result(name, keypoints):
        points = np.array(keypoints, np.float32).reshape(-1, 2, 2)
        count = len(points)
        scores, boxes = np.ones((count, 2), np.float32), np.zeros((count, 4))
        return PoseResult("", points, scores, boxes, np.ones(count), np.arange(count), (9, 9), name, ())

    make_records(tmp_path / "a", [result("1.jpg", [[[1, 2], [3, 4]]]), result("2.jpg", [])], num_keypoints=2)
    make_records(tmp_path / "b", [result("1.jpg", [[[1, 2.005], [3, 4.5]]]), result("2.jpg", [])], num_keypoints=2)
    make_records(tmp_path / "c", [result("1.jpg", [[[1, 2], [3, 4]]])], num_keypoints=2)
    assert compare(tmp_path / "a", tmp_path / "a") == (0, 0, 2)
    assert compare(tmp_path / "a", tmp_path / "b") == (0.5, 1, 2)
    assert compare(tmp_path / "a", tmp_path / "c")[0] == np.inf


def test_a_sweep_of_which_nothing_was_complete_has_its_picture(tmp_path):
    rows = [SweepRow(str(n), "", n, "not started", None, None, "host", None, None, None) for n in (1, 2)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(rows, tmp_path / "sweep.png")
    assert cv2.imread(str(tmp_path / "sweep.png")) is not None


def test_an_interrupted_sweep_can_still_be_read(tmp_path):
    for number in range(2):
        (tmp_path / str(number) / ".hydra").mkdir(parents=True)
        (tmp_path / str(number) / ".hydra" / "overrides.yaml").write_text(f"- data.batch_size={number + 1}\n")
    (tmp_path / "0" / "run.json").write_text('{"status": "running", "config": {"data": {"batch_size": 1}}}')
    assert [(row.batch_size, row.status) for row in read_sweep(tmp_path)] == [(1, "running"), (2, "did not begin")]


def test_over_other_settings_too(predict, tmp_path, mini):
    run = predict(
        *mini,
        "-m",
        "experiment=sweep",
        "data.batch_size=2,3",
        "data.num_workers=0,1",
        "output.formats=[parquet]",
        f"data.images={COCO}",
        "boxes=whole_image",
        f"hydra.sweep.dir={tmp_path / 'sweep'}",
    )
    assert run.code == 0 and "Traceback" not in run.err, run.err
    rows = read_sweep(tmp_path / "sweep")
    assert {row.others for row in rows} == {"data.num_workers=0", "data.num_workers=1"}
    assert all(row.keypoints == 4 * 17 and row.largest_difference_px < 5 for row in rows)  # read from the tables
    assert not list((tmp_path / "sweep").rglob("predictions/*.json"))
