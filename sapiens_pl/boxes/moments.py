"""Assigns frames and times that a box file names to pictures; all that do not fit are accounted for.

Legend: U names, N rows, n moments, V videos.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

import numpy as np

from sapiens_pl.boxes.image_finder import NoImage, either
from sapiens_pl.boxes.table import BoxTable
from sapiens_pl.boxes.video_frames import NOT_CHOSEN, NOWHERE, VideoFrames
from sapiens_pl.core.columns import Names, names_of_arrow
from sapiens_pl.core.errors import ConfigError

log = logging.getLogger(__name__)

BY_NAME = -1
"""In place of a picture's index: the name identifies it."""
_DROPPED = -4


class Moments(NamedTuple):
    """What a box file calls frames: `names` (U,) of videos, or of pictures, and each moment's in `whose` (n,) int64.

    `numbers` (n,) float64 are the frames' numbers, or seconds where `in_seconds` (n,) bool; NaN: the name alone
    identifies it.
    """

    names: Names
    whose: np.ndarray
    numbers: np.ndarray
    in_seconds: np.ndarray


class Placed(NamedTuple):
    """`pictures` (n,) int64 of moments, negative where there is none or `BY_NAME`.

    `lost` are the names and frames that mean nothing that is there; `spoken_of` (V,) bool the videos that the file is
    about.
    """

    pictures: np.ndarray
    lost: dict[str, NoImage]
    spoken_of: np.ndarray


def place(
    frames: VideoFrames, file: str, moments: Moments, first_frame: int | None, usual: int, lists_all: bool = False
) -> Placed:
    """Assigns moments to pictures, and logs how many are of frames that the run leaves out.

    Args:
        first_frame: the number of a video's first frame, as the user gives it; None if not given.
        usual: the format's own.
        lists_all: the file speaks of all frames, also of those that have nobody.

    Raises:
        ConfigError: it is not clear whether the file counts so, or it is about frames of other videos only.
    """
    given = ~np.isnan(moments.numbers)
    lost: dict[str, NoImage] = {}
    videos = _videos(frames, moments, given, lost)
    video = videos[moments.whose]
    video[~given] = BY_NAME
    pictures = np.where(video < 0, video, NOWHERE)
    counted, timed = (np.flatnonzero((video >= 0) & is_so) for is_so in (~moments.in_seconds, moments.in_seconds))
    first = _first(frames, file, video[counted], moments.numbers[counted], first_frame, usual, lists_all)
    pictures[counted] = frames.at_index(video[counted], moments.numbers[counted].astype(np.int64) - first)
    pictures[timed] = _timed(frames, file, video[timed], moments.numbers[timed])
    pictures = _without_unreadable(frames, file, video, pictures)
    _say_not_chosen(frames, file, video, moments.numbers, pictures)
    beyond = _beyond(frames, video, moments, pictures, first)
    if beyond and not ((pictures >= 0) | np.isin(pictures, (NOT_CHOSEN, _DROPPED)) | (video == BY_NAME)).any():
        name, why = next(iter(beyond.items()))
        raise ConfigError(f"{file} names {name}, which {why.reason}.")
    spoken_of = np.zeros(frames.num_videos, bool)
    spoken_of[video[video >= 0]] = True
    return Placed(pictures, lost | beyond, spoken_of)


def _videos(frames: VideoFrames, moments: Moments, given: np.ndarray, lost: dict[str, NoImage]) -> np.ndarray:
    """(U,) int64: each name's video, `BY_NAME` where it may be a picture's, `NOWHERE` where it is neither."""
    videos = np.full(len(moments.names), BY_NAME)
    for place in np.unique(moments.whose[given]).tolist():
        name = moments.names[place]
        found = frames.find(name)
        if not isinstance(found, NoImage):
            videos[place] = found
        elif found.here or not name:
            videos[place] = NOWHERE
            lost[name or "a frame without a video"] = found
    return videos


def _first(
    frames: VideoFrames,
    file: str,
    video: np.ndarray,
    numbers: np.ndarray,
    given: int | None,
    usual: int,
    lists_all: bool,
) -> int:
    """The number of a video's first frame; a file that may count otherwise is not guessed at."""
    if given is not None or not len(numbers):
        return usual if given is None else given
    least = int(numbers.min())
    if least < usual:
        raise ConfigError(
            f"{file} has a frame {least}, but files of its kind count frames from {usual}; say boxes.first_frame=0 if "
            "it counts from 0, or correct it."
        )
    if least == usual or usual > 0:
        return usual
    highest = np.full(frames.num_videos, -1)
    np.maximum.at(highest, video, numbers.astype(np.int64))
    at_end = np.flatnonzero((highest == frames.num_frames) & (highest > 0))
    if len(at_end):
        raise ConfigError(
            f"{file} has no frame 0, but a frame {highest[at_end[0]]} of {frames.videos[int(at_end[0])]}, which has "
            f"{frames.num_frames[at_end[0]]} frames: it seems to count from 1; say boxes.first_frame=1, or 0 if it "
            "does count from 0."
        )
    if least == 1 and lists_all:
        raise ConfigError(
            f"{file} has a frame 1 and no frame 0, so it is not clear which frame is the first; say "
            "boxes.first_frame=1, "
            "or 0 if it counts from 0."
        )
    if least == 1:
        log.warning(
            "%s has a frame 1 and no frame 0; it is taken to count from 0. If it counts from 1, say "
            "boxes.first_frame=1.",
            file,
        )
    return usual


def _timed(frames: VideoFrames, file: str, video: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """The pictures at these times; of several times of one frame, only the one that is nearest to the frame's own."""
    pictures, distances = frames.at_seconds(video, seconds)
    shown = np.flatnonzero(pictures >= 0)
    if not len(shown):
        return pictures
    _, whose = np.unique(pictures[shown], return_inverse=True)
    nearest = np.full(whose.max() + 1, np.inf)
    np.minimum.at(nearest, whose, distances[shown])
    best = np.full(len(nearest), np.nan)
    is_best = distances[shown] == nearest[whose]
    best[whose[is_best][::-1]] = seconds[shown][is_best][::-1]  # of two that are as near, the first in the file
    others = shown[seconds[shown] != best[whose]]
    if len(others):
        log.warning(
            "%s: %d of its times are of frames that another time is nearer to, such as %g s; they are left out.",
            file, len(np.unique(seconds[others])), seconds[others[0]],
        )  # fmt: skip
    pictures[others] = _DROPPED
    return pictures


def _without_unreadable(frames: VideoFrames, file: str, video: np.ndarray, pictures: np.ndarray) -> np.ndarray:
    """The same, where frames of videos that show none are not looked for any further: such a video fails by itself."""
    unreadable = (video >= 0) & np.append(frames.num_frames == 0, False)[np.maximum(video, -1)]
    if unreadable.any():
        names = [frames.videos[one] for one in np.unique(video[unreadable]).tolist()]
        log.warning("%s: the boxes of %s are left out, as none of its frames can be shown.", file, either(names))
    return np.where(unreadable, _DROPPED, pictures)


def _say_not_chosen(
    frames: VideoFrames, file: str, video: np.ndarray, numbers: np.ndarray, pictures: np.ndarray
) -> None:
    left_out = pictures == NOT_CHOSEN
    if left_out.any():
        pairs = np.stack([video[left_out], numbers[left_out]], axis=1)
        level = logging.INFO if (pictures >= 0).any() else logging.WARNING
        log.log(
            level,
            "%s also has %d frames that are none of the run's, as data.video chooses others.",
            file, len(np.unique(pairs, axis=0)),
        )  # fmt: skip


def _beyond(
    frames: VideoFrames, video: np.ndarray, moments: Moments, pictures: np.ndarray, first: int
) -> dict[str, NoImage]:
    """The frames in a file that its videos do not have: for each video a name and a reason."""
    beyond: dict[str, NoImage] = {}
    for one in np.unique(video[(pictures == NOWHERE) & (video >= 0)]).tolist():
        rows = np.flatnonzero((pictures == NOWHERE) & (video == one))
        name, count = frames.videos[one], int(frames.num_frames[one])
        numbers = moments.numbers[rows[~moments.in_seconds[rows]]]
        if len(numbers):
            low, high = int(numbers.min()), int(numbers.max())
            which = f"frame {low}" if low == high else f"frames {low} to {high}"
            beyond[f"{which} of {name}"] = NoImage(
                f"has {count} frames, {first} to {first + count - 1} if the first is {first}; give that video's own "
                "boxes, or say with boxes.first_frame= how they number its first frame (data.video.every does not "
                "change the numbers)",
                True,
            )
        seconds = moments.numbers[rows[moments.in_seconds[rows]]]
        if len(seconds):
            which = f"the time {seconds.min():g} s" if len(seconds) == 1 else f"times up to {seconds.max():g} s"
            beyond[f"{which} of {name}"] = NoImage(
                "shows no frame then; give that video's own boxes, in seconds from its beginning", True
            )
    return beyond


def with_pictures(table: BoxTable, pictures: np.ndarray, names: Names, kept: np.ndarray | None = None) -> BoxTable:
    """The same rows under the names of pictures; rows without a picture are removed.

    Args:
        pictures: (N,) int64 the rows', or `BY_NAME`.
        names: of the pictures.
        kept: (U,) bool, the table's names that stay; None: those that rows have.
    """
    import pyarrow as pa

    rows = np.flatnonzero(pictures >= BY_NAME)
    if kept is None:
        kept = np.zeros(len(table.names), bool)
        kept[table.whose[pictures == BY_NAME]] = True
    own = table.names.select(np.flatnonzero(kept))
    used, place = np.unique(pictures[rows], return_inverse=True)
    num_by_name = int((used[:1] == BY_NAME).sum())  # one or none
    used, place = used[num_by_name:], place.reshape(-1) - num_by_name
    together = names_of_arrow(pa.concat_arrays([own.arrow(), names.select(used).arrow()]))
    whose = np.where(place < 0, (np.cumsum(kept) - 1)[table.whose[rows]], place + len(own))
    return table.select(rows)._replace(names=together, whose=whose)
