"""Boxes in MOTChallenge's text form: of one sequence of images, or of videos."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from sapiens_pl.boxes.files import empty_error, existing_file
from sapiens_pl.boxes.frames import frames_of
from sapiens_pl.boxes.image_finder import NoImage, either
from sapiens_pl.boxes.matching import BoxListing, assign_boxes
from sapiens_pl.boxes.moments import Moments, Placed, place, with_pictures
from sapiens_pl.boxes.mot_lines import MotLines, read_mot
from sapiens_pl.boxes.rules import BoxRules
from sapiens_pl.boxes.table import BoxTable, joined
from sapiens_pl.boxes.video_frames import VideoFrames
from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.folders import walk
from sapiens_pl.core.not_counted import RowsNotCounted
from sapiens_pl.core.plan import Pictures
from sapiens_pl.core.protocols import BoxedImages

log = logging.getLogger(__name__)

_COUNTS_FROM = 1
_IN_A_SEQUENCE = ("det", "gt")
"""Folders, and files in them, of a sequence's folder."""


class MotBoxes:
    """Boxes in MOTChallenge's text form (`boxes=mot`), with the track ids: of a sequence of images, or of videos.

    Lines `frame, id, left, top, width, height, confidence, ...`; the first pixel and the first frame are 1, a
    confidence or an id of -1 is none. Of nine columns the eighth is the class, and a seventh of 0 or 1 ground
    truth's mark of boxes to be ignored or used (so in VisDrone's ten columns). Which image a frame is,
    `frames.frames_of` says; of a video frame n is the n-th that a player can show.

    Args:
        file: `det.txt`, `gt.txt` or a tracker's output; for videos also a folder, where the boxes of `a/walk.mp4` are
            in `a/walk.txt`, `a/walk.mp4.txt`, `a/walk/det/det.txt` or `a/walk/gt/gt.txt`.
        rules: as in `BoxRules`; a video's first frame is 1 if they do not say another.

    Raises:
        ConfigError: no such file or folder.
    """

    def __init__(self, file: str | None, *, format: str = "xywh", **rules: Any) -> None:
        path = os.path.expanduser(str(file or ""))
        self.is_folder = os.path.isdir(path)
        self.file = path if self.is_folder else existing_file(file)
        self.rules = BoxRules(format, first_pixel=1.0, **rules)

    def __call__(self, source: Pictures) -> BoxedImages:
        if source.frames is not None:
            return self._of_videos(source, VideoFrames(source))
        if self.is_folder:
            raise ConfigError(
                f"boxes.file={self.file} is a folder, which may have a file for each video, and data.images has no "
                "videos; give the file of that sequence."
            )
        return self._of_sequence(source, read_mot(self.file))

    def _of_sequence(self, source: Pictures, lines: MotLines) -> BoxedImages:
        wanted = set(lines.all_frames.tolist())
        names = frames_of(source, wanted, self.file)
        if not wanted & set(names):
            raise ConfigError(
                f"{self.file} has frames {min(wanted)} to {max(wanted)}, data.images has frames {min(names)} to "
                f"{max(names)} ({names[min(names)]} the first), none in both; give that sequence's images."
            )
        missing = NoImage("is the number of no image; add it or correct the box file")
        lost = {f"frame {frame}": missing for frame in lines.all_frames.tolist() if frame not in names}
        numbers = np.array(list(names), np.int64)
        order = np.argsort(numbers, kind="stable")
        places = np.searchsorted(numbers, lines.frames, sorter=order).clip(max=len(numbers) - 1)
        whose = order[places]
        has_image = numbers[whose] == lines.frames
        table = lines.table.select(np.flatnonzero(has_image))
        table = table._replace(names=Names.of(names.values()), whose=whose[has_image])
        not_counted = lines.not_counted
        listing = BoxListing(self.file, "line", table, numbers, lines.bad_rows, lost, not_counted=not_counted)
        return assign_boxes(source, listing, self.rules)

    def _of_videos(self, source: Pictures, frames: VideoFrames) -> BoxedImages:
        files = _files_of_videos(self.file, frames) if self.is_folder else {self._one_video(frames): self.file}
        parts = [self._part(source, frames, video, file) for video, file in sorted(files.items())]
        spoken_of = np.zeros(frames.num_videos, bool)
        spoken_of[list(files)] = True
        lost = {name: why for part in parts for name, why in part.placed.lost.items()}
        bad_rows = [(number, f"{reason} ({part.file})") for part in parts for number, reason in part.bad_rows]
        table = joined([part.table for part in parts])
        of_picture = source.frames
        assert of_picture is not None
        listing = BoxListing(
            self.file,
            "line",
            table,
            None,
            bad_rows,
            lost,
            spoken_of=spoken_of,
            not_counted=reduce(RowsNotCounted.plus, (part.not_counted for part in parts)),
            origin=lambda picture: f"{files[int(of_picture.video[picture])]}, line",
        )
        return assign_boxes(source, listing, self.rules)

    def _part(self, source: Pictures, frames: VideoFrames, video: int, file: str) -> _Part:
        """One video's rows, under the names of their frames."""
        try:
            lines = read_mot(file)
        except ConfigError as error:
            if self.is_folder and str(error) == str(empty_error(file)):
                raise ConfigError(f"{error} If nobody is in that video, remove the file.") from None
            raise
        count = len(lines.frames)
        video_name = Names.of([frames.videos[video]])
        none = np.zeros(count, np.int64)
        moments = Moments(video_name, none, lines.frames.astype(np.float64), np.zeros(count, bool))
        placed = place(frames, file, moments, self.rules.first_frame, _COUNTS_FROM)
        table = with_pictures(lines.table, placed.pictures, source.names)
        return _Part(file, table, placed, lines.bad_rows, lines.not_counted)

    def _one_video(self, frames: VideoFrames) -> int:
        """The video whose boxes a single file has: the only one, or the one that it is named after."""
        if frames.num_videos == 1:
            return 0
        video = frames.find(_sequence_of(os.path.abspath(self.file)))
        if isinstance(video, NoImage):
            raise ConfigError(
                f"boxes.file={self.file} is not called after one of the {frames.num_videos} videos of data.images; "
                "give one video, or a folder with a file for each, such as "
                f"{os.path.splitext(frames.videos[0])[0]}.txt."
            )
        return video


class _Part(NamedTuple):
    file: str
    table: BoxTable
    placed: Placed
    bad_rows: list[tuple[int, str]]
    not_counted: RowsNotCounted


def _sequence_of(path: str) -> str:
    """The sequence of a file, by its path: without `.txt`, `det/det.txt` and the like."""
    stem = path.removesuffix(".txt")
    for name in _IN_A_SEQUENCE:
        if stem.endswith(f"/{name}"):
            return stem.removesuffix(f"/{name}").removesuffix(f"/{name}")
    return stem


def _files_of_videos(folder: str, frames: VideoFrames) -> dict[int, str]:
    """Each video's file; files that belong to no video are named.

    Raises:
        ConfigError: a video has several, a file could be several videos', or no file is any video's.
    """
    files: dict[int, str] = {}
    left_over = []
    for path in _text_files(folder):
        video = frames.find(_sequence_of(os.path.relpath(path, folder)))
        if isinstance(video, NoImage):
            if video.here:
                raise ConfigError(f"{path} {video.reason}; move it into the sub-folder that its video is in.")
            left_over.append(path)
        elif video in files:
            raise ConfigError(
                f"The boxes of {frames.videos[video]} could be in {files[video]} or in {path}; keep only one of them "
                f"in {folder}."
            )
        else:
            files[video] = path
    if not files:
        stem = os.path.splitext(frames.videos[0])[0]
        raise ConfigError(
            f"boxes.file={folder} has no file for any of the {frames.num_videos} videos, such as {stem}.txt or "
            f"{stem}/det/det.txt" + (f"; it has {either(left_over)}." if left_over else ".")
        )
    if left_over:
        log.warning("%d files in %s belong to none of the videos: %s.", len(left_over), folder, either(left_over))
    return files


def _text_files(folder: str) -> Iterator[str]:
    for parent, folders, names in walk(folder):
        folders.sort()
        for name in sorted(names):
            if name.endswith(".txt") and not name.startswith("."):
                yield os.path.join(parent, name)
