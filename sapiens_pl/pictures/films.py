"""Videos among the files of a listing, as the pictures that are their frames."""

from __future__ import annotations

import os
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from sapiens_pl.core.columns import Names, encoded
from sapiens_pl.core.errors import SapiensError, UnreadableImageError
from sapiens_pl.core.plan import FrameColumns, Pictures
from sapiens_pl.core.structures import LoadedImage
from sapiens_pl.pictures.left_out import is_video, why_no_videos
from sapiens_pl.pictures.video import VideoDecoder
from sapiens_pl.pictures.video_choice import FrameChoice
from sapiens_pl.pictures.video_table import VideoTable
from sapiens_pl.pictures.video_tables import remembered_scan

_DIGITS = 12
_SCANNED_AT_A_TIME = 4
_OPEN_AT_A_TIME = 2
"""How many videos are kept open; each holds some tens of frames."""


class Film(NamedTuple):
    """A video of a listing: `trouble` says what cannot be shown of it ("": nothing), and `table` is None where that
    is all. `chosen` are the (n,) indices of the frames that are pictures of the run.
    """

    path: str
    table: VideoTable | None
    chosen: np.ndarray
    trouble: str


class Films(NamedTuple):
    """The videos of a listing, and for each of its P pictures: (P,) `film`, -1 for a photograph, and `frame`, -1 for
    what a video does not show.
    """

    films: list[Film]
    film: np.ndarray
    frame: np.ndarray


def with_frames(listing: Pictures, choice: FrameChoice) -> tuple[Pictures, Films]:
    """The same pictures, with each video's frames in its place; a video's own name stands for what is missing of it."""
    places = [place for place, name in enumerate(listing.names) if is_video(name)]
    if not places:
        return listing, Films([], np.full(len(listing.names), -1), np.full(len(listing.names), -1))
    with ThreadPoolExecutor(_SCANNED_AT_A_TIME) as pool:
        films = list(pool.map(lambda place: _film(listing.path(place), choice), places))
    names, paths, of_film, of_frame, stretches = [], [], [], [], []
    begin = 0
    for number, (place, film) in enumerate(zip([*places, len(listing.names)], [*films, None])):
        photographs = np.arange(begin, place)
        names.append(listing.names.select(photographs))
        paths.append(Names.of(map(listing.path, photographs.tolist())))
        of_film.append(np.full(len(photographs), -1))
        of_frame.append(of_film[-1])
        stretches.append(photographs)  # each by itself
        if film is not None:
            indices = np.concatenate([film.chosen, np.full(int(bool(film.trouble)), -1)])
            names.append(_names(listing.names[place], indices))
            paths.append(_repeated(film.path, len(indices)))
            of_film.append(np.full(len(indices), number))
            of_frame.append(indices)
            stretches.append(_starts(film, indices))
        begin = place + 1
    columns = Films(films, np.concatenate(of_film), np.concatenate(of_frame))
    pictures = listing._replace(
        names=_joined(names),
        paths=_joined(paths),
        stretches=_stretches(np.concatenate(stretches), columns),
        frames=_frame_columns(Names.of(listing.names[place] for place in places), columns),
    )
    return pictures, columns


def frame_of_name(name: str, path: str) -> int | None:
    """The index of the frame of this name; None if it is the name of something else."""
    base = os.path.basename(path)
    video, _, frame = name.rpartition("/")
    digits = frame[-_DIGITS:]
    is_frame = frame[:-_DIGITS] == f"{os.path.splitext(base)[0]}_" and os.path.basename(video) == base
    return int(digits) if is_frame and digits.isdecimal() else None


def _film(path: str, choice: FrameChoice) -> Film:
    nothing = np.zeros(0, np.int64)
    if why := why_no_videos():
        return Film(path, None, nothing, f"{path} is a video, and {why}.")
    try:
        table = remembered_scan(path)
    except SapiensError as error:
        return Film(path, None, nothing, f"{path} {error}")
    except MemoryError:
        return Film(path, None, nothing, f"{path} needs more memory than there is to look through.")
    chosen = choice.chosen(table.seconds)
    trouble = table.end and f"{path} {table.end}"
    if not len(chosen):
        trouble = (
            f"{path} has no frame in the time that is asked for (data.video): it ends at {table.seconds[-1]:.3f} s."
        )
    return Film(path, table, chosen, trouble)


def _starts(film: Film, indices: np.ndarray) -> np.ndarray:
    """(n,) int64: differs from one frame to the next where a stretch begins."""
    if film.table is None:
        return np.zeros(len(indices), np.int64)
    starts = film.table.start[film.table.packet[indices]]
    return np.where(indices < 0, -1, starts)


def _stretches(starts: np.ndarray, columns: Films) -> np.ndarray:
    begins = np.ones(len(starts) + 1, bool)
    same_film = np.diff(columns.film) == 0
    begins[1:-1] = ~same_film | (np.diff(starts) != 0)
    return np.flatnonzero(begins)


def _frame_columns(videos: Names, columns: Films) -> FrameColumns:
    shown = columns.frame >= 0
    pts, seconds = np.zeros(len(shown), np.int64), np.full(len(shown), np.nan)
    tables = [(film.table, film.chosen) for film in columns.films if film.table is not None]
    if tables:
        pts[shown] = np.concatenate([table.pts[chosen] for table, chosen in tables])
        seconds[shown] = np.concatenate([table.seconds[chosen] for table, chosen in tables])
    counts = np.array([0 if film.table is None else len(film.table.pts) for film in columns.films], np.int64)
    return FrameColumns(videos, np.where(shown, columns.film, -1), columns.frame, pts, seconds, counts)


def _names(video: str, indices: np.ndarray) -> Names:
    """VIDEO/STEM_INDEX for each frame, and the video's own name for -1."""
    frames = indices[indices >= 0]
    stem = encoded(f"{video}/{os.path.splitext(os.path.basename(video))[0]}_")
    letters = np.empty((len(frames), len(stem) + _DIGITS), np.uint8)
    letters[:, : len(stem)] = np.frombuffer(stem, np.uint8)
    letters[:, len(stem) :] = frames[:, None] // 10 ** np.arange(_DIGITS - 1, -1, -1) % 10 + ord("0")
    named = Names(letters.reshape(-1), np.arange(len(frames) + 1) * letters.shape[1])
    return _joined([named, Names.of([video] * (len(indices) - len(frames)))])


def _repeated(text: str, count: int) -> Names:
    data = np.frombuffer(encoded(text), np.uint8)
    return Names(np.tile(data, count), np.arange(count + 1) * len(data))


def _joined(parts: list[Names]) -> Names:
    """One after the other."""
    data = [part.data[part.offsets[0] : part.offsets[-1]] for part in parts]
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    return Names(np.concatenate(data), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


class FrameReader:
    """Reads frames of videos; keeps the decoders of the last few."""

    def __init__(self, max_megapixels: float) -> None:
        self._max_megapixels = max_megapixels
        self._open: OrderedDict[str, VideoDecoder] = OrderedDict()
        self._process, self._decoded_before = os.getpid(), 0
        self._tables: dict[str, VideoTable] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": OrderedDict(), "_decoded_before": 0}

    @property
    def num_decoded(self) -> int:
        """How many packets this process has decoded; a packet that was decoded twice counts twice."""
        return self._decoded_before + sum(decoder.num_decoded for decoder in self._open.values())

    def read_by_index(self, path: str, index: int) -> LoadedImage:
        """A frame of a video, which is scanned first if that was not done in this process."""
        if why := why_no_videos():
            raise UnreadableImageError(f"{path} is a video, and {why}.")
        if path not in self._tables:
            try:
                self._tables = {path: remembered_scan(path)}
            except SapiensError as error:
                raise type(error)(f"{path} {error}") from None
        if index >= len(self._tables[path].pts):
            raise UnreadableImageError(f"{path} has no frame {index} any more; put the video back as it was.")
        return self.read(path, self._tables[path], index)

    def read(self, path: str, table: VideoTable, index: int) -> LoadedImage:
        """A frame, as `VideoDecoder.read`, with a sentence that names it."""
        if self._process != os.getpid():  # its files and threads are the parent's
            self._open, self._process, self._decoded_before = OrderedDict(), os.getpid(), 0
        decoder = self._open.pop(path, None) or VideoDecoder(path, table, self._max_megapixels)
        self._open[path] = decoder
        while len(self._open) > _OPEN_AT_A_TIME:
            _, oldest = self._open.popitem(last=False)
            self._decoded_before += oldest.num_decoded
            oldest.close()
        try:
            return decoder.read(index)._replace(pts=int(table.pts[index]))
        except SapiensError as error:
            raise type(error)(f"{path}, frame {index} (at {table.seconds[index]:.3f} s) {error}") from None
