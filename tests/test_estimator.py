from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from conftest import COCO, GOLDEN, TINY, TINY_HEADS

from sapiens_pl import PoseEstimator, inference_topdown
from sapiens_pl.core.errors import CheckpointError, ConfigError
from sapiens_pl.demo import CHECKPOINT
from sapiens_pl.demo.evaluate import figures
from sapiens_pl.models.checkpoints import load_network, save_network

REFERENCE = np.load(GOLDEN / "tiny_inference_topdown.npz")


@pytest.fixture(scope="module")
def estimator():
    return PoseEstimator.from_checkpoint(TINY, device="cpu", num_heads=TINY_HEADS)


@pytest.fixture(scope="module")
def demo_estimator():
    return PoseEstimator.from_checkpoint(CHECKPOINT, device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize("flip", [0, 1])
def test_inference_topdown_is_the_originals(people, flip):
    estimator = PoseEstimator.from_checkpoint(TINY, device="cpu", num_heads=TINY_HEADS, flip_test=bool(flip))
    people = {image: people[image] for image in list(people)[flip::2]}  # half of the photographs each
    results = inference_topdown(estimator, [COCO / image for image in people], list(people.values()))
    for image, result in zip(people, results):
        distance = np.abs(result.keypoints - REFERENCE[f"{image}|{flip}|kpts"]).max(axis=2)
        assert (distance < 0.1).mean() >= 0.97
        assert np.abs(result.keypoint_scores - REFERENCE[f"{image}|{flip}|scores"]).max() < 1e-3


def test_one_image_gives_one_result_and_arrays_are_as_good_as_paths(estimator, people):
    image = "000000040083.jpg"
    from_path = inference_topdown(estimator, COCO / image, people[image])
    from_array = inference_topdown(estimator, cv2.imread(str(COCO / image)), people[image].tolist())
    np.testing.assert_array_equal(from_path.keypoints, from_array.keypoints)
    assert from_path.keypoints.shape == (2, 17, 2) and from_path.keypoints.dtype == np.float32
    assert from_path.keypoint_scores.shape == (2, 17)
    np.testing.assert_array_equal(from_path.bboxes, people[image])
    assert from_path.bbox_scores.tolist() == [1, 1]
    assert from_path.path == str(COCO / image) and from_path.error is None


def test_no_boxes_is_the_whole_image_and_an_empty_list_is_nobody(demo_estimator):
    image = np.full((50, 80, 3), 127, np.uint8)
    whole, nobody, named = demo_estimator.predict([image] * 3, [None, [], [[0, 0, 80, 50]]])
    assert whole.bboxes.tolist() == [[0, 0, 80, 50]]
    np.testing.assert_array_equal(whole.keypoints, named.keypoints)
    assert nobody.keypoints.shape == (0, 17, 2) and nobody.error is None


def test_bad_images_and_boxes_harm_nobody(demo_estimator, tmp_path):
    images, boxes, _, _ = figures(12, seed=3)
    (tmp_path / "text.jpg").write_text("hello")
    alone = demo_estimator.predict(images, boxes, batch_size=4)
    bad_boxes = [[0, 0, 0, 9], *boxes[0].tolist(), [1e6, 1e6, 1e6 + 5, 1e6 + 5], [np.nan] * 4]
    mixed_images = [tmp_path / "absent.jpg", images[0], tmp_path / "text.jpg", np.zeros((5, 5)), *images[1:]]
    mixed = demo_estimator.predict(mixed_images, [[[0, 0, 5, 5]], bad_boxes, None, None, *boxes[1:]], batch_size=4)
    for index, word in ((0, "does not exist"), (2, "not an image"), (3, "uint8")):
        assert word in mixed[index].error and len(mixed[index].keypoints) == 0
    good = [mixed[1], *mixed[4:]]
    for one, other in zip(alone, good):
        np.testing.assert_allclose(one.keypoints, other.keypoints, atol=0.01)
    count = len(boxes[0])
    assert good[0].instance_ids.tolist() == list(range(1, count + 1))
    assert [f.instance_id for f in good[0].failures] == [0, count + 2, count + 1]
    assert "no area" in good[0].error and "outside" in good[0].error


@pytest.mark.slow
def test_results_keep_the_order_of_the_images_with_workers_too(demo_estimator):
    images, boxes, _, _ = figures(12, seed=4)
    here = demo_estimator.predict(images, boxes, batch_size=5)
    there = demo_estimator.predict(images, boxes, batch_size=5, num_workers=2)
    for box, one, other in zip(boxes, here, there):
        np.testing.assert_array_equal(one.bboxes, box)
        np.testing.assert_array_equal(one.keypoints, other.keypoints)


def test_mixed_precision_is_really_used_and_hardly_differs(demo_estimator):
    images, boxes, _, _ = figures(8, seed=5)
    exact = np.concatenate([r.keypoints for r in demo_estimator.predict(images, boxes)])
    for precision in ("bf16-mixed", "bf16-true"):
        rough = PoseEstimator.from_checkpoint(CHECKPOINT, device="cpu", precision=precision).predict(images, boxes)
        difference = np.abs(np.concatenate([r.keypoints for r in rough]) - exact)
        assert 0 < np.median(difference) < 0.1


def test_geometry_keeps_its_precision_with_half_precision_weights(demo_estimator):
    """A crop far to the right of a wide picture: 16-bit coordinates would be off by pixels."""
    images, boxes, _, _ = figures(1, seed=6)
    wide = np.zeros((images[0].shape[0], 6000 + images[0].shape[1], 3), np.uint8)
    wide[:, 6000:] = images[0]
    rough = PoseEstimator.from_checkpoint(CHECKPOINT, device="cpu", precision="bf16-true")
    near = rough.predict(images, boxes)[0].keypoints
    far = rough.predict([wide], [boxes[0] + [6000, 0, 6000, 0]])[0].keypoints
    assert np.median(np.abs(far - [6000, 0] - near)) < 0.1


def test_calls_that_cannot_be_meant(demo_estimator):
    image = np.zeros((5, 5, 3), np.uint8)
    with pytest.raises(ValueError, match="2 images but 1 sets of boxes"):
        demo_estimator.predict([image, image], [None])
    with pytest.raises(ValueError, match=r"boxes of image 0 have the shape \(1, 5\)"):
        demo_estimator.predict([image], [[[0, 0, 5, 5, 0.9]]])
    with pytest.raises(ValueError, match="batch_size=0"):
        demo_estimator.predict([image], batch_size=0)
    with pytest.raises(ConfigError, match="device=tpux"):
        PoseEstimator.from_checkpoint(CHECKPOINT, device="tpux")
    with pytest.raises(ConfigError, match="precision=7bit"):
        PoseEstimator.from_checkpoint(CHECKPOINT, device="cpu", precision="7bit")
    with pytest.raises(CheckpointError, match="absent"):
        PoseEstimator.from_checkpoint("absent.pt2")
    assert demo_estimator.predict([]) == []


def test_a_network_that_gives_no_numbers_gives_no_keypoints(tmp_path):
    network = load_network(CHECKPOINT)
    with torch.no_grad():
        network.head.final_layer.bias[3] = float("nan")
    save_network(network, tmp_path / "nan.safetensors")
    estimator = PoseEstimator.from_checkpoint(tmp_path / "nan.safetensors", device="cpu")
    result = estimator.predict([np.zeros((50, 40, 3), np.uint8)], [[[0, 0, 40, 50]]])[0]
    assert len(result.keypoints) == 0 and "no finite numbers" in result.error
