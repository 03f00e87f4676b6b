from __future__ import annotations

import json
import os
import threading
import time

import cv2
import numpy as np
import pytest
import torch

from sapiens_pl.core.errors import ConfigError, ResultNameError, WriteError
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.models.checkpoints import save_network
from sapiens_pl.models.keypoint_sets import set_of_network
from sapiens_pl.models.sapiens import SapiensPose, SapiensShape
from sapiens_pl.products.drawing import LEFT_BGR, RIGHT_BGR
from sapiens_pl.products.json_files import result_json
from sapiens_pl.products.openpose_pictures import openpose_png
from sapiens_pl.products.overlay import overlay_jpeg
from sapiens_pl.records.pool import BoundedPool
from sapiens_pl.records.run_folder import RunFolder


def result_of(keypoints, scores=None, name="a.jpg", image_wh=(200, 300)):
    keypoints = np.asarray(keypoints, np.float32)
    count = len(keypoints)
    scores = np.ones(keypoints.shape[:2], np.float32) if scores is None else np.asarray(scores, np.float32)
    boxes = np.tile([10.0, 10.0, 190.0, 290.0], (count, 1))
    return PoseResult("", keypoints, scores, boxes, np.ones(count), np.arange(count), image_wh, name, ())


@pytest.mark.parametrize("num_keypoints", [17, 133, 308, 5])
def test_json_holds_every_keypoint_whatever_its_score(num_keypoints):
    rng = np.random.default_rng(0)
    result = result_of(rng.uniform(-50, 400, (2, num_keypoints, 2)), rng.normal(0, 1, (2, num_keypoints)))
    content = json.loads(result_json(result, set_of_network("It", num_keypoints)))
    assert len(content["meta_info"]["keypoint_names"]) == num_keypoints
    for row, instance in enumerate(content["instance_info"]):
        np.testing.assert_allclose(instance["keypoints"], result.keypoints[row], atol=6e-4)
        np.testing.assert_allclose(instance["keypoint_scores"], result.keypoint_scores[row], atol=1e-6)


def test_overlay_draws_left_and_right_apart_and_leaves_the_photograph(tmp_path):
    spec = set_of_network("It", 17)
    pixels = np.full((300, 200, 3), 127, np.uint8)
    keypoints = np.full((1, 17, 2), -1000.0)
    keypoints[0, 9], keypoints[0, 10] = (60, 100), (140, 100)
    scores = np.zeros((1, 17))
    scores[0, [9, 10]] = 0.9
    picture = cv2.imdecode(np.frombuffer(overlay_jpeg(pixels, result_of(keypoints, scores), spec, 0.3), np.uint8), 1)
    assert picture.shape == pixels.shape and (pixels == 127).all()
    left, right = picture[100, 60].astype(int), picture[100, 140].astype(int)
    assert np.abs(left - LEFT_BGR).max() < 60 and np.abs(right - RIGHT_BGR).max() < 60
    hidden = cv2.imdecode(np.frombuffer(overlay_jpeg(pixels, result_of(keypoints, scores), spec, 0.95), np.uint8), 1)
    assert np.abs(hidden[100, 60].astype(int) - 127).max() < 30


@pytest.mark.parametrize("num_keypoints", [17, 133, 308])
def test_overlays_of_every_set_and_of_points_far_outside(num_keypoints):
    keypoints = np.random.default_rng(0).normal(0, 1e7, (3, num_keypoints, 2))
    spec = set_of_network("It", num_keypoints)
    assert overlay_jpeg(np.zeros((40, 30, 3), np.uint8), result_of(keypoints), spec, 0.3)


def test_a_file_is_whole_or_absent(tmp_path):
    folder = RunFolder(tmp_path)
    folder.open()
    target = folder.prediction_path("a.jpg")
    target.mkdir(parents=True)  # a rename onto a folder fails
    with pytest.raises(ResultNameError, match=r"cannot be named .*a\.jpg\.json \(Is a directory\)"):
        folder.write(target, b"x", of_image=True)
    assert os.listdir(folder.predictions) == ["a.jpg.json"] and not list(tmp_path.glob(".unfinished-*/*"))
    folder.close()
    with pytest.raises(WriteError, match=r"b\.jpg\.json could not be written"):  # the folder is gone
        folder.write(folder.prediction_path("b.jpg"), b"x")
    assert sorted(os.listdir(tmp_path)) == ["predictions"]


def test_leftovers_of_a_killed_run_do_no_harm(tmp_path):
    folder = RunFolder(tmp_path)
    (tmp_path / ".unfinished-3").mkdir()
    (tmp_path / ".unfinished-3" / "12-0").write_text("half")
    folder.remove_leftovers()
    folder.open()
    assert len(list(tmp_path.glob(".unfinished-0-*"))) == 1 and not list(tmp_path.glob(".unfinished-*/*"))


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="output.dir="):
        RunFolder(tmp_path / "file" / "run")


def test_the_pool_is_bounded_and_its_errors_come_back():
    pool = BoundedPool(num_threads=1, max_waiting=2)
    gate = threading.Event()
    done = []
    for number in range(2):
        pool.submit(lambda number=number: (gate.wait(), done.append(number)))
    third = threading.Thread(target=pool.submit, args=(lambda: done.append(2),))
    third.start()
    time.sleep(0.2)
    waiting = third.is_alive()
    gate.set()
    assert waiting  # for a place
    third.join(5)
    pool.submit(lambda: 1 / 0)
    pool.close()
    assert done == [0, 1, 2]
    with pytest.raises(ZeroDivisionError):
        pool.raise_error()


def test_nobody_ever_sees_half_a_file(tmp_path):
    folder = RunFolder(tmp_path)
    folder.open()
    target = folder.prediction_path("a.jpg")
    folder.write(target, b"a" * 3_000_000)
    writer = threading.Thread(target=lambda: [folder.write(target, letter * 3_000_000) for letter in [b"b", b"a"] * 20])
    writer.start()
    while writer.is_alive():
        seen = target.read_bytes()
        assert len(seen) == 3_000_000 and seen.count(seen[:1]) == 3_000_000
    writer.join()
    assert os.listdir(folder.predictions) == ["a.jpg.json"]


@pytest.mark.parametrize("num_keypoints", [17, 133, 308])
def test_openpose_draws_its_eighteen_points_in_its_colours_on_black(num_keypoints):
    spec = set_of_network("It", num_keypoints)
    points = np.zeros((1, num_keypoints, 2), np.float32)
    scores = np.zeros((1, num_keypoints), np.float32)
    body = list(spec.parts["body"])
    points[0, body] = [[40 + 40 * (i % 6), 60 + 100 * (i // 6) + 6 * (i % 6) ** 2] for i in range(17)]
    scores[0, body] = 1
    scores[0, body[0]] = 0.1  # the nose is not seen
    result = result_of(points, scores, image_wh=(300, 500))
    picture = cv2.imdecode(np.frombuffer(openpose_png(result, spec, 0.3), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (500, 300, 3)

    def colour(x, y):
        return picture[round(y), round(x)].tolist()

    left_shoulder, right_shoulder = points[0, body[5]], points[0, body[6]]
    assert colour(*right_shoulder) == [0, 170, 255] and colour(*left_shoulder) == [0, 255, 85]  # BGR
    assert colour(*((left_shoulder + right_shoulder) / 2)) == [0, 85, 255]  # the neck
    assert colour(*points[0, body[0]]) == [0, 0, 0] and colour(5, 495) == [0, 0, 0]
    knee, ankle = points[0, body[13]], points[0, body[15]]
    assert colour(*((knee + ankle) / 2)) == [153, 51, 0]  # a limb, at 0.6


def test_openpose_draws_hands_and_face_of_133_keypoints():
    spec = set_of_network("It", 133)
    points = np.full((1, 133, 2), -50, np.float32)
    points[0, list(spec.parts["face"])] = [[20 + 2 * index, 50] for index in range(68)]
    points[0, list(spec.parts["left_hand"])] = [[20 + 12 * index, 150] for index in range(21)]
    result = result_of(points, np.ones((1, 133), np.float32), image_wh=(300, 200))
    picture = cv2.imdecode(np.frombuffer(openpose_png(result, spec, 0.3), np.uint8), cv2.IMREAD_COLOR)
    assert picture[50, 80].tolist() == [255, 255, 255]
    assert picture[150, 20 + 12 * 8].tolist() == [255, 0, 0]
    between = picture[150, 20 + 12 * 6 + 6].tolist()
    assert max(between) > 250 and between != [255, 0, 0]  # a finger's link


def test_openpose_pictures_come_beside_the_results_or_are_refused_before_the_run(predict, mini, tmp_path):
    run = predict(*mini, "output.formats=[json,openpose]", "output.overlay_score_threshold=-9")
    assert run.code == 0, run.err
    assert {f"{name}.png" for name in run.results} == {
        path.relative_to(run.folder / "openpose").as_posix() for path in (run.folder / "openpose").rglob("*.png")
    }
    torch.manual_seed(0)
    save_network(SapiensPose(SapiensShape(8, 1, 2, 16, (8, 8), (8,), 20, (64, 48))), tmp_path / "twenty.safetensors")
    other = predict(f"model.checkpoint={tmp_path / 'twenty.safetensors'}", "output.formats=[openpose]", folder="other")
    assert other.code == 2 and "(20 keypoints) does not say" in other.err and not other.results
