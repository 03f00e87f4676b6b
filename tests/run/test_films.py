"""Runs over films as the real command: killed at random, by ranks, by shards; the tables come out the same.

`benchmarks/film.py` does it with a film of ten minutes.
"""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import clips
import cv2
import numpy as np
import pytest
import torch
from conftest import Run, Started
from forked import fork_command
from safetensors.torch import save_file

from benchmarks.film import COUNTING
from sapiens_pl.detection.fcos_small import fcos_small
from sapiens_pl.records.reading import Records

pytest.importorskip("av")

NUM_FRAMES, KEYFRAMES_EVERY = 225, 25
NUM_SHORT, NUM_PHOTOGRAPHS = 40, 3
TABLES = ("parquet/*", "keypoints.csv", "predictions/**/*.json")
ONE_BY_ONE = "data.batch_size=1"
"""A batch of another size, as a rank's last one is, may be rounded otherwise."""
SLOW_STEP = """
import time
from sapiens_pl.inference.module import PoseModule
step = PoseModule.predict_step
PoseModule.predict_step = lambda *given: (time.sleep(0.02), step(*given))[1]
"""


@pytest.fixture(scope="module")
def films(tmp_path_factory, mini) -> list[str]:
    """Overrides: a long clip, a short one and photographs, with 0 to 3 people each."""
    folder, rng = tmp_path_factory.mktemp("films"), np.random.default_rng(5)
    (folder / "clips" / "deep").mkdir(parents=True)
    clips.make_clip(folder / "clips" / "long.mp4", NUM_FRAMES, gop=KEYFRAMES_EVERY)
    clips.make_clip(folder / "clips" / "deep" / "short.mp4", NUM_SHORT, gop=1000)
    names = [f"long.mp4/long_{index:012d}" for index in range(NUM_FRAMES)]
    names += [f"deep/short.mp4/short_{index:012d}" for index in range(NUM_SHORT)]
    for index in range(NUM_PHOTOGRAPHS):
        cv2.imwrite(str(folder / "clips" / f"{index}.png"), clips.picture(index))
        names.append(f"{index}.png")
    boxes = {name: [[10 + 3 * i, 8, 70 + 9 * i, 90] for i in range(rng.integers(0, 4))] for name in names}
    (folder / "boxes.json").write_text(json.dumps(boxes))
    settings = [f"data.images={folder / 'clips'}", "boxes=json", f"boxes.file={folder / 'boxes.json'}"]
    return [*mini, *settings, "data.batch_size=8", "output.formats=[parquet,csv,frames_json]"]


@pytest.fixture(scope="module")
def detecting(films, tmp_path_factory) -> list[str]:
    """The same with a random detector that sees people everywhere, and looks at each sixth frame."""
    torch.manual_seed(0)
    network = fcos_small()
    torch.nn.init.constant_(network.head.classification_head.cls_logits.bias, 1.0)
    weights = tmp_path_factory.mktemp("detector") / "detector.safetensors"
    save_file(network.state_dict(), weights)
    others = [text for text in films if not text.startswith("boxes")]
    return [*others, "boxes=detector", "boxes.model=fcos_small", f"boxes.weights={weights}", "boxes.largest_n=2"]


def tables(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for pattern in TABLES for path in folder.glob(pattern))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def check_same_tables(run, alone) -> None:
    assert run.code == 0 and run.info["status"] == "complete", run.err
    expected, found = tables(alone.folder), tables(run.folder)
    assert list(found) == list(expected) and len(found) >= 4
    assert [name for name in found if found[name] != expected[name]] == []


def wait_for(run, num_done: int) -> None:
    run.wait_until(lambda: run.count() > num_done)


def undisturbed(folder: Path, *overrides: str) -> Run:
    arguments = [*overrides, "data.num_workers=0", f"hydra.run.dir={folder}"]
    run = Started(fork_command(arguments, folder, folder / "output"), folder / "output", folder).finish()
    assert run.code == 0, run.err
    assert len(Records.read(run.folder)) == NUM_FRAMES + NUM_SHORT + NUM_PHOTOGRAPHS
    return run


@pytest.fixture(scope="module")
def alone(films, tmp_path_factory) -> Run:
    """What one process makes of it, undisturbed."""
    return undisturbed(tmp_path_factory.mktemp("alone"), *films)


@pytest.fixture(scope="module")
def alone_one_by_one(films, tmp_path_factory) -> Run:
    return undisturbed(tmp_path_factory.mktemp("one_by_one"), *films, ONE_BY_ONE)


@pytest.mark.parametrize("num_workers", [1, 2, 4])
def test_workers_decode_each_frame_once_and_come_to_the_same(predict, films, alone, tmp_path, num_workers):
    count = tmp_path / "count"
    run = predict(*films, f"data.num_workers={num_workers}", inject=COUNTING.format(file=str(count)))
    check_same_tables(run, alone)
    assert NUM_FRAMES + NUM_SHORT <= count.stat().st_size <= 1.3 * (NUM_FRAMES + NUM_SHORT)


def test_a_run_that_is_killed_again_and_again_comes_to_the_same(start, predict, films, alone_one_by_one, tmp_path):
    rng, count, goal = random.Random(3), tmp_path / "count", 0
    settings, inject = [*films, ONE_BY_ONE, "data.num_workers=2"], COUNTING.format(file=str(count))
    for _ in range(4):
        run = start(*settings, inject=inject + SLOW_STEP)
        goal += rng.randint(1, 40)
        wait_for(run, goal)
        goal = run.count()
        run.kill()
    check_same_tables(predict(*settings, inject=inject), alone_one_by_one)
    lost = 5 * 2 * (KEYFRAMES_EVERY + NUM_SHORT)  # by each start and each of its workers the stretch in hand
    in_flight = 4 * 2 * 3  # and the frames of batches that were not written
    assert count.stat().st_size <= 1.3 * (NUM_FRAMES + NUM_SHORT) + lost + in_flight


def test_two_ranks_and_three_shards_come_to_the_same(start, predict, films, alone_one_by_one):
    films, two = [*films, ONE_BY_ONE], ["trainer.devices=2", "trainer.strategy=ddp", "data.num_workers=1"]
    check_same_tables(predict(*films, *two, folder="ranks"), alone_one_by_one)
    three = [*films, "data.num_workers=1", "data.num_shards=3"]
    runs = [shard.finish() for shard in [start(*three, f"data.shard={shard}", folder="shards") for shard in range(3)]]
    assert [run.code for run in runs] == [0, 0, 0], runs[0].err
    check_same_tables(runs[0], alone_one_by_one)
    frames = [process["counts"]["images_planned"] for process in runs[0].info["processes"]]
    assert len(frames) == 3 and max(frames) <= 1.3 * min(frames)  # one film is everybody's


def test_the_detector_looks_at_each_so_manieth_frame_and_a_killed_pass_goes_on(start, predict, detecting, tmp_path):
    settings = [*detecting, ONE_BY_ONE, "boxes.every=6"]
    whole = predict(*settings, "data.num_workers=0", folder="alone")
    assert whole.code == 0, whole.err
    listed = json.loads((whole.folder / "person_images.json").read_text())["images"]
    assert (NUM_FRAMES + NUM_SHORT) / 6 < len(listed) < (NUM_FRAMES + NUM_SHORT) / 4
    assert {f"{index}.png" for index in range(NUM_PHOTOGRAPHS)} <= {image["file_name"] for image in listed}
    assert whole.info["detection"]["images"] == len(listed)
    rows = Records.read(whole.folder)
    assert len(rows) == NUM_FRAMES + NUM_SHORT + NUM_PHOTOGRAPHS
    assert sum(len(result.bboxes) > 0 for result in rows.frames_of("long.mp4")) > NUM_FRAMES / 2
    slow = "from sapiens_pl.detection.module import DetectionModule as D\nimport time\nstep = D.predict_step\n"
    slow += "D.predict_step = lambda *given: (time.sleep(0.1), step(*given))[1]\n"
    run = start(*settings, "data.num_workers=2", inject=slow)
    parts = run.folder / "detections"
    run.wait_until(lambda: sum(path.read_text().count("\n") for path in parts.glob("part-*")) > 10)
    run.kill()
    again = start(*settings, "data.num_workers=1", inject=SLOW_STEP)
    again.wait_until(lambda: again.count() > 30)
    again.kill()
    check_same_tables(predict(*settings, "data.num_workers=2"), whole)
    shards = [start(*settings, "data.num_shards=2", f"data.shard={shard}", folder="shards") for shard in range(2)]
    runs = [shard.finish() for shard in shards]
    check_same_tables(runs[0], whole)
    for name in ("person_images.json", "person_detections.json"):
        assert (runs[0].folder / name).read_bytes() == (whole.folder / name).read_bytes()
    assert people(again.folder) == people(whole.folder)  # ids stay as they were first given


def people(folder: Path) -> dict[str, list]:
    """What the detector has found, by image."""
    images = json.loads((folder / "person_images.json").read_text())["images"]
    rows = json.loads((folder / "person_detections.json").read_text())
    found = {image["id"]: [image["file_name"], image["width"], image["height"]] for image in images}
    for row in rows:
        found[row["image_id"]].append([row["bbox"], row["score"]])
    return {each[0]: each[1:] for each in found.values()}


def test_looking_at_other_frames_is_another_run(predict, detecting):
    first = predict(*detecting, "boxes.every=6", "data.num_workers=0", "data.video.end=1")
    assert first.code == 0, first.err
    again = predict(*detecting, "boxes.every=7", "data.num_workers=0", "data.video.end=1")
    assert again.code == 2 and "boxes.every=6, not 7" in again.err, again.err
    shutil.rmtree(first.folder)


def test_a_film_that_was_cut_and_is_put_right_becomes_whole(predict, mini, tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    whole = clips.make_clip(tmp_path / "whole.mp4", 40, gop=10, container_options={"movflags": "faststart"})
    for name in ("film.mp4", "stays.mp4"):
        clips.cut(shutil.copy(whole, folder / name))
    settings = [*mini, f"data.images={folder}", "boxes=whole_image", "output.formats=[csv]", "data.num_workers=0"]
    first = predict(*settings)
    missing = {*Records.read(first.folder).names("failed")}
    assert {"film.mp4", "stays.mp4"} <= missing and first.code == 0, first.err
    shutil.copy(whole, folder / "film.mp4")
    run = predict(*settings, "output.redo=failed")
    assert run.code == 0 and run.info["status"] == "complete", run.err
    records = Records.read(run.folder)
    assert len(records.frame_names("film.mp4")) == 40
    failed = records.names("failed")
    assert "stays.mp4" in failed and not any(name.startswith("film") for name in failed)
    lines = (run.folder / "failures.jsonl").read_text()
    assert "stays.mp4" in lines and "film.mp4" not in lines
    assert run.info["folder"]["failed"] == len(failed)
    clips.cut(folder / "film.mp4")  # and what is cut again is told again
    assert "film.mp4" in Records.read(predict(*settings).folder).names("failed")
