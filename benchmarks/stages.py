"""(a) What each stage costs a crop on one core, against transformers' Sapiens2 processor."""

from __future__ import annotations

import time
from types import SimpleNamespace

import cv2
import numpy as np
import simplejpeg
import torch

from benchmarks.report import Result, Row, interleaved, times_faster
from sapiens_pl.core.geometry import SAPIENS2_CROPS, SAPIENS_CROPS, CropSettings
from sapiens_pl.core.structures import CropSpan, ImageTask, LoadedImage
from sapiens_pl.data.crops import CropCutter
from sapiens_pl.inference.decoding import decode_heatmaps
from sapiens_pl.inference.module import normalise
from sapiens_pl.inference.transfer import HostCopy, PendingPrediction

BOXES_XYXY = np.array([[300.0, 150, 800, 1050], [1000, 200, 1300, 900]])
"""Two people in a photograph of 1920x1080 px."""


def clear_heatmaps(count: int, keypoints: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Peaks of 0.3 to 1 with a little noise, as a trained network gives them."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    maps = np.empty((count * keypoints, height, width), np.float32)
    for heatmap in maps:
        x, y, peak = rng.uniform(5, width - 5), rng.uniform(5, height - 5), rng.uniform(0.3, 1)
        heatmap[:] = peak * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8)
        heatmap += rng.normal(0, 0.002, heatmap.shape)
    return torch.from_numpy(maps).view(count, keypoints, height, width)


def as_xywh(boxes_xyxy: np.ndarray) -> list[list[float]]:
    """Boxes as transformers' processor takes them."""
    return np.concatenate([boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]], axis=1).tolist()


def transformers_processor():
    from transformers import Sapiens2ImageProcessor

    return Sapiens2ImageProcessor()


def run(quick: bool) -> Result:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    keypoints, (height, width), rounds = (308, (1024, 768), 15) if not quick else (4, (64, 48), 1)
    with torch.inference_mode():
        rows = [
            *_preprocessing((height, width), rounds),
            *_postprocessing(keypoints, height // 4, width // 4, rounds),
            _jpeg_decoding(rounds),
        ]
    notes = [
        f"{width}x{height} crops, {keypoints} keypoints, photograph 1920x1080, 2 people; milliseconds a crop, least of "
        f"{rounds} interleaved rounds, CPU time of one thread; the ratio is the rounds' median.",
        "transformers normalises here; sapiens_pl leaves that to the device.",
        "Clear maps have a peak of 0.3 to 1; weak maps are noise around zero, as an untrained network gives them.",
    ]
    return Result("stages", "What does each stage cost a crop on one core?", rows, notes)


def _row(stage: str, seconds: dict[str, list[float]], crops: int) -> Row:
    theirs = seconds.get("transformers")
    return {
        "stage": stage,
        "sapiens_pl, ms": 1000 * min(seconds["ours"]) / crops,
        "transformers, ms": None if theirs is None else 1000 * min(theirs) / crops,
        "times faster": None if theirs is None else times_faster(theirs, seconds["ours"]),
    }


def _preprocessing(input_hw: tuple[int, int], rounds: int) -> list[Row]:
    pixels = photograph()
    processor = transformers_processor()
    planar = torch.from_numpy(np.ascontiguousarray(pixels[..., ::-1].transpose(2, 0, 1)))
    boxes_xywh = as_xywh(BOXES_XYXY)
    size = {"height": input_hw[0], "width": input_hw[1]}

    def theirs() -> torch.Tensor:
        return processor(planar, boxes=[boxes_xywh], size=size, return_tensors="pt")["pixel_values"]

    v1, v2 = (_cutter(pixels, input_hw, settings) for settings in (SAPIENS_CROPS, SAPIENS2_CROPS))
    jobs = {
        "transformers": theirs,
        "v1": lambda: CropCutter(input_hw).batch([v1()]),
        "v2": lambda: CropCutter(input_hw).batch([v2()]),
        "normalised": lambda: normalise(CropCutter(input_hw).batch([v2()]).crops, torch.float32, SAPIENS2_CROPS),
    }
    difference = (jobs["normalised"]() - theirs()).abs().median().item()
    assert difference < 0.05, f"the two do not do the same: {difference}"
    seconds = interleaved(jobs, rounds, time.process_time)
    names = {
        "v1": "crop and pack, Sapiens v1 (bilinear)",
        "v2": "crop and pack, Sapiens2 (bicubic where it enlarges: one of the two)",
        "normalised": "the same, normalised on the CPU",
    }
    people = len(BOXES_XYXY)
    return [
        _row(stage, {"ours": seconds[job], "transformers": seconds["transformers"]}, people)
        for job, stage in names.items()
    ]


def _postprocessing(keypoints: int, height: int, width: int, rounds: int) -> list[Row]:
    processor = transformers_processor()
    centers, scales = np.array([[500.0, 500]]), np.array([[600.0, 800]])
    boxes_xywh = [[[260.0, 180.0, 480.0, 640.0]]]
    rows = []
    weak = torch.randn(1, keypoints, height, width, generator=torch.Generator().manual_seed(0)) / 10
    for kind, heatmaps in (("clear", clear_heatmaps(1, keypoints, height, width)), ("weak", weak)):

        def ours(heatmaps: torch.Tensor = heatmaps) -> None:
            found, scores = decode_heatmaps(heatmaps)
            copy = HostCopy(torch.cat([found, scores[..., None]], dim=2))
            PendingPrediction([copy], centers, scales, (width, height)).result()

        def theirs(heatmaps: torch.Tensor = heatmaps) -> None:
            processor.post_process_pose_estimation(SimpleNamespace(heatmaps=heatmaps), boxes=boxes_xywh)

        seconds = interleaved({"ours": ours, "transformers": theirs}, max(1, rounds // 3), time.process_time)
        rows.append(_row(f"heatmaps to keypoints, {kind} maps", seconds, 1))
    return rows


def _jpeg_decoding(rounds: int) -> Row:
    jpeg = cv2.imencode(".jpg", photograph())[1].tobytes()
    seconds = interleaved({"ours": lambda: simplejpeg.decode_jpeg(jpeg, "BGR")}, rounds, time.process_time)
    return _row("JPEG decoding (an image of 2 people)", seconds, len(BOXES_XYXY))


def photograph() -> np.ndarray:
    patches = np.random.default_rng(0).integers(0, 256, (27, 48, 3)).astype(np.uint8)
    return cv2.resize(patches, (1920, 1080), interpolation=cv2.INTER_CUBIC)


def _cutter(pixels: np.ndarray, input_hw: tuple[int, int], settings: CropSettings):
    task = ImageTask("photograph", "", BOXES_XYXY, np.ones(2), np.arange(2))
    cutter, image = CropCutter(input_hw, settings), LoadedImage(pixels, 1)
    return lambda: cutter.cut(image, task, CropSpan(0, 0, 2))
