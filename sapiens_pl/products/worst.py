"""`worst.csv`: every person of a run with the reasons for a look, worst first.

People with more suspicion (`suspicions.py`) come first, then those with lower scores; equal ones are in the
order of the pictures' names. In memory are a few numbers a person; the lines wait in a file of their own.
"""

from __future__ import annotations

import csv
import io
import mmap
from array import array
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sapiens_pl.core.structures import NO_TRACK_ID, PoseResult
from sapiens_pl.products.csv_table import FORMULA_SIGNS
from sapiens_pl.products.suspicions import REASONS, Judged, low_excesses, low_limit, severities

COLUMNS = (
    *("image", "instance_id", "video", "frame", "track_id", "score", "suspicion", "reasons", "details"),
    *("bbox_score", "x1", "y1", "x2", "y2"),
)
"""`score`: the mean of the body's keypoint scores; `reasons`: of `suspicions.REASONS`, joined by a space; the box in
image px. `video`, `frame` and `track_id` are empty for photographs."""


class WorstTable:
    """Takes people as they come, and writes them worst first.

    Args:
        lines: where the lines wait, an empty file.
    """

    def __init__(self, lines: BinaryIO) -> None:
        self._lines = lines
        self._starts, self._middles, self._ends = array("q"), array("q"), array("q")
        self._scores, self._suspicions, self._bits = array("d"), array("d"), array("B")
        self._size = 0

    @property
    def scores(self) -> np.ndarray:
        """(P,) float64 of all people so far."""
        return np.array(self._scores)

    def add(self, people: Judged) -> None:
        """People whose pictures follow those before by name."""
        self._scores.extend(people.scores.tolist())
        self._suspicions.extend(severities(people.excesses).sum(axis=1).tolist())
        self._bits.extend(((people.excesses >= 1) * (1 << np.arange(len(REASONS)))).sum(axis=1).tolist())
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="")
        pieces = []
        for number, (picture, row) in enumerate(zip(people.pictures.tolist(), people.rows.tolist())):
            result = people.results[picture]
            for cells in (
                _who(result, row, people.scores[number]),
                (people.details.get(number, ""), *_box(result, row)),
            ):
                text.seek(0)
                text.truncate()
                writer.writerow(cells)
                pieces.append(text.getvalue().encode("utf-8", "surrogateescape"))
        for head, tail in zip(pieces[::2], pieces[1::2]):
            self._starts.append(self._size)
            self._middles.append(self._size + len(head))
            self._size += len(head) + len(tail)
            self._ends.append(self._size)
        self._lines.writelines(pieces)

    def write(self, path: Path) -> None:
        """Writes all of them."""
        scores = self.scores
        low = low_excesses(scores, low_limit(scores))
        suspicions = np.array(self._suspicions) + severities(low)
        bits = np.array(self._bits) | (low >= 1).astype(np.uint8)
        order = np.lexsort((scores, -np.round(suspicions, 6)))
        texts = [" ".join(name for at, name in enumerate(REASONS) if value >> at & 1) for value in range(64)]
        self._lines.flush()
        with open(path, "wb") as file:
            file.write(",".join(COLUMNS).encode() + b"\r\n")
            if len(order):
                with mmap.mmap(self._lines.fileno(), 0, access=mmap.ACCESS_READ) as lines:
                    for person in order.tolist():
                        start, middle, end = self._starts[person], self._middles[person], self._ends[person]
                        told = f",{suspicions[person]:.3f},{texts[bits[person]]},".encode()
                        file.write(lines[start:middle] + told + lines[middle:end] + b"\r\n")


def _who(result: PoseResult, row: int, score: float) -> tuple[Any, ...]:
    image = no_formula(result.name)
    instance_id = int(result.instance_ids[row])
    if result.frame is None:
        return image, instance_id, None, None, None, f"{score:.4f}"
    track = NO_TRACK_ID if result.track_ids is None else int(result.track_ids[row])
    video, frame = no_formula(result.frame.video), result.frame.frame_index
    return image, instance_id, video, frame, None if track == NO_TRACK_ID else track, f"{score:.4f}"


def _box(result: PoseResult, row: int) -> tuple[str, ...]:
    box = (f"{value:.2f}" for value in result.bboxes[row].tolist())
    return (f"{result.bbox_scores[row]:.4f}", *box)


def no_formula(name: str) -> str:
    """A path that no spreadsheet evaluates."""
    return f"./{name}" if name.startswith(FORMULA_SIGNS) else name
