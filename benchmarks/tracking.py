"""How well are people told apart over the frames of a video, and how well does smoothing do? On drawn motion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.crowd import Truth, crowd, seen
from benchmarks.report import Result, Row
from sapiens_pl.core.structures import NO_TRACK_ID, PoseResult, VideoFrame
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
    for fps in (10,) if quick else (1, 5, 10, 30, 60, 120):
        for name, ids_of in (("IoU of consecutive frames", plain_ids), ("tracking=tracks", tracker_ids)):
            rows.append({"frames/s": fps, "ids by": name, **_scores(fps, ids_of, 1 if quick else 5)})
    notes = [
        "Eight people of 100 to 340 px cross for 20 s (5 s with --quick), mean of 5 drawings: boxes with "
        "noise of 2% of their heights, 4% missed at random and most of the hidden ones, 0.15 boxes of nobody a frame.",
        "HOTA, IDF1 and switches by trackeval 1.3; people of no track are left out.",
    ]
    return Result("tracking", "Do people keep their ids where they cross?", rows, notes)


def _scores(fps: float, ids_of: Callable[[Sequence[PoseResult]], Ids], num_seeds: int) -> Row:
    found = []
    for seed in range(num_seeds):
        truth = crowd(fps, 5.0 if num_seeds == 1 else 20.0, seed=seed)
        frames = seen(truth, seed + 100)
        found.append(score(truth.bboxes, frames, ids_of(frames)))
    mean = {key: float(np.mean([one[key] for one in found])) for key in found[0]}
    return {key: round(value, 1) for key, value in mean.items()}


def score(bboxes: np.ndarray, frames: Sequence[PoseResult], ids: Ids) -> dict[str, float]:
    """HOTA and IDF1 in percent, and counts.

    Args:
        bboxes: (T, P, 4), the truth.
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
        "num_gt_ids": bboxes.shape[1],
        "num_tracker_ids": len(known),
        "num_gt_dets": bboxes.shape[0] * bboxes.shape[1],
        "num_tracker_dets": sum(map(len, theirs)),
        "gt_ids": [np.arange(bboxes.shape[1])] * len(frames),
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
    frames = [_whole_frame(truth, index, noisy[index]) for index in range(len(indices))]
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


def _whole_frame(truth: Truth, index: int, keypoints: np.ndarray) -> PoseResult:
    """Everybody found, and told apart."""
    people = np.arange(len(keypoints))
    return PoseResult(
        path="crowd.mp4",
        keypoints=keypoints.astype(np.float32),
        keypoint_scores=np.full(keypoints.shape[:2], 0.8, np.float32),
        bboxes=truth.bboxes[index],
        bbox_scores=np.ones(len(people)),
        instance_ids=people,
        image_wh=(1280, 720),
        name=f"crowd.mp4/crowd_{index:012}",
        failures=(),
        frame=VideoFrame("crowd.mp4", index, index, float(truth.seconds[index])),
        track_ids=people + 1,
    )
