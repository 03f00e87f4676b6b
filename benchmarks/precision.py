"""(d) Half precision against float32: speed, and how far the keypoints move."""

from __future__ import annotations

import time

import numpy as np
import torch

from benchmarks.report import Result, Row, default_device, times_faster
from sapiens_pl.demo import CHECKPOINT
from sapiens_pl.demo.evaluate import figures
from sapiens_pl.estimator import PoseEstimator

REFERENCE = "32-true"
IMAGES_A_ROUND = 8
SEED = 1_000_003
"""Figures that the demo network was never trained on."""


def differences(found: np.ndarray, reference: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, K) how far keypoints moved, in px and in percent of the box's longer side."""
    pixels = np.linalg.norm(found - reference, axis=2)
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    return pixels, 100 * pixels / sides[:, None]


def row(precision: str, speed: float, moved: tuple[np.ndarray, np.ndarray] | None) -> Row:
    pixels, percent = moved if moved else (None, None)
    return {
        "precision": precision,
        "speed over float32's": speed,
        "mean, px": None if pixels is None else float(pixels.mean()),
        "99.9th percentile, px": None if pixels is None else float(np.percentile(pixels, 99.9)),
        "mean, % of the box": None if percent is None else float(percent.mean()),
        "99.9th percentile, % of the box": None if percent is None else float(np.percentile(percent, 99.9)),
    }


def run(quick: bool) -> Result:
    count = 500 if not quick else 4
    precisions = [REFERENCE, "bf16-mixed", "bf16-true", "16-true"]
    if default_device().type == "cuda":
        precisions.insert(3, "16-mixed")  # on a CPU Lightning makes bf16-mixed of it
    else:
        torch.set_num_threads(1)  # on a busy machine, several threads mostly wait for each other
    images, boxes, _, visible = figures(count, SEED)
    estimators = {p: PoseEstimator.from_checkpoint(CHECKPOINT, precision=p) for p in precisions}
    seconds: dict[str, list[float]] = {precision: [] for precision in precisions}
    keypoints: dict[str, list[np.ndarray]] = {precision: [] for precision in precisions}
    for start in range(0, len(images), IMAGES_A_ROUND):
        for precision in precisions:
            begin = time.perf_counter()
            some = slice(start, start + IMAGES_A_ROUND)
            results = estimators[precision].predict(images[some], boxes[some], batch_size=16)
            seconds[precision].append(time.perf_counter() - begin)
            keypoints[precision] += [result.keypoints for result in results]
    rows = []
    exact = np.concatenate(keypoints[REFERENCE])
    for precision in precisions:
        moved = None
        if precision != REFERENCE:
            pixels, percent = differences(np.concatenate(keypoints[precision]), exact, np.concatenate(boxes))
            moved = pixels[visible], percent[visible]
        rows.append(row(precision, times_faster(seconds[REFERENCE], seconds[precision]), moved))
    notes = [
        f"The demo network on {count} newly drawn figures, {int(visible.sum())} visible keypoints. "
        f"Speed, on a CPU of one thread, with reading and cropping: median of rounds of {IMAGES_A_ROUND} images.",
        "Keypoints that are not in the picture have no peak: there the maximum may be anywhere in any precision.",
    ]
    return Result("precision", "What does half precision gain, and what does it cost?", rows, notes)
