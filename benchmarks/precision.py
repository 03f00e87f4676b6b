"""(d) Half precision against float32: speed, and how far the keypoints move."""

from __future__ import annotations

import time

import numpy as np

from benchmarks.report import Result, Row, default_device
from sapiens_pl.demo import CHECKPOINT
from sapiens_pl.demo.evaluate import figures
from sapiens_pl.estimator import PoseEstimator

REFERENCE = "32-true"
SEED = 1_000_003
"""Figures that the demo network was never trained on."""


def differences(found: np.ndarray, reference: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, K) how far keypoints moved, in px and in percent of the box's longer side."""
    pixels = np.linalg.norm(found - reference, axis=2)
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    return pixels, 100 * pixels / sides[:, None]


def row(precision: str, seconds: float, reference_seconds: float, moved: tuple[np.ndarray, np.ndarray] | None) -> Row:
    pixels, percent = moved if moved else (None, None)
    return {
        "precision": precision,
        "speed over float32's": reference_seconds / seconds,
        "mean, px": None if pixels is None else float(pixels.mean()),
        "99.9th percentile, px": None if pixels is None else float(np.percentile(pixels, 99.9)),
        "mean, % of the box": None if percent is None else float(percent.mean()),
        "99.9th percentile, % of the box": None if percent is None else float(np.percentile(percent, 99.9)),
    }


def run(quick: bool) -> Result:
    count, rounds = (500, 2) if not quick else (4, 1)
    precisions = [REFERENCE, "bf16-mixed", "bf16-true", "16-true"]
    if default_device().type == "cuda":
        precisions.insert(3, "16-mixed")  # on a CPU Lightning makes bf16-mixed of it
    images, boxes, _, visible = figures(count, SEED)
    estimators = {p: PoseEstimator.from_checkpoint(CHECKPOINT, precision=p) for p in precisions}
    seconds: dict[str, float] = dict.fromkeys(precisions, np.inf)
    keypoints: dict[str, np.ndarray] = {}
    for number in range(rounds):
        for precision in precisions:
            if precision == "16-true" and number and default_device().type == "cpu":
                continue  # slow there
            begin = time.perf_counter()
            results = estimators[precision].predict(images, boxes, batch_size=16)
            seconds[precision] = min(seconds[precision], time.perf_counter() - begin)
            keypoints[precision] = np.concatenate([result.keypoints for result in results])
    rows = []
    for precision in precisions:
        moved = None
        if precision != REFERENCE:
            pixels, percent = differences(keypoints[precision], keypoints[REFERENCE], np.concatenate(boxes))
            moved = pixels[visible], percent[visible]
        rows.append(row(precision, seconds[precision], seconds[REFERENCE], moved))
    notes = [
        f"The demo network on {count} newly drawn figures, {int(visible.sum())} visible keypoints; with reading and "
        "cropping.",
        "Keypoints that are not in the picture have no peak: there the maximum may be anywhere in any precision.",
    ]
    return Result("precision", "What does half precision gain, and what does it cost?", rows, notes)
