"""What files of a whole run say more of frames of videos (which, when, who, smoothed), and of samples of shards.

Legend: N people of a picture, M people who are bridged there, K keypoints.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sapiens_pl.core.carried import carried_column
from sapiens_pl.core.protocols import Records
from sapiens_pl.core.structures import NO_TRACK_ID, PoseResult, VideoFrame


class OfVideos(NamedTuple):
    """What is there to be told: anything of frames at all, and smoothed poses."""

    frames: bool = False
    smoothed: bool = False


NO_VIDEOS = OfVideos()


def told_of_videos(records: Records) -> OfVideos:
    """Smoothed are all frames or none."""
    videos = records.videos()
    if not videos:
        return NO_VIDEOS
    first = next(records.frames_of(videos[0]))
    return OfVideos(True, first.smoothed is not None)


def tracks_of(result: PoseResult) -> np.ndarray:
    """(N + M,) int64, `NO_TRACK_ID` where nobody is followed; M is 0 where nothing is smoothed."""
    if result.smoothed is not None:
        return result.smoothed.track_ids
    return np.full(len(result.instance_ids), NO_TRACK_ID) if result.track_ids is None else result.track_ids


def num_bridged(result: PoseResult) -> int:
    """M."""
    return 0 if result.smoothed is None else len(result.smoothed.track_ids) - len(result.instance_ids)


def bridged_scores(result: PoseResult) -> np.ndarray:
    """(M, K) float32."""
    if result.smoothed is None:
        return result.keypoint_scores[:0]
    return result.smoothed.keypoint_scores[len(result.instance_ids) :]


def smoothed_keypoints(result: PoseResult) -> np.ndarray:
    """(N + M, K, 2) float32, image px; NaN where nothing is smoothed."""
    return np.full_like(result.keypoints, np.nan) if result.smoothed is None else result.smoothed.keypoints


def sample_columns(result: PoseResult | None) -> dict[str, str | None]:
    """Further columns of files of a whole run for people from pictures in tars or tables; none for others.

    All pictures of a run have the same columns.
    """
    if result is None or result.member is None:
        return {}
    columns: dict[str, str | None] = {"shard": result.member.shard, "__key__": result.member.key}
    return columns | {carried_column(name): value for name, value in result.carried.items()}


class ListedVideos:
    """The videos of frames that come one after another, with ids counted from 1."""

    def __init__(self) -> None:
        self.videos: list[dict[str, Any]] = []

    def keys_of(self, frame: VideoFrame | None, wh: tuple[int, int] | None) -> dict[str, int]:
        """Further keys that COCO's video data sets have for an image that is a frame: `video_id` and `frame_id`."""
        if frame is None:
            return {}
        if not self.videos or self.videos[-1]["name"] != frame.video:
            width, height = wh or (None, None)
            row = {"id": len(self.videos) + 1, "name": frame.video, "width": width, "height": height}
            self.videos.append(row)
        return {"video_id": self.videos[-1]["id"], "frame_id": frame.frame_index}
