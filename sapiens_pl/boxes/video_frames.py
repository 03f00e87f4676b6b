"""Which picture of a run is which frame of which video.

Legend: V videos, F frames that are pictures of the run, n moments that a box file names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sapiens_pl.boxes.image_finder import AMBIGUOUS, ImageFinder, NoImage, either, one_spelling
from sapiens_pl.core.columns import Names
from sapiens_pl.core.plan import Pictures

NOT_CHOSEN = -2
"""In place of a picture's index: the video has this frame, but the run does not pose it (`data.video`)."""
NOWHERE = -3
"""In place of a picture's index: the video has no such frame."""
_MOST_FRAMES = 2**40
_FRAME_NAME = re.compile(r"(.+)_(\d{12})(?:\.[A-Za-z]\w{1,4})?")


class _Frame(NamedTuple):
    video: int
    frame_index: int


class VideoFrames:
    """Finds the videos that a box file names, and their frames.

    Args:
        source: the pictures, some of which are frames of videos.
    """

    def __init__(self, source: Pictures) -> None:
        frames = source.frames
        assert frames is not None
        self.videos, self.num_videos = frames.videos, len(frames.videos)
        self._of_picture = frames.video
        pictures = np.flatnonzero(frames.video >= 0)
        order = np.lexsort((frames.frame_index[pictures], frames.video[pictures]))
        self._pictures = pictures[order]
        self._video, self._index = frames.video[self._pictures], frames.frame_index[self._pictures]
        self._seconds = frames.seconds[self._pictures]
        self._keys = self._video * _MOST_FRAMES + self._index
        self._begins = np.searchsorted(self._video, np.arange(self.num_videos + 1))
        self.num_frames = self._chosen_from() if frames.num_frames is None else frames.num_frames
        """(V,) int64, how many frames a player can show of each."""
        paths = [self._path(source, video) for video in range(self.num_videos)]
        of_videos = Pictures(source.root, frames.videos, source.complete, left_out=source.left_out)
        self._finder = ImageFinder(of_videos._replace(paths=Names.of(paths)))
        self._by_stem: dict[str, list[int]] = {}
        for video, name in enumerate(frames.videos):
            self._by_stem.setdefault(os.path.splitext(name)[0], []).append(video)
        self._stems = list(self._by_stem)
        self._base_stems = [os.path.splitext(os.path.basename(name))[0] for name in frames.videos]
        self._stem_finder = ImageFinder(Pictures(source.root, Names.of(self._stems)))
        self._found: dict[str, int | NoImage] = {}

    def _chosen_from(self) -> np.ndarray:
        num_frames = np.zeros(self.num_videos, np.int64)
        has_any = np.flatnonzero(np.diff(self._begins))
        num_frames[has_any] = self._index[self._begins[has_any + 1] - 1] + 1
        return num_frames

    def _path(self, source: Pictures, video: int) -> str:
        begin, end = self._begins[video : video + 2]
        return source.path(int(self._pictures[begin])) if begin < end else os.path.join(source.root, self.videos[video])

    def find(self, key: str) -> int | NoImage:
        """The video that a box file's name, path, or name without a suffix means; "" means the only one there is."""
        if key not in self._found:
            self._found[key] = self._look_for(key)
        return self._found[key]

    def _look_for(self, key: str) -> int | NoImage:
        if not key:
            reason = f"could be each of the {self.num_videos} videos of data.images; name the video beside the frame"
            return 0 if self.num_videos == 1 else NoImage(reason, True, AMBIGUOUS)
        video = self._finder.find(key)
        if video is not None:
            return video
        why = self._finder.why_not(key)
        stem = None if why.here else self._stem_finder.find(key)
        if stem is not None:
            alike = self._by_stem[self._stems[stem]]
            return alike[0] if len(alike) == 1 else self._either(alike)
        return why if why.here or stem is not None else self._stem_finder_says(key) or why

    def _stem_finder_says(self, key: str) -> NoImage | None:
        why = self._stem_finder.why_not(key)
        return why if why.error == AMBIGUOUS else None

    def _either(self, videos: list[int]) -> NoImage:
        names = either([self.videos[video] for video in videos])
        return NoImage(f"could be {names}; write its whole name", True, AMBIGUOUS)

    def any_of(self, pictures: np.ndarray) -> np.ndarray:
        """(V,) bool: of which videos any of these pictures is a frame."""
        any_of = np.zeros(self.num_videos, bool)
        video = self._of_picture[pictures]
        any_of[video[video >= 0]] = True
        return any_of

    def at_index(self, video: np.ndarray, index: np.ndarray) -> np.ndarray:
        """(n,) int64: the pictures that are these frames, or why they are none.

        Args:
            video: (n,) int64.
            index: (n,) int64, from 0, of the frames that a player can show.
        """
        pictures = np.full(len(index), NOWHERE)
        there = (index >= 0) & (index < self.num_frames[video])
        keys = video[there] * _MOST_FRAMES + index[there]
        places = np.searchsorted(self._keys, keys)
        found = np.append(self._keys, -1)[places] == keys
        pictures[there] = np.where(found, np.append(self._pictures, NOT_CHOSEN)[places], NOT_CHOSEN)
        return pictures

    def at_seconds(self, video: np.ndarray, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The pictures that a player shows at these times, or why they are none; and how far off their own times are.

        A time may be half a frame too early.
        """
        pictures, distances = np.full(len(seconds), NOWHERE), np.full(len(seconds), np.inf)
        order = np.argsort(video, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(video[order])) + 1) if len(order) else []:
            pictures[rows], distances[rows] = self._shown(int(video[rows[0]]), seconds[rows])
        return pictures, distances

    def _shown(self, video: int, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same of one video. How long a frame stays is told from the next picture, and how many frames on it is."""
        of_video = slice(self._begins[video], self._begins[video + 1])
        own, index = self._seconds[of_video], self._index[of_video]
        if not len(own):
            return np.full(len(seconds), NOT_CHOSEN), np.full(len(seconds), np.inf)
        durations = np.diff(own) / np.diff(index)
        usual = float(np.median(durations)) if len(durations) else 1 / 30
        slack = np.minimum(np.append(usual, durations), usual) / 2  # before each frame
        place = np.searchsorted(own - slack, seconds, side="right") - 1
        before, place = place < 0, np.maximum(place, 0)
        ends = own + np.append(durations, usual)
        ends -= np.minimum(np.append(durations, usual), usual) / 2
        after = ~before & (seconds >= ends[place])
        pictures = np.where(before | after, NOT_CHOSEN, self._pictures[of_video][place])
        pictures[before & ((index[0] == 0) | (seconds < -usual / 2))] = NOWHERE
        if index[-1] == self.num_frames[video] - 1:  # the last stays as long as the others, and half a frame more
            last = place == len(own) - 1
            pictures[last & after] = np.where(
                seconds[last & after] < own[-1] + 1.5 * usual, self._pictures[of_video][-1], NOWHERE
            )
        return pictures, np.abs(seconds - own[place])

    def of_names(self, keys: Sequence[str]) -> list[int | NoImage | None]:
        """The pictures of frames by their names, however they are spelt, or with a suffix as of a file.

        `NOT_CHOSEN` for a frame that is none of the run's; None for what says nothing of a video.
        """
        found = [self._named(key) for key in keys]
        frames = [place for place, what in enumerate(found) if isinstance(what, _Frame)]
        pairs = np.array([what for what in found if isinstance(what, _Frame)], np.int64).reshape(-1, 2)
        pictures = dict(zip(frames, self.at_index(pairs[:, 0], pairs[:, 1]).tolist()))
        return [
            (self._beyond(what.video) if pictures[place] == NOWHERE else pictures[place])
            if isinstance(what, _Frame)
            else what
            for place, what in enumerate(found)
        ]

    def _beyond(self, video: int) -> NoImage:
        return NoImage(f"is beyond the {self.num_frames[video]} frames of {self.videos[video]}", True)

    def _named(self, key: str) -> _Frame | NoImage | None:
        """A frame's video and index by its name."""
        folder, slash, base = one_spelling(key).rpartition("/")
        match = _FRAME_NAME.fullmatch(base)
        if match is not None:
            video = self.find(folder) if folder else self.find(match[1])
            if isinstance(video, NoImage) and folder:
                video = self.find(f"{folder}{slash}{match[1]}")
            if isinstance(video, NoImage):
                return video if video.here else None
            if match[1] == self._base_stems[video]:
                return _Frame(video, int(match[2]))
        if isinstance(self.find(key), int):
            return NoImage("is a video; say which of its frames (video and frame, or video and seconds)", True)
        return None
