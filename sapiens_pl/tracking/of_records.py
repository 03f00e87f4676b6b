"""The records of a run with the tracks of its videos, and smoothed poses, filled in.

Each video's ids are found once, from its frames in their order, and kept as two columns of numbers; so they cannot
depend on batches, ranks, or the order in which frames were posed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import groupby
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.protocols import Records
from sapiens_pl.core.settings import check
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.tracking.smoothing import SMOOTHING, Unsmoothed
from sapiens_pl.tracking.tracks import TRACKS, FrameIds

GROUPS = {"tracking": TRACKS, "smoothing": SMOOTHING}
"""Of `conf/`, and what their settings may be."""


class TrackedRecords:
    """Records, with `track_ids` and `smoothed` of frames of videos.

    Args:
        records: of a run.
        tracker: gives the ids of a video's frames (`conf/tracking`).
        smoother: passes frames on with `smoothed` (`conf/smoothing`).
    """

    def __init__(self, records: Records, tracker: Any, smoother: Any) -> None:
        self._records, self._tracker, self._smoother = records, tracker, smoother
        self._ids: dict[str, FrameIds] = {}

    @property
    def keypoint_set(self) -> KeypointSet:
        """What the keypoints of all results are."""
        return self._records.keypoint_set

    @property
    def num_tracks(self) -> int:
        """Of all videos together."""
        return sum(self._ids_of(video).num_tracks for video in self.videos())

    def videos(self) -> list[str]:
        """The videos of the records."""
        return self._records.videos()

    def frames_of(self, video: str) -> Iterator[PoseResult]:
        """The frames of a video that are done, in their order, in bounded memory.

        Raises:
            ConfigError: SciPy is not installed, or a part is damaged.
        """
        yield from self._filled(video, self._records.frames_of(video))

    def results(self, names: Collection[str] | None = None) -> Iterator[PoseResult]:
        """Each picture that is done, or those that are named, sorted by name, in bounded memory; raises as above."""
        for video, results in groupby(self._records.results(names), _video_of):
            if video is None:
                yield from results
            elif names is None or isinstance(self._smoother, Unsmoothed):
                yield from self._filled(video, results)
            else:  # frames that are not named influence those that are
                wanted = {result.name for result in results}
                yield from (result for result in self.frames_of(video) if result.name in wanted)

    def _filled(self, video: str, results: Iterable[PoseResult]) -> Iterator[PoseResult]:
        ids = self._ids_of(video)
        yield from self._smoother(_with_ids(result, ids) for result in results)

    def _ids_of(self, video: str) -> FrameIds:
        if video not in self._ids:
            self._ids[video] = self._tracker(self._records.frames_of(video))
        return self._ids[video]


class TrackingOfRun:
    """`core.protocols.Tracking`, as `conf/tracking` and `conf/smoothing` say.

    Args:
        cfg: with `tracking` and `smoothing`.

    Raises:
        ConfigError: a setting that cannot be used.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self._tracker, self._smoother = (_built(cfg, group) for group in GROUPS)
        self.settings: dict[str, Any] = {group: OmegaConf.to_container(cfg[group], resolve=True) for group in GROUPS}
        self.tracked: TrackedRecords | None = None

    def __call__(self, records: Records) -> TrackedRecords:
        """They are kept in `tracked`, to count the tracks later."""
        self.tracked = TrackedRecords(records, self._tracker, self._smoother)
        return self.tracked


def _built(cfg: DictConfig, group: str) -> Any:
    settings = cfg.get(group)
    if not isinstance(settings, DictConfig) or not isinstance(settings.get("_target_"), str):
        raise ConfigError(f"{group}={settings} is not a choice; see conf/{group}/ for those there are.")
    check(GROUPS[group], settings, group)
    return instantiate(settings, _convert_="all", _recursive_=False)


def _with_ids(result: PoseResult, ids: FrameIds) -> PoseResult:
    assert result.frame is not None
    return result._replace(track_ids=ids.of_frame(result.frame.frame_index))


def _video_of(result: PoseResult) -> str | None:
    return None if result.frame is None else result.frame.video
