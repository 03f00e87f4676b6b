"""What does a frame of a video cost on one core: decoded, cropped and packed, beside a bare loop of PyAV?

The clip is made here: 1080p, H.264 with B-frames, a keyframe each two seconds, shapes that move over noise. Seconds are
those of the processor, of one thread.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import av
import cv2
import numpy as np

from benchmarks.report import Result, interleaved
from sapiens_pl.core.structures import CropSpan, ImageTask
from sapiens_pl.data.crops import CropCutter
from sapiens_pl.pictures.folder import ImageFiles

_INPUT_HW = (1024, 768)
_ROUNDS = 2


def run(quick: bool = False) -> Result:
    """The table."""
    num_frames, wh = (12, (192, 96)) if quick else (90, (1920, 1080))
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        clip = _clip(Path(folder, "clip.mp4"), num_frames, wh)
        source = ImageFiles(str(clip))
        source.pictures()
        jobs = {
            "bare PyAV: decoded": lambda: _decoded(clip, False),
            "bare PyAV: decoded, to BGR": lambda: _decoded(clip, True),
            "this source: read": lambda: [source.read(index) for index in range(num_frames)],
            "read, 1 crop, packed by 8": lambda: _packed(source, num_frames, wh, 1),
            "read, 3 crops, packed by 8": lambda: _packed(source, num_frames, wh, 3),
        }
        seconds = interleaved(jobs, 1 if quick else _ROUNDS, time.process_time)
        # Three of the jobs read the source, in each round and in the one that warms up.
        decodes = source.num_decoded / num_frames / (3 * ((1 if quick else _ROUNDS) + 1))
        bare = seconds["bare PyAV: decoded, to BGR"]
        rows = [
            {
                "what": name,
                "ms a frame": round(1000 * statistics.median(each) / num_frames, 2),
                "of bare PyAV to BGR": round(statistics.median(one / other for one, other in zip(each, bare)), 2),
            }
            for name, each in seconds.items()
        ]
    notes = [f"{num_frames} frames of {wh[0]}x{wh[1]}, {decodes:.2f} decodes a frame; crops of 1024x768."]
    return Result("video_reading", "What does a frame of a video cost on one core?", rows, notes)


def _clip(path: Path, num_frames: int, wh: tuple[int, int]) -> Path:
    rng = np.random.default_rng(0)
    noise = cv2.resize(rng.integers(60, 190, (wh[1] // 8, wh[0] // 8, 3), np.uint8), wh)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "veryfast", "crf": "23", "g": "60"})
        stream.width, stream.height, stream.pix_fmt = *wh, "yuv420p"
        for index in range(num_frames):
            pixels = np.roll(noise, 2 * index, 1)
            for number in range(6):
                centre = (150 + 300 * number + 3 * index) % wh[0], (200 + 130 * number) % wh[1]
                cv2.circle(pixels, centre, wh[1] // 8, (40 * number, 220 - 30 * number, 90), -1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "bgr24")))
        container.mux(stream.encode(None))
    return path


def _decoded(clip: Path, to_bgr: bool) -> None:
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        for frame in container.decode(stream):
            if to_bgr:
                frame.to_ndarray(format="bgr24", threads=1)


def _packed(source: ImageFiles, num_frames: int, wh: tuple[int, int], num_boxes: int) -> None:
    cutter, waiting = CropCutter(_INPUT_HW), []
    width, height = wh
    lefts = np.arange(num_boxes) * width / 4
    boxes = np.stack([lefts, np.full(num_boxes, 0.1 * height), lefts + width / 5, np.full(num_boxes, 0.9 * height)], 1)
    for index in range(num_frames):
        task = ImageTask("", "", boxes, np.ones(num_boxes), np.arange(num_boxes))
        waiting.append(cutter.cut(source.read(index), task, CropSpan(index, 0, num_boxes)))
        if sum(len(image.crops) for image in waiting) >= 8:
            cutter.batch(waiting)
            waiting = []
