"""How well are people told apart over the frames of a video, and how well does smoothing do? On drawn motion."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.crowd import Truth, crowd, seen
from benchmarks.report import Result, Row
from sapiens_pl.core.structures import NO_TRACK_ID, PoseResult, VideoFrame
from sapiens_pl.demo import FILM_PEOPLE
from sapiens_pl.demo.film import TIME_BASE, frame_times
from sapiens_pl.tracking.similarity import matched, overlaps
from sapiens_pl.tracking.smoothing import OneEuro, SavitzkyGolay, Unsmoothed
from sapiens_pl.tracking.tracks import Tracks

Ids = list[np.ndarray]
"""Frame by frame (N,)."""


def run(quick: bool) -> list[Result]:
    return [_tracking(quick), _smoothing(quick)]


def plain_ids(frames: Sequence[PoseResult]) -> Ids:
    """What the tracker is compared with: boxes of IoU 0.3 in consecutive frames are one person, and that is all."""
    ids: Ids = []
    last, theirs, number = np.empty((0, 4)), np.empty(0, np.int64), 0
    for frame in frames:
        rows, columns = matched(overlaps(last, frame.bboxes, np.zeros(len(last))), 0.3)
        found = np.full(len(frame.bboxes), NO_TRACK_ID)
        found[columns] = theirs[rows]
        new = np.flatnonzero(found == NO_TRACK_ID)
        found[new] = number + 1 + np.arange(len(new))
        number += len(new)
        last, theirs = frame.bboxes, found
        ids.append(found)
    return ids


def tracker_ids(frames: Sequence[PoseResult], **settings: Any) -> Ids:
    found = Tracks(**settings)(iter(frames))
    return np.split(found.track_ids, found.offsets[1:-1])


def _tracking(quick: bool) -> Result:
    rows = []
    trackers = {"IoU of consecutive frames": plain_ids, "tracking=tracks": tracker_ids}
    for name, ids_of in trackers.items():
        boxes, people, frames = film()
        found = {key: round(value, 1) for key, value in score(boxes, people, frames, ids_of(frames)).items()}
        rows.append({"video": "demo", "frames/s": "15 to 25", "ids by": name, **found})
    for fps in (10,) if quick else (2, 5, 10, 30, 60):
        for name, ids_of in trackers.items():
            rows.append({"video": "crowd", "frames/s": fps, "ids by": name, **_scores(fps, ids_of, 1 if quick else 3)})
    notes = [
        "Demo: the demo film's three figures, two of whom cross, by their drawn boxes in no order.",
        "Crowd: eight people of 100 to 340 px cross for 20 s (5 s with --quick), mean of 3 drawings: boxes with "
        "noise of 2% of their heights, 4% missed at random and most of the hidden ones, 0.15 boxes of nobody a frame.",
        "HOTA, IDF1 and switches by trackeval 1.3; people of no track are left out.",
    ]
    return Result("tracking", "Do people keep their ids where they cross?", rows, notes)


def film() -> tuple[list[np.ndarray], Ids, list[PoseResult]]:
    """The demo's: boxes and figures as drawn, and as if a detector had found the boxes."""
    entries = json.loads(FILM_PEOPLE.read_text("utf-8"))
    boxes = [np.array(entry["bboxes"]).reshape(-1, 4) for entry in entries]
    people = [np.array(entry["figures"], np.int64) for entry in entries]
    frames = []
    for index, (pts, found) in enumerate(zip(frame_times(), boxes, strict=True)):
        keypoints = np.zeros((len(found), 17, 2))
        frames.append(_frame(index, pts * float(TIME_BASE), found, keypoints))
    return boxes, people, frames


def _scores(fps: float, ids_of: Callable[[Sequence[PoseResult]], Ids], num_seeds: int) -> Row:
    found = []
    for seed in range(num_seeds):
        truth = crowd(fps, 5.0 if num_seeds == 1 else 20.0, seed=seed)
        frames = seen(truth, seed + 100)
        people = [np.arange(truth.bboxes.shape[1])] * len(frames)
        found.append(score(truth.bboxes, people, frames, ids_of(frames)))
    mean = {key: float(np.mean([one[key] for one in found])) for key in found[0]}
    return {key: round(value, 1) for key, value in mean.items()}


def score(bboxes: Sequence[np.ndarray], people: Ids, frames: Sequence[PoseResult], ids: Ids) -> dict[str, float]:
    """HOTA and IDF1 in percent, and counts.

    Args:
        bboxes: (P, 4) of each frame, the truth.
        people: (P,) of each frame: who is in them, numbered from 0.
        frames: what was found.
        ids: of those who were found.
    """
    from trackeval.metrics import CLEAR, HOTA, Identity

    likeness, theirs = [], []
    for truth, frame, of_frame in zip(bboxes, frames, ids):
        kept = of_frame != NO_TRACK_ID
        likeness.append(overlaps(truth, frame.bboxes[kept], np.zeros(len(truth))))
        theirs.append(of_frame[kept])
    known, columns = np.unique(np.concatenate(theirs), return_inverse=True)
    data = {
        "num_timesteps": len(frames),
        "num_gt_ids": len(np.unique(np.concatenate(people))),
        "num_tracker_ids": len(known),
        "num_gt_dets": sum(map(len, people)),
        "num_tracker_dets": sum(map(len, theirs)),
        "gt_ids": people,
        "tracker_ids": np.split(columns, np.cumsum([len(one) for one in theirs])[:-1]),
        "similarity_scores": likeness,
    }
    quiet = {"PRINT_CONFIG": False}
    identity = Identity(quiet).eval_sequence(data)
    return {
        "HOTA": 100 * float(np.mean(HOTA().eval_sequence(data)["HOTA"])),
        "IDF1": 100 * float(identity["IDF1"]),
        "switches": float(CLEAR(quiet).eval_sequence(data)["IDSW"]),
        "ids": float(len(known)),
    }


def _smoothing(quick: bool) -> Result:
    smoothers = {"raw": Unsmoothed(), "one_euro": OneEuro(), "savitzky_golay": SavitzkyGolay()}
    rows = [
        {"frames/s": fps, "smoothing": name, **smoothing_errors(fps, smoother, 5.0 if quick else 20.0)}
        for fps in ((30,) if quick else (15, 30, 60, 120))
        for name, smoother in smoothers.items()
    ]
    notes = [
        "Keypoints of eight walking people, drawn with noise of 1.2% of their heights at uneven times (half a frame "
        "early or late); in heights of the people. Settings are the defaults.",
        "Lag: of the wrist that swings most, where the correlation with the truth is largest.",
    ]
    return Result("smoothing", "How near to the truth is smoothed motion, and how late?", rows, notes)


def smoothing_errors(fps: float, smoother: Any, num_seconds: float = 20.0) -> Row:
    """RMS error in percent of the heights, of position and of velocity, and the lag in milliseconds."""
    rng = np.random.default_rng(7)
    dense = crowd(1000, num_seconds)
    indices = np.arange(0, len(dense.seconds) - 1000 / fps, 1000 / fps)
    indices = (indices + rng.uniform(0, 500 / fps, len(indices))).astype(int)
    truth = Truth(*(column[indices] for column in dense))
    heights = (truth.bboxes[..., 3] - truth.bboxes[..., 1])[:, :, None, None]
    noisy = truth.keypoints + rng.normal(0, 0.012, truth.keypoints.shape) * heights
    ids = np.arange(noisy.shape[1]) + 1
    frames = [
        _frame(index, float(truth.seconds[index]), truth.bboxes[index], noisy[index])._replace(track_ids=ids)
        for index in range(len(indices))
    ]
    results = list(smoother(iter(frames)))
    found = np.stack([one.keypoints if one.smoothed is None else one.smoothed.keypoints for one in results])
    off = (found - truth.keypoints) / heights
    speeds = np.diff(off, axis=0) / np.diff(truth.seconds)[:, None, None, None]
    return {
        "error, % of height": round(100 * float(np.sqrt((off**2).mean())), 2),
        "error of speed, heights/s": round(float(np.sqrt((speeds**2).mean())), 2),
        "lag, ms": _lag(dense, truth.seconds, found[:, :, 9, 0] / heights[..., 0, 0]),
    }


def _lag(dense: Truth, seconds: np.ndarray, found: np.ndarray) -> int:
    """Milliseconds by which (T, P) positions come later than the truth, by the largest correlation."""
    heights = dense.bboxes[..., 3] - dense.bboxes[..., 1]
    truth, at = dense.keypoints[:, :, 9, 0] / heights, (seconds * 1000).astype(int)
    inner = (at > 500) & (at < len(truth) - 500)

    def correlation(lag: int) -> float:
        return float(np.corrcoef(found[inner].ravel(), truth[at[inner] - lag].ravel())[0, 1])

    return max(range(-150, 300), key=correlation)


def _frame(index: int, seconds: float, bboxes: np.ndarray, keypoints: np.ndarray) -> PoseResult:
    """Everybody found."""
    people = np.arange(len(keypoints))
    return PoseResult(
        path="drawn.mp4",
        keypoints=keypoints.astype(np.float32),
        keypoint_scores=np.full(keypoints.shape[:2], 0.8, np.float32),
        bboxes=bboxes,
        bbox_scores=np.ones(len(people)),
        instance_ids=people,
        image_wh=(1280, 720),
        name=f"drawn.mp4/drawn_{index:012}",
        failures=(),
        frame=VideoFrame("drawn.mp4", index, index, seconds),
        track_ids=np.full(len(people), NO_TRACK_ID),
    )
