"""Each choice of the forward pass and the stages beside it against the plain way, kept or not: on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from unittest.mock import patch

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.networks import build, crops_for, tiny_shape
from benchmarks.report import Result, Row, default_device, interleaved, times_faster
from benchmarks.stages import BOXES_XYXY, photograph
from sapiens_pl.core.devices import peak_gib, reset_peak
from sapiens_pl.core.geometry import SAPIENS_CROPS, box_center_scale, box_to_crop
from sapiens_pl.demo import CHECKPOINT
from sapiens_pl.inference import decoding
from sapiens_pl.inference.module import PoseModule, normalise
from sapiens_pl.models import sapiens
from sapiens_pl.models.checkpoints import load_network
from sapiens_pl.models.sapiens import HeatmapHead, SapiensShape, _InstanceNorm
from sapiens_pl.models.zoo import sapiens_shape

Jobs = tuple[Callable[[], object], Callable[[], object]]


def run(quick: bool) -> Result:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    shape, rounds = (sapiens_shape("0.3b", 308), 3) if not quick else (tiny_shape(), 1)
    with torch.inference_mode():
        rows = [
            *head_rows(shape, rounds),
            row("flip test in one doubled batch, 4 crops", "two passes", flip_test(quick, 4), 3 * rounds, "yes"),
            row("flip test in one doubled batch, 8 crops", "two passes", flip_test(quick, 8), 3 * rounds, "yes"),
            row("InstanceNorm's statistics in float32 (bfloat16 features)", "in bfloat16", norms(shape), rounds, "yes"),
            row("weak maps blurred by OpenCV", "by a convolution", blurs(shape), rounds, "yes"),
            row(
                "whole rows normalised, bytes swapped by OpenCV",
                "channels, by torch",
                normalising(shape.input_hw),
                10 * rounds,
                "yes",
            ),
            row("crops cut into the batch's memory", "cut, then copied", cuts(shape.input_hw), 10 * rounds, "no"),
        ]
    notes = [
        "One thread; medians of interleaved rounds; the head is that of the 0.3b with 308 keypoints in float32.",
        "Memory: what the head's passes took beyond what was there before, of the chosen over the plain way.",
        "A doubled batch is as good as a batch twice as large is: batch_sizes.md.",
        "The float32 statistics are there for their error, a third of the others', the head's parts for their memory.",
    ]
    return Result("choices", "What does each choice gain over the plain way?", rows, notes)


def row(choice: str, plain: str, jobs: Jobs, rounds: int, kept: str, memory: float | None = None) -> Row:
    seconds = interleaved({"plain": jobs[0], "chosen": jobs[1]}, rounds)
    gain = times_faster(seconds["plain"], seconds["chosen"])
    return {"choice": choice, "instead of": plain, "times faster": gain, "memory": memory, "kept": kept}


def head_rows(shape: SapiensShape, rounds: int) -> list[Row]:
    torch.manual_seed(0)
    sizes = shape.embed_dim, shape.head_dims, shape.head_conv_dims, shape.num_keypoints
    head = HeatmapHead(*sizes).eval().requires_grad_(False)
    height, width = shape.input_hw[0] // 16, shape.input_hw[1] // 16
    features = torch.randn(4, height * width, shape.embed_dim).transpose(1, 2).unflatten(2, (height, width))
    values = head.values_per_crop(features)

    def at_once(crops: int) -> None:
        with patch.object(sapiens, "_HEAD_VALUES", crops * values):
            head(features)

    last = HeatmapHead(*sizes).eval().requires_grad_(False).to(memory_format=torch.channels_last)
    channels_last: Jobs = (
        lambda: head._heatmaps(features[:1]),
        lambda: last._heatmaps(features[:1].contiguous(memory_format=torch.channels_last)),
    )
    memory = _peak(partial(at_once, 2)) / _peak(partial(at_once, 4))
    return [
        row(
            "head over two crops at a time",
            "over four",
            (partial(at_once, 4), partial(at_once, 2)),
            rounds,
            "yes",
            memory,
        ),
        row("head in channels-last memory", "as it comes", channels_last, rounds, "no"),
    ]


def _peak(job: Callable[[], object]) -> float:
    device = default_device()
    reset_peak(device)
    before = peak_gib(device)
    job()
    return max(peak_gib(device) - before, 1e-6)


def flip_test(quick: bool, batch_size: int) -> Jobs:
    network = load_network(CHECKPOINT) if not quick else build(tiny_shape()).cpu()
    partners = list(range(17))
    module, crops = PoseModule(network, partners), crops_for(network, batch_size)

    def two_passes() -> None:
        inputs = normalise(crops, torch.float32)
        _ = (network(inputs) + network(inputs.flip(3)).flip(3)[:, partners]) / 2

    return two_passes, lambda: module(crops)


def norms(shape: SapiensShape) -> Jobs:
    features = torch.randn(1, shape.head_dims[-1], *shape.heatmap_hw).bfloat16()
    norm = _InstanceNorm(shape.head_dims[-1])
    return lambda: F.instance_norm(features), lambda: norm(features)


def blurs(shape: SapiensShape) -> Jobs:
    heatmaps = torch.randn(1, shape.num_keypoints, *shape.heatmap_hw) / 10
    kernel = decoding._gaussian(heatmaps.device)

    def convolved() -> None:
        maps = heatmaps.flatten(0, 1)[:, None]
        maps = F.conv2d(maps, kernel.view(1, 1, -1, 1), padding=(5, 0))
        F.conv2d(maps, kernel.view(1, 1, 1, -1), padding=(0, 5)).amax(dim=(1, 2, 3))

    def filtered() -> None:
        weights, full = kernel.numpy(), np.empty(shape.heatmap_hw, np.float32)
        for heatmap in heatmaps.flatten(0, 1).numpy():
            cv2.sepFilter2D(heatmap, -1, weights, weights, dst=full, borderType=cv2.BORDER_CONSTANT)
            full.max()

    return convolved, filtered


def normalising(input_hw: tuple[int, int]) -> Jobs:
    crops = torch.randint(0, 256, (2, *input_hw, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in SAPIENS_CROPS[2:])
    return (
        lambda: crops.flip(1).to(torch.float32).sub_(mean).div_(std),
        lambda: normalise(crops, torch.float32),
    )


def cuts(input_hw: tuple[int, int]) -> Jobs:
    pixels, input_wh = photograph(), (input_hw[1], input_hw[0])
    centers, scales = box_center_scale(BOXES_XYXY, input_wh)
    matrices = [box_to_crop(center, scale, input_wh) for center, scale in zip(centers, scales)]

    def memory() -> torch.Tensor:
        return torch.empty((2, *input_hw, 3), dtype=torch.uint8).share_memory_()

    def copied() -> None:
        crops = [cv2.warpAffine(pixels, matrix, input_wh, flags=cv2.INTER_LINEAR) for matrix in matrices]
        batch = memory()
        for place, crop in zip(batch, crops):
            place.copy_(torch.from_numpy(crop))

    def in_place() -> None:
        for place, matrix in zip(memory().numpy(), matrices):
            cv2.warpAffine(pixels, matrix, input_wh, dst=place, flags=cv2.INTER_LINEAR)

    return copied, in_place
