"""Does `predict` of a generator keep its memory? `python -m benchmarks.stream [--images 20000] [--workers 0]`

Arrays of 320x240 px with 0 to 3 boxes each, made one by one, through a network of next to no cost: resident memory of
the process as the results come, and images/s.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks.memory import sample
from benchmarks.report import Result, Row
from sapiens_pl import PoseEstimator
from sapiens_pl.models.checkpoints import save_network
from sapiens_pl.models.sapiens import SapiensPose, SapiensShape

_BOXES = np.array([[10, 10, 100, 200], [60, 20, 180, 230], [150, 30, 310, 220]], np.float64)


def tiny_estimator() -> PoseEstimator:
    """Random weights, 64x48 px."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "n.safetensors")
        save_network(SapiensPose(SapiensShape(8, 1, 2, 16, (8, 8), (8,), 17, (64, 48))), path)
        return PoseEstimator.from_checkpoint(path, device="cpu", num_heads=2)


def images(count: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield rng.integers(0, 256, (240, 320, 3), np.uint8)


def boxes() -> Iterator[np.ndarray]:
    number = 0
    while True:
        yield _BOXES[: number % 4]
        number += 1


def watch_stream(count: int, num_workers: int) -> list[Row]:
    """Resident memory at each tenth of the results."""
    estimator, rows, begin = tiny_estimator(), [], time.perf_counter()
    people = 0
    for done, result in enumerate(estimator.predict(images(count), boxes(), 16, num_workers), 1):
        people += len(result.keypoints)
        if done % (count // 10) == 0:
            resident, _ = sample(os.getpid())
            seconds = time.perf_counter() - begin
            row = {"images done": done, "people": people, "resident, MB": round(resident, 1)}
            rows.append(row | {"images/s": round(done / seconds, 1)})
            print(f"{done:7d} images, {people} people: {resident:7.1f} MB, {done / seconds:.0f} images/s", flush=True)
    return rows


def run(quick: bool) -> Result:
    count = 20_000 if not quick else 40
    rows = watch_stream(count, 0)
    notes = [f"{count} arrays of 320x240 px from a generator, batches of 16, a network of next to no cost; Linux only."]
    return Result("stream", "Does predict of a generator keep its memory?", rows, notes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=0)
    args = parser.parse_args()
    watch_stream(args.images, args.workers)


if __name__ == "__main__":
    main()
