"""`dry_run=true`: the plan and its cost, and nothing else."""

from __future__ import annotations

import io
import json
import re
import shutil
import tarfile

import pytest
from conftest import TINY
from hydra import compose, initialize_config_dir

from sapiens_pl import demo
from sapiens_pl.core.configs import config_folder
from sapiens_pl.run.cost import network_facts

NO_WEIGHTS = """
import os, sapiens_pl.models.checkpoints as checkpoints, sapiens_pl.models.hub as hub, sapiens_pl.run.pose_run as run
def refuse(*given, **options): raise AssertionError("weights were asked for")
checkpoints.load_network = hub.find_weights = run.find_weights = refuse
"""
PUBLISHED = [f"data.images={demo.IMAGES}", "model=sapiens_1b_308", "boxes=json", f"boxes.file={demo.PEOPLE}"]
NUM_PEOPLE = sum(len(entry["bboxes"]) for entry in json.loads(demo.PEOPLE.read_text()))


def rows(run) -> dict[str, str]:
    return dict(re.findall(r"^  (\S.*?)\s{2,}(.+)$", run.out, re.MULTILINE))


@pytest.fixture
def before(tmp_path):
    """What is below the temporary folder, but for what the test itself writes."""
    return lambda: sorted(
        path.relative_to(tmp_path).as_posix()
        for path in tmp_path.rglob("*")
        if not path.name.startswith("output_") and path.name != "elsewhere"
    )


def test_a_dry_run_needs_no_weights_and_writes_nothing(predict, before):
    there = before()
    run = predict(*PUBLISHED, "data.batch_size=4", "dry_run=true", inject=NO_WEIGHTS)
    assert run.code == 0 and not run.err, run.err
    assert before() == there and not run.folder.exists()
    told = rows(run)
    assert told["images"].startswith("6 found; 6 to do, 0 done before")
    assert told["people"] == f"{NUM_PEOPLE} to do" and told["batches"] == f"{-(-NUM_PEOPLE // 4)} of 4 crops"
    assert told["work"] == f"{NUM_PEOPLE * 9.771486806016:,.1f} TFLOP, 9.77 TFLOP a crop"
    assert told["to write"].startswith("about ") and "json" in told["to write"] and "GB in" in told["free space"]
    assert "time" not in told


def test_what_is_not_counted_is_told_before_anything_is_done(predict, mini, tmp_path):
    rows_of_box_file = [
        {"image": "one.jpg", "bbox": [10, 10, 90, 90], "class": "person"},
        {"image": "one.jpg", "bbox": [10, 10, 90, 90], "class": "dog"},
        {"image": "gone.jpg", "bbox": [10, 10, 90, 90], "class": "person"},
    ]
    (tmp_path / "people.json").write_text(json.dumps(rows_of_box_file))
    boxes = ["boxes=json", f"boxes.file={tmp_path / 'people.json'}"]
    run = predict(f"data.images={demo.IMAGES}", *boxes, *mini, "dry_run=true")
    assert run.code == 0 and rows(run)["boxes left out"] == "2 of 3:", run.out + run.err
    assert "1 of other classes (person 2, dog 1)" in run.out and "1 of pictures that are not in data.images" in run.out
    assert rows(run)["without boxes"].startswith("5 pictures not in the box file: ")


def test_what_is_done_is_counted(predict, mini, before):
    settings = [f"data.images={demo.IMAGES}", "boxes=json", f"boxes.file={demo.PEOPLE}", *mini, "data.num_workers=0"]
    assert predict(*settings).code == 0
    there = before()
    run = predict(*settings, "dry_run=true")
    assert run.code == 0 and "images" in rows(run), run.out + run.err
    told = rows(run)
    assert (
        told["images"] == "6 found; 0 to do, 6 done before, 0 failed before"
        and told["people"] == f"0 to do, {NUM_PEOPLE} done before"
    )
    again = rows(predict(*settings, "dry_run=true", "output.overwrite=true"))
    assert again["images"].startswith("6 found; 6 to do, 0 done before")
    half = rows(predict(*settings, "dry_run=true", "data.num_shards=2", "data.shard=1", folder="other"))
    assert "left out" not in half and "to do (shard 1 of 2)" in half["images"]
    refused = predict(*settings, "dry_run=true", "output.resume=false")
    assert refused.code == 2 and "already holds results" in refused.err, refused.err
    assert before() == there


def test_seconds_of_real_passes_tell_the_time(predict, mini, before):
    there = before()
    run = predict(
        *[f"data.images={demo.IMAGES}", "boxes=json", f"boxes.file={demo.PEOPLE}", *mini],
        *["data.batch_size=2", "data.num_workers=0", "dry_run=true", "calibrate=0.1"],
    )
    assert run.code == 0 and re.search(r"crops/s on one .+: 0.00 device hours", rows(run)["time"]), run.err
    assert before() == there


def test_who_needs_a_detector_is_told_what_is_not_known(predict):
    run = predict(f"data.images={demo.IMAGES}", "model=sapiens_1b_308", "boxes=detector", "dry_run=true")
    assert run.code == 0 and "not known before the detector has looked at 6 images" in rows(run)["people"], run.err


def test_what_a_detector_would_find_is_told_from_some_of_the_images(predict, before):
    there = before()
    formats = "output.formats=[json,overlay,openpose,sheet,report,video,coco]"
    run = predict(f"data.images={demo.IMAGES}", "boxes=detector", formats, "dry_run=true", "calibrate=60")
    assert run.code == 0 and before() == there, run.err
    told = rows(run)
    assert told["people"].startswith("about 17 to do: the detector has looked at 6 images and seen 17, 2.83 +- ")
    assert told["batches"] == "about 3 of 8 crops" and told["work"].startswith("about 0.01")
    assert told["time"].startswith("detector ") and "images/s, " in told["time"]
    written = told["to write"]
    assert "for one person" not in written and "pictures as of 6 that were drawn on" in written, written
    assert all(f" {name} " in written for name in ("overlay", "openpose", "sheet")) and "report at most 5 MB" in written
    assert "video" not in written  # there is none
    gone = predict(f"data.images={demo.IMAGES}", "boxes=detector", "boxes.model=fcos_small", "boxes.weights=gone.pth")
    dry = predict(f"data.images={demo.IMAGES}", "boxes=detector", "boxes.weights=gone.pth", "dry_run=true")
    assert gone.code == dry.code == 2 and "boxes.weights=gone.pth does not exist" in dry.err, dry.err


def test_people_of_tars_are_counted_tar_by_tar_and_so_are_those_on_record(predict, mini, tmp_path):
    (tmp_path / "tars").mkdir()
    files = sorted(demo.IMAGES.glob("*.jpg"))
    for number in range(3):
        with tarfile.open(tmp_path / "tars" / f"{number}.tar", "w") as tar:
            for place, file in enumerate(files[:2]):
                tar.add(file, f"{place}.jpg")
                note = json.dumps({"bboxes": [[10, 10, 90, 90]] * (place + number)}).encode()
                member = tarfile.TarInfo(f"{place}.json")
                member.size = len(note)
                tar.addfile(member, io.BytesIO(note))
    settings = [*mini, "boxes=sample", "data.batch_size=4", "data.num_workers=0"]
    first = predict(f"data.images={tmp_path / 'tars' / '2.tar'}", *settings)
    assert first.code == 0, first.err
    told = rows(predict(f"data.images={tmp_path / 'tars'}", *settings, "dry_run=true", "output.overlay=true"))
    assert told["images"] == "6 found; 4 to do, 2 done before, 0 failed before"
    assert told["people"] == "4 to do, 5 done before" and told["batches"] == "1 of 4 crops"
    assert "overlay" in told["to write"] and "copies" not in told


def test_without_a_named_folder_no_folder_is_left(start, tmp_path):
    run = start("dry_run=true", inject="import sys; sys.argv[1:] = [a for a in sys.argv[1:] if 'hydra.run' not in a]")
    run = run.finish()
    assert run.code == 0 and "outputs" in rows(run)["free space"], run.err
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("dry", ["dry_run=true", "dry_run=false"])
def test_box_file_and_folder_are_looked_at_before_weights_are_fetched(predict, tmp_path, dry, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
    broken = tmp_path / "people.json"
    broken.write_text(json.dumps([{"image": "one.jpg", "bboxes": "none"}])[:-2])
    run = predict(*PUBLISHED[:3], f"boxes.file={broken}", dry, inject=NO_WEIGHTS)
    assert run.code == 2 and str(broken) in run.err and "Traceback" not in run.err, run.err
    (tmp_path / "run").mkdir(exist_ok=True)
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "run" / "run.json").mkdir(parents=True)
    run = predict(*PUBLISHED, dry, inject=NO_WEIGHTS)
    assert run.code == 2 and "run.json is a folder" in run.err, run.err


def test_settings_of_a_dry_run_that_cannot_be_meant(predict, tmp_path):
    run = predict(*PUBLISHED, "dry_run=true", "calibrate=-1")
    assert run.code == 2 and "calibrate=-1 must be a number of at least 0" in run.err, run.err
    run = predict(*PUBLISHED, "dry_run=true", "-m", "data.batch_size=1,2", f"hydra.sweep.dir={tmp_path / 'sweep'}")
    assert run.code == 2 and "omit -m" in run.err and not (tmp_path / "sweep").exists(), run.err


@pytest.mark.slow
def test_operations_are_counted_from_a_files_shapes_where_nobody_says_them():
    with initialize_config_dir(config_folder(), version_base="1.3"):
        told = network_facts(compose("predict", ["model=sapiens_0.3b_17", "model.flip_test=true"]))
        counted = network_facts(compose("predict", [f"model.checkpoint={TINY}", "model.num_heads=4"]))
    assert told.num_keypoints == 17 and 2 * 3.0e12 < told.flops < 2 * 3.3e12
    assert counted.flops and counted.num_keypoints == 17
