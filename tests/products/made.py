"""Products of made-up records, made as the end of a run makes them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
from composed import composed
from omegaconf import DictConfig
from records.made_up import make_records

from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.protocols import Film
from sapiens_pl.core.structures import PoseResult, SmoothedPoses
from sapiens_pl.products.of_run import make_of_run
from sapiens_pl.records.run_folder import RunFolder


def settings(*overrides: str) -> DictConfig:
    return composed("make", overrides)


def run_folder(path: Path) -> RunFolder:
    folder = RunFolder(path)
    folder.open()
    return folder


def make_products(path: Path, results: Sequence[PoseResult], formats: str, *overrides: str) -> Path:
    """Records the results in a run's folder, and makes products of all that is there."""
    count = results[0].keypoints.shape[1]
    make_records(path, list(results), count)
    folder = run_folder(path)
    made = make_of_run(folder, settings(f"output.formats=[{formats}]", *overrides))
    assert not made.failures
    folder.close()
    return path


class InMemory:
    """Records of results, with whatever tracks and smoothed poses they have."""

    def __init__(self, results: Sequence[PoseResult]) -> None:
        self._results = sorted(results, key=lambda result: result.name)

    @property
    def keypoint_set(self) -> KeypointSet:
        return self._results[0].keypoint_set

    def results(self, names: Collection[str] | None = None) -> Iterator[PoseResult]:
        return (result for result in self._results if names is None or result.name in names)

    def videos(self) -> list[str]:
        return sorted({result.frame.video for result in self._results if result.frame is not None})

    def frames_of(self, video: str) -> Iterator[PoseResult]:
        return (result for result in self._results if result.frame is not None and result.frame.video == video)


def film_of(results: Sequence[PoseResult], stopped=lambda: False) -> Film:
    """Of frames of one video; nothing is read again."""
    first = results[0]
    return Film(first.frame.video, first.path, first.keypoint_set, lambda: iter(results), None, stopped)


def smoothed(result: PoseResult, *bridged: int) -> PoseResult:
    """A frame with its people moved by half a px, and bridged ones at its first person's place, by their tracks."""
    rows = [*range(len(result.instance_ids)), *(0 for _ in bridged)]
    return result._replace(
        smoothed=SmoothedPoses(
            result.keypoints[rows] + np.float32(0.5),
            result.keypoint_scores[rows],
            result.bboxes[rows],
            np.array([*result.track_ids, *bridged]),
        )
    )
