"""(f) What a GPU makes of it: model FLOPs utilisation, gaps between kernels, and the same work done elsewhere.

`python -m benchmarks gpu` is meant to take under ten minutes on one card, and needs nothing but the package and the
extra `benchmark`. Random weights of the published shapes; nothing here has been measured on a GPU yet.
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.networks import (
    build,
    build_sapiens2,
    crops_for,
    flops_a_crop,
    tiny_sapiens2_shape,
    tiny_shape,
    transformers_network,
)
from benchmarks.pipeline import Case, measure
from benchmarks.report import Result, Row, default_device, interleaved, wait_for
from benchmarks.stages import as_xywh, clear_heatmaps, transformers_processor
from sapiens_pl.core.structures import CropBatch
from sapiens_pl.demo.draw import random_scenes
from sapiens_pl.inference.decoding import decode_heatmaps
from sapiens_pl.inference.module import PoseModule, normalise
from sapiens_pl.models.zoo import sapiens2_shape, sapiens_shape

ROUNDS = 5


class Size(NamedTuple):
    """One comparison: our v1 network, a Sapiens2 of like size, crops a batch, images of the whole run, and the modes
    in which the network is compiled (a minute or more each).
    """

    name: str
    shape: Any
    like: str
    like_shape: Any
    batch_size: int
    num_images: int
    compile_modes: tuple[str, ...] = ("default",)


SIZES = (
    Size("0.3b", sapiens_shape("0.3b", 308), "0.4b", sapiens2_shape("0.4b"), 32, 500, ("default", "reduce-overhead")),
    Size("1b", sapiens_shape("1b", 308), "1b", sapiens2_shape("1b"), 16, 250),
)
TINY = (Size("tiny", tiny_shape(), "tiny", tiny_sapiens2_shape(), 2, 2, ("default", "reduce-overhead")),)


def run(quick: bool) -> list[Result]:
    if not quick and not torch.cuda.is_available():
        sys.exit("benchmarks gpu: there is no CUDA device; --quick only sees whether it works.")
    peak = matrix_tflops(8192 if not quick else 64)
    rows, gaps = [], []
    for size in SIZES if not quick else TINY:
        rows += forward_rows(size, peak, quick)
        rows += pipeline_rows(size, peak, quick)
        gaps.append(gap_row(size))
    notes = [
        f"MFU: FLOPs of the network (multiply-adds times 2, from its shape) over {peak:.0f} TFLOP/s, which the device "
        "reaches in a product of bfloat16 matrices of 8192x8192 here.",
        "Whole runs read, crop, decode and write files of mixed sizes with ragged boxes; speeds from the first batch's "
        "end on. transformers: its image processor, its network, its post-processing on the device, batch by batch.",
    ]
    return [
        Result("gpu", "How much of the device's arithmetic is used?", rows, notes),
        Result("gpu_gaps", "How long does the device do nothing?", gaps, ["Over ten steps, after warming up."]),
        Result("gpu_attention", "Which attention is fastest?", attention_rows(quick), ["One layer, bfloat16."]),
    ]


def matrix_tflops(side: int) -> float:
    """TFLOP/s of a product of two bfloat16 matrices."""
    a, b = (torch.randn(side, side, device=default_device(), dtype=torch.bfloat16) for _ in range(2))
    seconds = interleaved({"product": lambda: [a @ b for _ in range(10)]}, ROUNDS)["product"]
    return 10 * 2 * side**3 / min(seconds) / 1e12


def _row(what: str, precision: str, batch_size: int, crops_per_second: float, shape: Any, peak: float) -> Row:
    tflops = crops_per_second * flops_a_crop(shape) / 1e12
    return {
        "what": what,
        "precision": precision,
        "batch": batch_size,
        "crops/s": crops_per_second,
        "TFLOP/s": tflops,
        "MFU": tflops / peak,
    }


@torch.inference_mode()
def forward_rows(size: Size, peak: float, quick: bool) -> list[Row]:
    """The bare forward pass: plain, compiled, and the same network as its TorchScript file (float32, as published)."""
    network = build(size.shape, torch.bfloat16)
    inputs = normalise(crops_for(network, size.batch_size), torch.bfloat16)
    exact = build(size.shape)
    exact_inputs = inputs.float()
    scripted = torchscript(exact, exact_inputs)
    jobs = {
        ("plain", "bf16-true"): partial(network, inputs),
        ("plain", "32-true"): partial(exact, exact_inputs),
        ("TorchScript file", "32-true"): partial(scripted, exact_inputs),
    }
    for mode in size.compile_modes:
        twin = build(size.shape, torch.bfloat16)
        how: dict[str, Any] = {"mode": mode} if not quick else {"backend": "eager"}
        twin.compile(**how, fullgraph=True, dynamic=False)
        jobs[f"compiled ({mode})", "bf16-true"] = partial(twin, inputs)
    seconds = interleaved({"|".join(key): job for key, job in jobs.items()}, ROUNDS if not quick else 1)
    return [
        _row(f"{size.name} forward, {what}", how, size.batch_size, size.batch_size / median(times), size.shape, peak)
        for (what, how), times in zip(jobs, seconds.values())
    ]


def torchscript(network: torch.nn.Module, inputs: torch.Tensor) -> Any:
    """The network as the published files hold it: traced, saved, loaded."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "network.pt2"
        with torch.inference_mode(False), torch.no_grad():
            torch.jit.save(torch.jit.trace(network, inputs[:1].clone()), path)
        return torch.jit.load(path, map_location=inputs.device)


def pipeline_rows(size: Size, peak: float, quick: bool) -> list[Row]:
    """Whole runs: ours with either generation, and transformers'."""
    precision = "bf16-true"
    workers = 8 if default_device().type == "cuda" else 0
    rows = []
    for name, network, shape, mode in (
        (size.name, lambda: build(size.shape), size.shape, None),
        (f"{size.name}, compiled", lambda: build(size.shape), size.shape, "default" if not quick else None),
        (f"Sapiens2 {size.like}", lambda: build_sapiens2(size.like_shape), size.like_shape, None),
    ):
        with tempfile.TemporaryDirectory() as folder:
            case = Case(name, network, size.batch_size, size.num_images, precision, workers, mode)
            speed = measure(case, Path(folder), bare=None).pace.crops_per_second or 0.0
        rows.append(_row(f"{name}, whole run", precision, size.batch_size, speed, shape, peak))
    speed = transformers_speed(size)
    rows.append(_row(f"Sapiens2 {size.like}, transformers", precision, size.batch_size, speed, size.like_shape, peak))
    return rows


@torch.inference_mode()
def transformers_speed(size: Size) -> float:
    """Crops a second of transformers' processor, network and post-processing, over images that are in memory."""
    device = default_device()
    torch.manual_seed(0)
    with device:
        processor, network = transformers_processor(), transformers_network(size.like_shape).to(torch.bfloat16)
    height, width = size.like_shape.input_hw
    images, boxes = [], []
    for _, scene in random_scenes(max(4, size.num_images // 4), seed=3):
        if len(scene.bboxes_xyxy):
            images.append(torch.from_numpy(np.ascontiguousarray(scene.image[..., ::-1].transpose(2, 0, 1))))
            boxes.append(as_xywh(scene.bboxes_xyxy))
    crops, began = 0, 0.0
    per_batch = max(1, round(size.batch_size / (sum(map(len, boxes)) / len(boxes))))
    for start in range(0, len(images), per_batch):
        some, their_boxes = images[start : start + per_batch], boxes[start : start + per_batch]
        inputs = processor(some, boxes=their_boxes, size={"height": height, "width": width}, return_tensors="pt")
        outputs = network(inputs["pixel_values"].to(device, torch.bfloat16))
        outputs.heatmaps = outputs.heatmaps.float()
        processor.post_process_pose_estimation(outputs, boxes=their_boxes)
        wait_for(device)
        crops += sum(map(len, their_boxes)) if began else 0
        began = began or time.perf_counter()
    return crops / (time.perf_counter() - began) if crops else 0.0


@torch.inference_mode()
def gap_row(size: Size) -> Row:
    """Ten steps on ready batches under the profiler: the time in which no kernel runs, and whether a step waits."""
    device = default_device()
    network = build(size.shape, torch.bfloat16)
    module = PoseModule(network).to(device)
    batch = batch_of(crops_for(network, size.batch_size))
    module.predict_step(batch)
    wait_for(device)
    activity = torch.profiler.ProfilerActivity
    activities = [activity.CUDA] if device.type == "cuda" else [activity.CPU]
    begin = time.perf_counter()
    with torch.profiler.profile(activities=activities) as profile:
        waiting: list[Any] = []
        for _ in range(10):
            waiting.append(module.predict_step(batch))
            if len(waiting) > 1:
                waiting.pop(0).result()
        wait_for(device)
    seconds = time.perf_counter() - begin
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in profile.events()
        if device.type == "cpu" or event.device_type == torch.autograd.DeviceType.CUDA
    )
    whole = (spans[-1][1] - spans[0][0]) / 1e6
    shape = size.batch_size, size.shape.num_keypoints, *size.shape.heatmap_hw
    clear = clear_heatmaps(1, *shape[1:]).to(device).expand(shape).contiguous()
    maps = {"clear": clear, "weak": torch.randn_like(clear) / 10}
    times = interleaved({kind: partial(decode_heatmaps, heatmaps) for kind, heatmaps in maps.items()}, ROUNDS)
    return {
        "network": size.name,
        "batch": size.batch_size,
        "ms a step": 100 * seconds,
        "without a kernel": 1 - covered(spans) / 1e6 / whole,
        "a step waits for the device": waits(module, batch),
        "decoding clear maps, part of a step": min(times["clear"]) / (seconds / 10),
        "decoding weak maps, part of a step": min(times["weak"]) / (seconds / 10),
    }


def covered(spans: list[tuple[float, float]]) -> float:
    """How much the (start, end) spans, sorted, cover together."""
    total, reached = 0.0, float("-inf")
    for start, end in spans:
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def waits(module: PoseModule, batch: CropBatch) -> str:
    """`no`, or the call that synchronises."""
    if default_device().type != "cuda":
        return "no CUDA"
    torch.cuda.set_sync_debug_mode("error")
    try:
        module.predict_step(batch)
    except RuntimeError as error:
        return str(error)[:100]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return "no"


def batch_of(crops: torch.Tensor) -> CropBatch:
    nothing, ones = np.zeros(len(crops), np.int64), np.full((len(crops), 2), 100.0)
    return CropBatch(crops, nothing, nothing, np.zeros((len(crops), 4)), ones, ones, [])


@torch.inference_mode()
def attention_rows(quick: bool) -> list[Row]:
    """torch's back ends of scaled dot product attention, in the layout that the network hands over."""
    batch, heads, tokens, dim = (16, 16, 3072, 64) if not quick else (1, 2, 16, 8)
    qkv = torch.randn(batch, tokens, 3, heads, dim, device=default_device(), dtype=torch.bfloat16)
    query, key, value = qkv.permute(2, 0, 3, 1, 4)

    def attend(backends: list[SDPBackend]) -> None:
        with sdpa_kernel(backends):
            scaled_dot_product_attention(query, key, value)

    kinds = {"as torch chooses": list(SDPBackend.__members__.values())[1:]}
    kinds |= {
        name.lower(): [kind] for name, kind in SDPBackend.__members__.items() if name not in ("ERROR", "OVERRIDEABLE")
    }
    rows = []
    for name, backends in kinds.items():
        try:
            seconds = min(interleaved({name: partial(attend, backends)}, ROUNDS)[name])
        except RuntimeError:  # not here, or not for this shape
            continue
        tflops = 4 * batch * heads * tokens**2 * dim / seconds / 1e12
        rows.append({"attention": name, "ms": 1000 * seconds, "TFLOP/s": tflops})
    return rows
