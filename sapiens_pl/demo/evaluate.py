"""Measures the network on newly drawn calibration figures: `python -m sapiens_pl.demo.evaluate`; with `--detector`,
how many of the figures the demo's detector finds.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from sapiens_pl.demo import CHECKPOINT, DETECTOR, DETECTOR_MODEL
from sapiens_pl.demo.accuracy import Accuracy, Recall, accuracy_line, measure, recall, recall_line
from sapiens_pl.demo.figures import draw_scene
from sapiens_pl.detection.detectors import PersonDetector, load_detector
from sapiens_pl.detection.rules import PersonRules
from sapiens_pl.estimator import PoseEstimator


def figures(count: int, seed: int) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray, np.ndarray]:
    """`count` figures in scenes of 1 to 7: images, boxes an image, drawn keypoints, visibility."""
    rng = np.random.default_rng(seed)
    scenes = []
    left = count
    while left:
        width, height = (int(side) for side in rng.integers(200, 900, 2))
        scenes.append(draw_scene(rng, width, height, min(left, int(rng.integers(1, 8)))))
        left -= len(scenes[-1].keypoints)
    return (
        [scene.image for scene in scenes],
        [scene.bboxes_xyxy for scene in scenes],
        np.concatenate([scene.keypoints for scene in scenes]),
        np.concatenate([scene.visible for scene in scenes]),
    )


def evaluate(estimator: PoseEstimator, count: int, seed: int) -> tuple[Accuracy, str]:
    """The network's accuracy on `count` new figures, as numbers and as a sentence."""
    images, boxes, drawn, visible = figures(count, seed)
    found = np.concatenate([result.keypoints for result in estimator.predict(images, boxes, batch_size=16)])
    corners = np.concatenate(boxes)
    sides = (corners[:, 2:] - corners[:, :2]).max(axis=1)
    return measure(found, drawn, visible, sides), accuracy_line(found, drawn, visible, sides)


def evaluate_detector(detector: PersonDetector, count: int, seed: int) -> tuple[Recall, str]:
    """How many of `count` new figures the detector finds with the default thresholds, as numbers and as a sentence."""
    images, boxes, _, _ = figures(count, seed)
    rules = PersonRules(score_threshold=0.3, nms_threshold=0.3, largest_n=None, min_size=1)
    drawn, found = {}, {}
    for index, (image, drawn_here) in enumerate(zip(images, boxes)):
        with torch.inference_mode():
            people = detector([torch.from_numpy(image)])[0]
        rows = rules(people.bboxes_xyxy.numpy(), people.scores.numpy())
        found[str(index)] = np.column_stack([rows[:, :2], rows[:, :2] + rows[:, 2:4]])
        drawn[str(index)] = drawn_here
    return recall(found, drawn), recall_line(found, drawn)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default=CHECKPOINT)
    parser.add_argument("--figures", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1_000_003, help="one that was never trained on")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--detector", action="store_true", help="measure the demo's detector (on the CPU) instead")
    args = parser.parse_args()
    if args.detector:
        print(evaluate_detector(load_detector(DETECTOR_MODEL, str(DETECTOR)), args.figures, args.seed)[1])
        return
    estimator = PoseEstimator.from_checkpoint(args.checkpoint, device=args.device, precision=args.precision)
    print(f"{args.precision}: {evaluate(estimator, args.figures, args.seed)[1]}")


if __name__ == "__main__":
    main()
