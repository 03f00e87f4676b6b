"""`boxes=detector` as the real command in real processes, with a random detector that sees people everywhere."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import Started, check_same, hungry
from forked import fork_command
from safetensors.torch import save_file

from sapiens_pl.detection.fcos_small import fcos_small

NUM_IMAGES, NUM_BROKEN = 24, 3
SLOW_DETECTION = """
import time
from sapiens_pl.detection.module import DetectionModule
step = DetectionModule.predict_step
DetectionModule.predict_step = lambda *given: (time.sleep({seconds}), step(*given))[1]
"""
NO_DETECTION = "from sapiens_pl.detection.module import DetectionModule\nDetectionModule._detect = lambda *given: 1 / 0"


@pytest.fixture(scope="module")
def settings(tmp_path_factory, mini) -> list[str]:
    """Overrides: photographs of noise in many sizes, broken files among them, and a detector never at a loss."""
    root, rng = tmp_path_factory.mktemp("detection"), np.random.default_rng(2)
    (root / "images").mkdir()
    for index in range(NUM_IMAGES):
        patches = rng.integers(0, 256, (4, 5, 3)).astype(np.uint8)
        cv2.imwrite(str(root / "images" / f"{index:02d}.jpg"), cv2.resize(patches, rng.integers(80, 240, 2).tolist()))
    for index in range(NUM_BROKEN):
        (root / "images" / f"{8 * index:02d}_broken.jpg").write_bytes(b"\xff\xd8 no picture")
    torch.manual_seed(0)
    network = fcos_small()
    torch.nn.init.constant_(network.head.classification_head.cls_logits.bias, 1.0)
    save_file(network.state_dict(), root / "detector.safetensors")
    detector = ["boxes=detector", "boxes.model=fcos_small", f"boxes.weights={root / 'detector.safetensors'}"]
    return [*mini, *detector, "boxes.largest_n=3", f"data.images={root / 'images'}", "data.batch_size=4"]


@pytest.fixture(scope="module")
def finished(settings, tmp_path_factory) -> Path:
    """The folder of a run by one process."""
    folder = tmp_path_factory.mktemp("finished")
    arguments = [*settings, "data.num_workers=1", f"hydra.run.dir={folder}"]
    run = Started(fork_command(arguments, folder, folder / "output"), folder / "output", folder).finish()
    assert run.code == 0, run.err
    return folder


@pytest.fixture(scope="module")
def alone(finished):
    """What that process made of it, from the results to the boxes."""
    return contents(finished)


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """That folder, where `predict` will go on with it."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def contents(folder):
    results = {
        path.name.removesuffix(".json"): json.loads(path.read_text())
        for path in sorted((folder / "predictions").iterdir())
    }
    failures = sorted((folder / "failures.jsonl").read_text().splitlines())
    people = json.loads((folder / "person_detections.json").read_text())
    images = json.loads((folder / "person_images.json").read_text())["images"]
    return results, failures, people, images


def check_equal(run, alone) -> None:
    results, failures, people, images = contents(run.folder)
    check_same(results, alone[0], 100)
    assert failures == alone[1] and people == alone[2] and images == alone[3]
    assert not (run.folder / "detections").exists() and not list(run.folder.glob(".unfinished*"))


def detected(folder) -> int:
    return sum(path.read_text().count("\n") for path in (folder / "detections").glob("part-*"))


def test_the_poses_are_of_the_boxes_in_the_file_and_a_broken_image_is_one_failure(predict, settings, alone):
    results, failures, people, images = alone
    assert len(results) == len(images) == NUM_IMAGES
    assert len(failures) == NUM_BROKEN and all("UnreadableImageError" in line for line in failures)
    ids = {image["file_name"]: image["id"] for image in images}
    for name, result in results.items():
        rows = [row for row in people if row["image_id"] == ids[name]]
        assert len(rows) == len(result["instance_info"]) and all(row["category_id"] == 1 for row in rows)
        for row, instance in zip(rows, result["instance_info"]):
            x, y, width, height = row["bbox"]
            np.testing.assert_allclose(instance["bbox"], [x, y, x + width, y + height], atol=1e-6)
            assert instance["bbox_score"] == row["score"]
    assert 0 < len(people) <= 3 * NUM_IMAGES


def test_a_second_run_detects_nothing_and_other_settings_are_refused(predict, settings, copied, alone):
    info = json.loads((copied / "run.json").read_text())
    assert info["settings"]["boxes.model"] == "fcos_small" and "SHA-256" in info["settings"]["boxes.weights"]
    assert info["detection"]["images"] == NUM_IMAGES + NUM_BROKEN and info["detection"]["people"] == len(alone[2])
    assert info["counts"]["images_failed"] == info["detection"]["images_failed"] == NUM_BROKEN
    assert info["counts"]["images_planned"] == NUM_IMAGES + NUM_BROKEN
    again = predict(*settings, inject=NO_DETECTION)
    assert again.code == 0, again.err
    assert again.info["counts"]["images_done_before"] == NUM_IMAGES
    assert again.info["counts"]["images_failed_before"] == NUM_BROKEN
    refused = predict(*settings, "boxes.score_threshold=0.5")
    assert refused.code == 2 and "boxes.score_threshold=0.3, not 0.5" in refused.err, refused.err
    check_equal(again, alone)


def test_edited_boxes_are_used_and_boxes_of_done_images_are_not_changed_silently(predict, settings, copied):
    people = json.loads((copied / "person_detections.json").read_text())
    image = json.loads((copied / "person_images.json").read_text())["images"][0]
    kept = [row for row in people if row["image_id"] != image["id"]]
    mine = {"image_id": image["id"], "category_id": 1, "bbox": [1, 2, 30, 40]}
    (copied / "person_detections.json").write_text(json.dumps([mine, *kept]))
    refused = predict(*settings)
    assert refused.code == 2 and f"other boxes (1 images, {image['file_name']}" in refused.err, refused.err
    over = predict(*settings, "output.overwrite=true", "data.num_workers=0", inject=NO_DETECTION)
    assert over.code == 0 and over.info["counts"]["images_done"] == NUM_IMAGES, over.err
    assert [instance["bbox"] for instance in over.results[image["file_name"]]["instance_info"]] == [[1, 2, 31, 42]]
    anew = predict(*settings, "output.overwrite=true", "data.num_workers=0", "boxes.largest_n=1")
    assert anew.code == 0 and anew.info["detection"]["images"] == NUM_IMAGES + NUM_BROKEN, anew.err
    assert mine in json.loads((copied / "person_detections.old.json").read_text())


def test_the_file_given_back_as_coco_boxes_gives_the_same_poses(predict, settings, finished, alone):
    others = [text for text in settings if not text.startswith("boxes")]
    boxes, images = finished / "person_detections.json", finished / "person_images.json"
    back = predict(*others, "boxes=coco", f"boxes.file={boxes}", f"boxes.images_file={images}", folder="back")
    assert back.code == 0, back.err
    results = back.results
    ids = {result["image"].pop("id") for result in results.values()}
    assert len(ids) == len(results)  # the listing's, which only a box file's reader tells
    check_same(results, alone[0], 100)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_ends_while_it_detects_goes_on_where_it_was(start, predict, settings, alone, number):
    run = start(*settings, "data.num_workers=1", inject=SLOW_DETECTION.format(seconds=0.2))
    run.wait_until(lambda: detected(run.folder) > 4)
    run.send_signal(number)
    stopped = run.finish(timeout=60)
    if number != signal.SIGKILL:
        assert (
            "Traceback" not in stopped.err and stopped.code == 128 + number and stopped.info["status"] == "interrupted"
        ), stopped.err
        counts = stopped.info["counts"]
        assert counts["images_not_reached"] + counts["images_failed"] == NUM_IMAGES + NUM_BROKEN
    again = predict(*settings, "data.num_workers=1")
    assert again.code == 0, again.err
    check_equal(again, alone)
    assert again.info["detection"]["images"] < NUM_IMAGES + NUM_BROKEN - 4
    assert again.info["status"] == "complete"


PATIENT_RANK = """
import os, time
from pathlib import Path
from sapiens_pl.detection.module import DetectionModule
from sapiens_pl.inference.module import PoseModule
posed, rank, look = Path({posed!r}), os.environ.get("LOCAL_RANK", "0"), DetectionModule.predict_step
def patient(*given):
    end = time.monotonic() + 60
    while rank == "1" and not posed.exists() and time.monotonic() < end:
        time.sleep(0.05)
    return look(*given)
DetectionModule.predict_step = patient
PoseModule.on_predict_end = lambda self: posed.write_text(posed.read_text() + rank if posed.exists() else rank)
"""


def test_two_ranks_of_lightning_do_not_wait_for_each_other(predict, settings, alone, tmp_path):
    """Of which the second one looks at nothing before the first one has all its poses."""
    two = ["trainer.devices=2", "trainer.strategy=ddp", "data.num_workers=1"]
    run = predict(*settings, *two, inject=PATIENT_RANK.format(posed=str(tmp_path / "posed")), timeout=50)
    assert run.code == 0, run.err
    check_equal(run, alone)
    assert (tmp_path / "posed").read_text() == "01"
    assert run.info["processes_ended"] == 2 and run.info["detection"]["images"] == NUM_IMAGES + NUM_BROKEN


def test_shards_share_the_images_and_the_last_writes_the_file(start, predict, settings, alone):
    shards = [*settings, "data.num_workers=0", "data.num_shards=2"]
    first = predict(*shards, "data.shard=1")
    assert first.code == 0 and not (first.folder / "person_detections.json").exists(), first.err
    second = predict(*shards, "data.shard=0")
    assert second.code == 0, second.err
    check_equal(second, alone)
    whole = predict(*settings, inject=NO_DETECTION)  # another number of processes
    assert whole.code == 0 and whole.info["counts"]["images_done_before"] == NUM_IMAGES, whole.err


def test_memory_that_runs_out_halves_the_batch(predict, settings, alone):
    detector = "sapiens_pl.detection.torchvision_detector.TorchvisionDetector"
    run = predict(*settings, "boxes.images_per_batch=8", "data.num_workers=0", inject=hungry(detector, 3))
    assert run.code == 0 and run.info["detection"]["largest_working_batch"] == 3, run.err
    check_equal(run, alone)
    none = predict(*settings, "data.num_workers=0", inject=hungry(detector, 0), folder="none")
    assert none.code == 1 and "Traceback" not in none.err
    assert "error: The person detector fcos_small does not fit" in none.err and "boxes.model" in none.err


def test_too_many_failures_end_the_detection(predict, settings):
    run = predict(*settings, "output.max_failures=1", "data.num_workers=0")
    assert run.code == 1 and "More than 1 images failed" in run.out, run.err
    assert run.info["status"] == "failed" and not run.results


def test_failed_images_are_looked_at_again_when_that_is_asked_for(predict, settings, tmp_path):
    images = tmp_path / "few"
    images.mkdir()
    cv2.imwrite(str(images / "good.jpg"), np.full((90, 80, 3), 99, np.uint8))
    (images / "bad.jpg").write_bytes(b"no picture")
    given = [*(text for text in settings if not text.startswith("data.images")), f"data.images={images}"]
    first = predict(*given, "data.num_workers=0")
    assert first.code == 0 and [row["image"] for row in first.failures] == ["bad.jpg"], first.err
    cv2.imwrite(str(images / "bad.jpg"), np.full((70, 80, 3), 99, np.uint8))
    again = predict(*given, "data.num_workers=0", "output.redo=failed")
    assert again.code == 0 and not again.failures and set(again.results) == {"good.jpg", "bad.jpg"}, again.err
    assert again.info["detection"]["images"] == 1


def test_a_folder_without_anybody_is_complete(predict, settings, tmp_path):
    run = predict(*settings, "boxes.score_threshold=0.999", "data.num_workers=0")
    assert run.code == 0 and all(not result["instance_info"] for result in run.results.values()), run.err
    assert len(run.results) == NUM_IMAGES and json.loads((run.folder / "person_detections.json").read_text()) == []
    assert os.path.getsize(run.folder / "person_images.json") > 100


@pytest.mark.parametrize("boxes", ["boxes=auto", "boxes=detector"])
def test_without_weights_the_sentence_names_the_file_its_place_and_the_other_choices(
    predict, settings, boxes, tmp_path
):
    images = next(text for text in settings if text.startswith("data.images"))
    out_of_reach = f"import os; os.environ.update(TORCH_HOME={str(tmp_path)!r}, https_proxy='http://127.0.0.1:9')"
    run = predict(images, boxes, inject=out_of_reach)
    assert run.code == 2 and run.err.count("error: ") == 1 and not run.results, run.err
    for words in ("fasterrcnn_resnet50_fpn_v2_coco-", str(tmp_path), "boxes.weights=FILE", "boxes=json", "whole_image"):
        assert words in run.err
