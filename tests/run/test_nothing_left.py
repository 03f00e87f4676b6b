"""Coming back to a finished run: what is missing is made, and no network is built for it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from launchers import of_torchrun

from sapiens_pl import demo

NO_NETWORK = """
import os
import lightning as L
from sapiens_pl.models import checkpoints
from sapiens_pl.run.ranks import RankLauncher
def refuse(*given, **options):
    os.write(2, b"NETWORK")
    os._exit(99)
checkpoints.load_network = L.Trainer.predict = RankLauncher._call_children_scripts = refuse
"""
COST = ("device", "seconds", "crops_per_second", "peak_memory", "loading", "batch_size", "worked_until")


@pytest.fixture
def album(tmp_path):
    """Five pictures and a broken one, in a folder to which others may come."""
    (tmp_path / "images").mkdir()
    for index in range(5):
        pixels = np.random.default_rng(index).integers(0, 256, (80, 60, 3)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "images" / f"{index}.jpg"), pixels)
    (tmp_path / "images" / "broken.jpg").write_bytes(b"text")
    return [f"data.images={tmp_path / 'images'}", "boxes=whole_image", "data.num_workers=0", "data.batch_size=2"]


def check_kept(run, before) -> None:
    """Nothing was done, and what the work has cost is still known."""
    assert run.code == 0 and "NETWORK" not in run.err and "Traceback" not in run.err, run.err
    info = run.info
    assert {key: info[key] for key in COST} == {key: before[key] for key in COST}
    assert info["status"] == "complete" and info["looked_at"] >= before["worked_until"]
    assert info["counts"]["images_planned"] == 0 and info["folder"] == before["folder"]


def test_more_formats_of_a_finished_run_cost_no_network(predict, album, mini):
    first = predict(*mini, *album)
    assert first.code == 0 and first.info["folder"] == {"done": 5, "failed": 1, "absent": 0, "people": 5}, first.err
    before, times = first.info, {path: path.stat().st_mtime_ns for path in (first.folder / "predictions").iterdir()}
    formats = "output.formats=[json,csv,openpose,overlay]"
    again = predict(*mini, *album, formats, inject=NO_NETWORK)
    check_kept(again, before)
    assert len(list((again.folder / "overlays").iterdir())) == len(list((again.folder / "openpose").iterdir())) == 5
    assert (again.folder / "keypoints.csv").exists()
    assert times == {path: path.stat().st_mtime_ns for path in (again.folder / "predictions").iterdir()}
    assert f"of the run until {before['worked_until']}" in again.out and "5 done, 1 failed" in again.out

    (again.folder / "overlays" / "2.jpg.jpg").unlink()
    third = predict(*mini, *album, formats, "data.batch_size=1", "model.compile=true", inject=NO_NETWORK)
    check_kept(third, before)
    assert (third.folder / "overlays" / "2.jpg.jpg").exists()

    other = predict(*mini, *album, "trainer.precision=bf16-mixed", inject=NO_NETWORK)
    assert other.code == 2 and "trainer.precision=32-true, not bf16-mixed" in other.err, other.err
    (third.folder / "run.json").unlink()  # then nobody knows, and the network is asked
    asked = predict(*mini, *album)
    assert asked.code == 0 and asked.info["status"] == "complete" and asked.info["counts"]["images_done"] == 0, (
        asked.err
    )
    cv2.imwrite(album[0].removeprefix("data.images=") + "/new.jpg", np.zeros((80, 60, 3), np.uint8))
    more = predict(*mini, *album)
    assert more.code == 0 and more.info["counts"]["images_done"] == 1 and more.info["crops"] == 1, more.err


def test_the_weights_are_looked_at_byte_by_byte(predict, album, mini, tmp_path):
    checkpoint = tmp_path / "weights.safetensors"
    content = bytearray(Path(mini[0].removeprefix("model.checkpoint=")).read_bytes())
    checkpoint.write_bytes(content)
    settings = [f"model.checkpoint={checkpoint}", *mini[1:], *album]
    assert predict(*settings).code == 0
    content[-1] ^= 1
    checkpoint.write_bytes(content)
    again = predict(*settings)
    assert again.code == 2 and "holds results made with model.checkpoint=SHA-256" in again.err, again.err


def test_no_rank_is_started_for_nothing(predict, album, mini):
    two = ["trainer.devices=2"]
    first = predict(*mini, *album, *two)
    assert first.code == 0 and first.info["processes_ended"] == 2, first.err
    again = predict(*mini, *album, *two, inject=NO_NETWORK)
    check_kept(again, first.info)
    assert again.info["processes_ended"] == again.info["processes_expected"] == 1


def test_ranks_of_torchrun_and_shards_end_alike(start, predict, album, mini):
    shards = [*mini, *album, "data.num_shards=2"]
    for shard in (0, 1):
        assert predict(*shards, f"data.shard={shard}").code == 0
    before = predict(*shards, "data.shard=1", inject=NO_NETWORK)
    assert before.code == 0 and before.info["crops"] == 5 and before.info["processes_ended"] == 2, before.err
    ranks = [start(*mini, *album, inject=NO_NETWORK, environment=each) for each in of_torchrun(1, 2)]
    ended = [rank.finish() for rank in ranks]
    for run in ended:
        check_kept(run, before.info)
    assert ended[0].info["processes_ended"] == 2 and sum("images done" in run.out for run in ended) == 1


def test_what_the_plan_finds_wrong_is_recorded_all_the_same(predict, album, mini, tmp_path):
    boxes = {"0.jpg": [[5, 5, 50, 60]]}
    settings = [*mini, *album, "boxes=json", f"boxes.file={tmp_path / 'boxes.json'}"]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    assert predict(*settings).code == 0
    (tmp_path / "boxes.json").write_text(json.dumps({**boxes, "later.jpg": [[5, 5, 50, 60]]}))
    again = predict(*settings, inject=NO_NETWORK)
    assert again.code == 0 and "NETWORK" not in again.err, again.err
    assert again.info["folder"]["absent"] == 1 and again.info["counts"]["images_planned"] == 1


def test_nobody_is_looked_for_twice(predict, mini, tmp_path):
    settings = [*mini, "boxes=detector", f"boxes.model={demo.DETECTOR_MODEL}", f"boxes.weights={demo.DETECTOR}"]
    settings += [f"data.images={demo.IMAGES}", "data.num_workers=0", "output.overlay=false"]
    first = predict(*settings)
    assert first.code == 0 and first.info["detection"]["images"] == 6, first.err
    again = predict(*settings, "output.formats=[json,coco]", inject=NO_NETWORK)
    check_kept(again, first.info)
    assert again.info["detection"] == first.info["detection"] and (again.folder / "coco_keypoints.json").exists()
