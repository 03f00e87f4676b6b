"""(c) The batch-size curve: forward pass and decoding of ready crops, and the memory that it takes."""

from __future__ import annotations

import statistics
from functools import partial
from typing import Any

import torch

from benchmarks.networks import build, crops_for, tiny_shape
from benchmarks.report import Result, Row, default_device, interleaved
from sapiens_pl.core.devices import free_cached, peak_gib, reset_peak
from sapiens_pl.demo import CHECKPOINT
from sapiens_pl.inference.decoding import decode_heatmaps
from sapiens_pl.inference.module import PoseModule
from sapiens_pl.models.checkpoints import load_network
from sapiens_pl.models.zoo import sapiens_shape


def one_pass(module: PoseModule, crops: torch.Tensor) -> None:
    with torch.inference_mode():
        decode_heatmaps(module(crops))


def curve(name: str, network: Any, sizes: tuple[int, ...], rounds: int) -> list[Row]:
    device = default_device()
    module = PoseModule(network).to(device).eval()
    jobs = {str(size): partial(one_pass, module, crops_for(network, size)) for size in sizes}
    peaks = {}
    for size, job in jobs.items():
        free_cached(device)
        reset_peak(device)
        job()
        peaks[size] = peak_gib(device)
    seconds = interleaved(jobs, rounds)
    speeds = {size: int(size) / statistics.median(seconds[size]) for size in jobs}
    best = max(speeds.values())
    return [
        {
            "network": name,
            "batch": size,
            "crops/s": speeds[size],
            "of the best": speeds[size] / best,
            "peak, GiB": peaks[size],
        }
        for size in jobs
    ]


def run(quick: bool) -> Result:
    if default_device().type == "cpu":
        torch.set_num_threads(1)  # on a busy machine, several threads mostly wait for each other
    if quick:
        rows = curve("tiny", build(tiny_shape()), (1, 2), 1)
    elif default_device().type == "cuda":
        network = build(sapiens_shape("0.3b", 308), torch.bfloat16)
        rows = curve("0.3b shape, bfloat16", network, (1, 2, 4, 8, 16, 32, 64), 3)
    else:
        rows = curve("demo, float32", load_network(CHECKPOINT), (1, 2, 4, 8, 16, 32), 5)
    notes = ["Medians of interleaved rounds, one thread on a CPU; peak memory: the device's, on a CPU the process's."]
    return Result("batch_sizes", "How does speed depend on the batch size?", rows, notes)
