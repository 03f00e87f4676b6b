"""Runs over tars, planned tar by tar: whoever takes them, however often it is killed, the records are the same."""

from __future__ import annotations

import io
import json
import os
import tarfile

import cv2
import numpy as np
import pytest

from sapiens_pl.records.reading import Records

NUM_TARS, NUM_PICTURES = 8, 12
SMALL_PORTIONS = "from sapiens_pl.data import planning; planning.PICTURES_A_PORTION = 20\n"
SLOW_STEP = f"""{SMALL_PORTIONS}
import time
from sapiens_pl.inference.module import PoseModule
step = PoseModule.predict_step
PoseModule.predict_step = lambda *given: (time.sleep(0.2), step(*given))[1]
"""


def write_tar(path, number):
    rng = np.random.default_rng(number)
    with tarfile.open(path, "w") as tar:
        for place in range(NUM_PICTURES):
            boxes = [[2, 3, 25, 20]] * int(rng.integers(0, 4))
            picture = cv2.imencode(".jpg", rng.integers(0, 256, (24, 32, 3)).astype(np.uint8))[1].tobytes()
            picture = picture if (number, place) != (3, 5) else b"no picture"
            for suffix, data in (("jpg", picture), ("json", json.dumps({"bboxes": boxes}).encode())):
                info = tarfile.TarInfo(f"{place:03d}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


@pytest.fixture
def settings(tmp_path, mini):
    (tmp_path / "tars").mkdir()
    for number in range(NUM_TARS):
        write_tar(tmp_path / "tars" / f"{number}.tar", number)
    return [f"data.images={tmp_path / 'tars'}", "boxes=sample", *mini, "output.formats=[]", "data.num_workers=1"]


def records(folder):
    read = Records.read(folder)
    rows = {
        result.name: (result.bboxes.tolist(), np.round(result.keypoint_scores, 3).tolist()) for result in read.results()
    }
    return rows | {failure.image: failure.message for failure in read.failures()}


@pytest.fixture
def alone(predict, settings):
    """One process, one portion with everything."""
    run = predict(*settings, folder="alone", inject="from sapiens_pl.boxes.sample_boxes import SampleBoxes\n"
                  "SampleBoxes.of_each_picture = False")  # fmt: skip
    assert run.code == 0 and run.info["processes"][0]["images_listed"] == NUM_TARS * NUM_PICTURES
    return records(run.folder)


def test_portions_ranks_and_shards_leave_the_same_records(start, predict, settings, alone):
    by_portions = predict(*settings, folder="portions", inject=SMALL_PORTIONS)
    assert by_portions.code == 0 and records(by_portions.folder) == alone
    two = ["trainer.devices=2", "trainer.strategy=ddp"]
    ranks = predict(*settings, *two, folder="ranks", inject=SMALL_PORTIONS)
    assert ranks.code == 0 and records(ranks.folder) == alone
    assert [process["tars"] for process in ranks.info["processes"]] == [NUM_TARS // 2] * 2
    for shard in (1, 0):
        run = predict(*settings, "data.num_shards=2", f"data.shard={shard}", folder="shards", inject=SMALL_PORTIONS)
    assert run.code == 0 and run.info["status"] == "complete" and records(run.folder) == alone
    assert run.info["counts"]["images_planned"] == NUM_TARS * NUM_PICTURES


def test_a_killed_run_goes_on_where_it_was(start, predict, settings, alone):
    for least in (10, 40):
        run = start(*settings, inject=SLOW_STEP)
        run.wait_until(lambda run=run, least=least: run.count() >= least)
        run.kill()
    last = predict(*settings, inject=SMALL_PORTIONS)
    counts = last.info["counts"]
    assert last.code == 0 and records(last.folder) == alone
    assert counts["images_done_before"] >= 40 and counts["images_planned"] < NUM_TARS * NUM_PICTURES


def test_a_run_that_is_stopped_says_what_it_has_not_looked_at(start, predict, settings):
    run = start(*settings, inject=SLOW_STEP)
    run.wait_until(lambda: run.count() >= 5)
    run.send_signal(15)
    stopped = run.finish()
    assert stopped.code == 143 and stopped.info["status"] == "interrupted"
    not_reached = stopped.info["counts"]["shards_not_reached"]
    assert 0 < not_reached < NUM_TARS and f"and {not_reached} tars or tables" in stopped.out


def test_tars_that_are_done_are_not_opened_again(predict, settings, tmp_path):
    elsewhere = f"import os; os.environ['XDG_CACHE_HOME'] = {str(tmp_path / 'other')!r}"
    first = predict(*settings)
    assert first.code == 0
    tars = sorted((tmp_path / "tars").iterdir())
    for tar in tars:  # what is in them is known by their stamps alone
        status = tar.stat()
        tar.write_bytes(b"\0" * status.st_size)
        os.utime(tar, ns=(status.st_atime_ns, status.st_mtime_ns))
    before = records(first.folder)
    again = predict(*settings, inject=elsewhere)
    assert again.code == 0 and records(again.folder) == before
    assert again.info["counts"]["images_planned"] == 0 and again.info["looked_at"]
    assert again.info["counts"]["images_done_before"] == NUM_TARS * NUM_PICTURES - 1
    assert not (tmp_path / "other").exists()
    for number in range(NUM_TARS):
        write_tar(tars[number], number)
    with tarfile.open(tars[2], "a") as tar:
        info = tarfile.TarInfo("more.png")
        picture = cv2.imencode(".png", np.zeros((24, 32, 3), np.uint8))[1].tobytes()
        info.size = len(picture)
        tar.addfile(info, io.BytesIO(picture))
    more = predict(*settings)
    assert more.code == 0 and set(records(more.folder)) - set(before) == {"2.tar/more.png"}
    assert more.out.count("is not the file that it was when its pictures were done") == 1, more.out
    (first.folder / "redo.txt").write_text("5.tar/003.jpg\n3.tar/005.jpg\n")
    redone = predict(*settings, f"output.redo={first.folder / 'redo.txt'}")
    assert redone.info["counts"]["images_planned"] == 2 and redone.info["counts"]["images_failed"] == 1


def test_broken_tars_are_told_by_whoever_takes_them_and_every_time(predict, settings, tmp_path):
    for number in (2, 5):
        (tmp_path / "tars" / f"{number}.tar").write_bytes(b"no tar")
    for _ in range(2):
        run = predict(*settings, "trainer.devices=2", "trainer.strategy=ddp", inject=SMALL_PORTIONS)
        broken = [row["image"] for row in run.failures if row["error"] == "UnreadableShardError"]
        assert run.code == 0 and broken == ["2.tar", "5.tar"]


def test_what_a_fallen_rank_has_not_looked_at_is_told(predict, settings):
    fall = f"""{SLOW_STEP}
import os
slow = PoseModule.predict_step
def fall(self, *given):
    if os.environ.get("LOCAL_RANK") == "1" and self.trainer.predict_loop.batch_progress.current.ready > 2:
        os.kill(os.getpid(), 9)
    return slow(self, *given)
PoseModule.predict_step = fall
"""
    run = predict(*settings, "trainer.devices=2", "trainer.strategy=ddp", inject=fall)
    assert run.code == 1 and run.info["status"] == "failed" and "rank 1 by SIGKILL" in run.out
    assert run.info["counts"]["shards_not_reached"] > 0
    assert predict(*settings).code == 0
