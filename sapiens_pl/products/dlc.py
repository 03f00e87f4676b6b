"""The tracks of a video as a CSV file in DeepLabCut's form for several animals.

Form: four header rows (scorer, individuals, bodyparts, coords), then a row a frame: x, y and likelihood of each
keypoint of each individual, empty where it is not in the frame.

Legend: T tracks, K keypoints.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from sapiens_pl.core.errors import SapiensError
from sapiens_pl.core.protocols import Film, MakingStopped, VideoProduct
from sapiens_pl.core.settings import check, whole_number
from sapiens_pl.core.structures import NO_TRACK_ID, PoseResult
from sapiens_pl.products.frame_columns import tracks_of
from sapiens_pl.products.json_files import COORDINATE_DECIMALS, SCORE_DECIMALS, rounded

SCORER = "sapiens_pl"
COORDS = ("x", "y", "likelihood")
MAX_VALUES = 1_000_000_000
"""The most rows times columns of a file: opening a larger one needs more than 8 GB."""


class Dlc(VideoProduct):
    """`dlc/a/walk.mp4.csv`.

    Args:
        min_frames: tracks of fewer frames are left out.

    Raises:
        ConfigError: not a whole number above 0.
    """

    folder, suffix = "dlc", ".csv"

    def __init__(self, min_frames: int) -> None:
        check({"dlc_min_frames": whole_number(1)}, {"dlc_min_frames": min_frames}, "output")
        self._min_frames = min_frames

    def write(self, film: Film, target: Path) -> None:
        frames, tracks = self._listed(film)
        names = film.keypoint_set.names
        if len(frames) * len(tracks) * len(names) * len(COORDS) > MAX_VALUES:
            raise SapiensError(
                f"{len(frames)} frames with {len(tracks)} tracks of {len(names)} keypoints are more than "
                f"{MAX_VALUES:,} values; set output.dlc_min_frames, to leave out short tracks."
            )
        results = film.results()
        with open(target, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(_header(tracks, names))
            result = next(results, None)
            for index in frames:
                if film.stopped():
                    raise MakingStopped
                if result is not None and result.frame is not None and result.frame.frame_index == index:
                    file.write(_row(index, _people_of(result), tracks, len(names)))
                    result = next(results, None)
                else:
                    file.write(_row(index, {}, tracks, len(names)))

    def _listed(self, film: Film) -> tuple[range, list[int]]:
        """The frames and the tracks that have rows and columns.

        A frame that could not be read has a row, too, so that rows can be counted as frames: the rows go from the
        first frame to the last in the largest step that meets all that are known.
        """
        counts: Counter[int] = Counter()
        indices = []
        for result in film.results():
            assert result.frame is not None
            indices.append(result.frame.frame_index)
            counts.update(tracks_of(result).tolist())
        counts.pop(NO_TRACK_ID, None)
        tracks = sorted(track for track, count in counts.items() if count >= self._min_frames)
        if not tracks:
            many = f"of {self._min_frames} frames or more " if counts else ""
            raise SapiensError(f"there is no track {many}in it, and tracks are the individuals of such a file.")
        step = int(np.gcd.reduce(np.diff(indices))) if len(indices) > 1 else 1
        return range(indices[0], indices[-1] + 1, step), tracks


def _header(tracks: list[int], names: tuple[str, ...]) -> Iterator[str]:
    num_columns = len(tracks) * len(names) * len(COORDS)
    yield _line("scorer", [SCORER] * num_columns)
    yield _line("individuals", (f"track_{track}" for track in tracks for _ in range(len(names) * len(COORDS))))
    yield _line("bodyparts", (name for _ in tracks for name in names for _ in COORDS))
    yield _line("coords", COORDS * (len(tracks) * len(names)))


def _line(level: str, cells: Iterable[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(chain([level], cells))
    return text.getvalue()


def _people_of(result: PoseResult) -> dict[int, np.ndarray]:
    """(K, 3) float64 by track: x, y, likelihood."""
    poses = result if result.smoothed is None else result.smoothed
    places = rounded(poses.keypoints, COORDINATE_DECIMALS)
    values = np.concatenate([places, rounded(poses.keypoint_scores, SCORE_DECIMALS)[:, :, None]], axis=2)
    return dict(zip(tracks_of(result).tolist(), values))


def _row(index: int, people: dict[int, np.ndarray], tracks: list[int], num_keypoints: int) -> str:
    nobody = "," * (num_keypoints * len(COORDS) - 1)
    cells = (",".join(map(repr, people[track].ravel().tolist())) if track in people else nobody for track in tracks)
    return f"{index},{','.join(cells)}\n"
