from __future__ import annotations

import numpy as np
import pytest
import torch

from sapiens_pl import PoseEstimator
from sapiens_pl.demo import CHECKPOINT, DETECTOR, DETECTOR_MODEL, IMAGES, PEOPLE
from sapiens_pl.demo.draw import demo_scenes, write_scenes
from sapiens_pl.demo.evaluate import evaluate, evaluate_detector
from sapiens_pl.demo.figures import draw_scene
from sapiens_pl.demo.train import DEMO_SHAPE, train
from sapiens_pl.detection.detectors import load_detector
from sapiens_pl.models.checkpoints import load_network


@pytest.mark.slow
def test_the_demo_network_finds_new_figures():
    accuracy, sentence = evaluate(PoseEstimator.from_checkpoint(CHECKPOINT, device="cpu"), 60, seed=987_654)
    print(sentence)
    assert accuracy.num_figures == 60
    assert accuracy.pck >= 0.97


def test_scenes_repeat_with_their_seed_and_tell_what_shows():
    one, same, other = (draw_scene(np.random.default_rng(seed), 320, 240, 3) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.image, same.image)
    assert (one.image != other.image).any()
    height, width = one.image.shape[:2]
    inside = ((one.keypoints >= -0.5) & (one.keypoints <= (width - 0.5, height - 0.5))).all(axis=2)
    assert one.visible.sum() > 17 and not (one.visible & ~inside).any()
    empty = draw_scene(np.random.default_rng(1), 64, 48, 0)
    assert empty.keypoints.shape == (0, 17, 2) and empty.bboxes_xyxy.shape == (0, 4)


def test_the_bundled_images_can_be_drawn_again(tmp_path):
    write_scenes(tmp_path, demo_scenes(2024))
    assert (tmp_path / "people.json").read_text() == PEOPLE.read_text()
    names = {path.relative_to(tmp_path / "images") for path in (tmp_path / "images").rglob("*.*")}
    assert names == {path.relative_to(IMAGES) for path in IMAGES.rglob("*.*")}


@pytest.mark.slow
def test_training_learns():
    torch.manual_seed(0)
    network = train(steps=3, seed=1, batch_size=2)
    assert network.shape == DEMO_SHAPE == load_network(CHECKPOINT).shape
    assert all(torch.isfinite(weight).all() for weight in network.parameters())
    assert network.backbone.pos_embed.abs().max() > 0


@pytest.mark.slow
def test_the_demos_detector_finds_figures_that_it_has_never_seen():
    found = evaluate_detector(load_detector(DETECTOR_MODEL, str(DETECTOR)), 100, seed=5)[0]
    assert found.num_found >= 90 and found.num_boxes - found.num_found <= 8


def test_the_demo_with_its_detector_finds_everybody_and_says_so(predict):
    run = predict("boxes=detector", "trainer.accelerator=cpu", "data.num_workers=0", "output.overlay=false")
    assert run.code == 0 and "Of 17 figures, 17 have a box" in run.out, run.err
    assert run.info["settings"]["boxes.model"] == "fcos_small" and run.info["counts"]["people"] == 17
