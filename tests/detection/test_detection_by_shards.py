"""`boxes=detector` over tars: people are looked for tar by tar, and are those of the same pictures as files."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter

import cv2
import numpy as np
import pytest
import torch
from conftest import hungry
from safetensors.torch import save_file

from sapiens_pl.boxes.json_boxes import JsonBoxes
from sapiens_pl.detection.fcos_small import fcos_small
from sapiens_pl.pictures.sources import open_source
from sapiens_pl.records.reading import Records

DETECTOR = "sapiens_pl.detection.torchvision_detector.TorchvisionDetector"
NUM_TARS, NUM_PICTURES = 6, 5
BROKEN = "1.tar/002.jpg"
SMALL_PORTIONS = "from sapiens_pl.data import planning; planning.PICTURES_A_PORTION = 10\n"
LOOKED = f"""{SMALL_PORTIONS}
import os, time
from sapiens_pl.detection.module import DetectionModule
step = DetectionModule.predict_step
def noted(self, batch, number=0):
    for part in batch.parts:
        print("looked at", os.environ.get("LOCAL_RANK", "0"), flush=True)
    time.sleep({{seconds}})
    return step(self, batch, number)
DetectionModule.predict_step = noted
"""
NO_DETECTION = "from sapiens_pl.detection.module import DetectionModule\nDetectionModule._detect = lambda *given: 1 / 0"


@pytest.fixture(scope="module")
def given(tmp_path_factory, mini):
    """The same pictures, one of them broken, in folders and in tars; and settings."""
    root, rng = tmp_path_factory.mktemp("by_shards"), np.random.default_rng(3)
    (root / "tars").mkdir()
    for number in range(NUM_TARS):
        (root / "files" / f"{number}.tar").mkdir(parents=True)
        with tarfile.open(root / "tars" / f"{number}.tar", "w") as tar:
            for place in range(NUM_PICTURES):
                name = f"{number}.tar/{place:03d}.jpg"
                patches = rng.integers(0, 256, (4, 5, 3)).astype(np.uint8)
                picture = cv2.resize(patches, rng.integers(80, 200, 2).tolist())
                data = b"\xff\xd8 no picture" if name == BROKEN else cv2.imencode(".jpg", picture)[1].tobytes()
                (root / "files" / name).write_bytes(data)
                info = tarfile.TarInfo(f"{place:03d}.jpg")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    torch.manual_seed(0)
    network = fcos_small()
    torch.nn.init.constant_(network.head.classification_head.cls_logits.bias, 1.0)
    save_file(network.state_dict(), root / "detector.safetensors")
    detector = ["boxes=detector", "boxes.model=fcos_small", f"boxes.weights={root / 'detector.safetensors'}"]
    settings = [*mini, *detector, "boxes.largest_n=3", "data.batch_size=4", "data.num_workers=1", "output.formats=[]"]
    return root, [f"data.images={root / 'tars'}", *settings]


@pytest.fixture
def settings(given):
    return given[1]


def records(folder):
    read = Records.read(folder)
    rows = {
        result.name: (result.bboxes.tolist(), result.bbox_scores.tolist(), np.round(result.keypoint_scores, 3).tolist())
        for result in read.results()
    }
    return rows | {failure.image: failure.error for failure in read.failures()}


def looked_at(run) -> int:
    return run.out.count("looked at")


def lines(folder) -> list[str]:
    return [line for path in sorted(folder.rglob("detections/shards/*.jsonl")) for line in path.read_text().split("\n")]


def names_of(lines) -> list[str]:
    return [json.loads(line)["image"] for line in lines if line]


@pytest.fixture(scope="module")
def of_files():
    """Made by the first test that asks."""
    return {}


@pytest.fixture
def expected(of_files, given, predict):
    if not of_files:
        root, settings = given
        run = predict(f"data.images={root / 'files'}", *settings[1:], folder="files")
        assert run.code == 0, run.err
        of_files |= records(run.folder)
        assert len(of_files) == NUM_TARS * NUM_PICTURES and of_files[BROKEN] == "UnreadableImageError"
    return of_files


def test_tars_have_the_people_of_the_same_files(predict, given, expected, tmp_path):
    root, settings = given
    run = predict(*settings, inject=LOOKED.format(seconds=0))
    assert run.code == 0 and records(run.folder) == expected, run.err
    assert looked_at(run) == run.info["detection"]["images"] == NUM_TARS * NUM_PICTURES
    assert run.info["detection"]["people"] == sum(len(row[0]) for row in expected.values() if row != expected[BROKEN])
    assert run.info["counts"]["images_failed"] == run.info["detection"]["images_failed"] == 1
    assert run.info["processes"][0]["tars"] == NUM_TARS and "people: 100%" in run.err
    again = predict(*settings, inject=NO_DETECTION)
    assert again.code == 0 and records(again.folder) == expected, again.err
    assert again.info["counts"]["images_planned"] == 0
    assert sorted([*names_of(lines(run.folder)), BROKEN]) == sorted(expected)
    (tmp_path / "people.jsonl").write_text("\n".join(lines(run.folder)))  # a box file like others
    tasks = JsonBoxes(str(tmp_path / "people.jsonl"), format="xywh")(open_source(str(root / "tars")).pictures()).tasks
    assert {task.name: task.bbox_scores.tolist() for task in tasks if task.name != BROKEN} == {
        name: row[1] for name, row in expected.items() if name != BROKEN
    }


def test_a_run_that_ends_while_it_looks_goes_on_where_it_was(start, predict, settings, expected):
    seen, known = 0, 0
    for number, least in ((9, 8), (15, 17)):
        run = start(*settings, inject=LOOKED.format(seconds=0.1))
        run.wait_until(lambda run=run, least=least: len(lines(run.folder)) >= least)
        run.send_signal(number)
        stopped = run.finish()
        assert stopped.code == (143 if number == 15 else -9) and "Traceback" not in stopped.err
        seen, known = seen + looked_at(stopped), len(lines(run.folder))
    assert stopped.info["status"] == "interrupted" and known < NUM_TARS * NUM_PICTURES - 5
    assert stopped.info["counts"]["images_not_reached"] + stopped.info["counts"]["shards_not_reached"]
    last = predict(*settings, inject=LOOKED.format(seconds=0))
    assert last.code == 0 and records(last.folder) == expected, last.err
    in_flight, failed_before = 1, 2
    assert seen + looked_at(last) <= NUM_TARS * NUM_PICTURES + in_flight + failed_before
    names = Counter(names_of(lines(last.folder)))
    assert max(names.values()) == 1 and len(names) == NUM_TARS * NUM_PICTURES - 1


def test_ranks_look_at_their_own_tars_and_another_division_knows_what_they_saw(predict, settings, expected):
    two = ["trainer.devices=2", "trainer.strategy=ddp"]
    ranks = predict(*settings, *two, inject=LOOKED.format(seconds=0))
    assert ranks.code == 0 and records(ranks.folder) == expected, ranks.err
    assert ranks.out.count("looked at 0") == ranks.out.count("looked at 1") == NUM_TARS * NUM_PICTURES // 2
    for part in ranks.folder.glob("records/p*.parquet"):
        part.unlink()  # more takers than tars: pictures are dealt
    more = predict(*settings, "data.num_shards=7", "data.shard=0", inject=LOOKED.format(seconds=0))
    assert looked_at(more) <= 1 and more.info["counts"]["images_planned"] >= 4, more.err


def test_memory_that_runs_out_halves_the_batch_and_too_many_failures_end_it(predict, settings, expected):
    few = predict(*settings, "output.max_failures=0", inject=SMALL_PORTIONS)
    assert few.code == 1 and "More than 0 images failed" in few.out and few.info["status"] == "failed", few.err
    assert [row["image"] for row in few.failures] == [BROKEN] and len(lines(few.folder)) < NUM_TARS * NUM_PICTURES
    run = predict(
        *settings,
        "boxes.images_per_batch=8",
        inject=SMALL_PORTIONS + hungry("sapiens_pl.detection.torchvision_detector.TorchvisionDetector", 3),
    )
    assert run.code == 0 and run.info["detection"]["largest_working_batch"] in (2, 3), run.err
    assert records(run.folder) == expected
    over = predict(*settings, "output.overwrite=true", inject=SMALL_PORTIONS + NO_DETECTION)
    assert over.code == 0 and {*records(over.folder)} == {*expected}, over.err
    other = predict(*settings, "output.overwrite=true", "boxes.largest_n=1", inject=LOOKED.format(seconds=0))
    assert other.code == 0 and looked_at(other) == NUM_TARS * NUM_PICTURES, other.err
