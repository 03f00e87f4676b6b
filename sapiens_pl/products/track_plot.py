"""A picture of who is in a video and when, and how sure the network was.

Legend: T tracks, C columns of the picture, which are frames or, in long videos, several frames each.
"""

from __future__ import annotations

import warnings
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sapiens_pl.core.columns import as_unicode
from sapiens_pl.core.protocols import Film, MakingStopped, VideoProduct
from sapiens_pl.core.structures import NO_TRACK_ID, PoseResult
from sapiens_pl.core.wording import shortened
from sapiens_pl.products.frame_columns import tracks_of

_MOST_COLUMNS, _MOST_LINES, _MOST_LABELS = 1000, 8, 40
_WIDTH_INCHES, _INCHES_A_TRACK, _TALLEST_INCHES, _DOTS_PER_INCH = 11.0, 0.22, 9.0, 110


class Sightings(NamedTuple):
    """All people in all frames of a video.

    Attributes:
        seconds: (F,) float64 of each frame.
        frames: (P,) int64, the frame of each person, by its place among these.
        tracks: (P,) int64, or `NO_TRACK_ID`.
        scores: (P,) float64, means over the keypoints; NaN for people who are bridged.
    """

    seconds: np.ndarray
    frames: np.ndarray
    tracks: np.ndarray
    scores: np.ndarray


class TrackPlot(VideoProduct):
    """`track_plots/a/walk.mp4.png`."""

    folder, suffix = "track_plots", ".png"

    def write(self, film: Film, target: Path) -> None:
        seen = _sightings(_unless_stopped(film))
        tracks = _in_order(seen)
        edges, columns = _columns(seen.seconds)
        means, is_bridged = _means(seen, tracks, columns)
        import matplotlib

        with warnings.catch_warnings(), matplotlib.rc_context(matplotlib.rcParamsDefault):
            warnings.simplefilter("ignore")  # characters that the font lacks
            figure = _figure(film.name, tracks, edges, means, is_bridged)
            # Without matplotlib's version, so that the same records give the same bytes for as long as it draws alike.
            figure.savefig(target, dpi=_DOTS_PER_INCH, metadata={"Software": None})


def _unless_stopped(film: Film) -> Iterable[PoseResult]:
    for result in film.results():
        if film.stopped():
            raise MakingStopped
        yield result


def _sightings(results: Iterable[PoseResult]) -> Sightings:
    seconds, frames, tracks, scores = array("d"), array("q"), array("q"), array("d")
    for index, result in enumerate(results):
        assert result.frame is not None
        of_frame = tracks_of(result).tolist()
        means = result.keypoint_scores.mean(axis=1, dtype=np.float64).tolist()
        seconds.append(result.frame.seconds)
        frames.extend([index] * len(of_frame))
        tracks.extend(of_frame)
        scores.extend(means + [float("nan")] * (len(of_frame) - len(means)))
    return Sightings(np.array(seconds), np.array(frames, np.int64), np.array(tracks, np.int64), np.array(scores))


def _in_order(seen: Sightings) -> np.ndarray:
    """(T,) int64: tracks by their first frame; `NO_TRACK_ID` last."""
    tracks, first = np.unique(seen.tracks, return_index=True)
    return tracks[np.lexsort((first, tracks == NO_TRACK_ID))]


def _columns(seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(C + 1,) float64, when columns begin, and the end of the last; and (F,) int64, the column of each frame."""
    a_column = -(-len(seconds) // _MOST_COLUMNS)
    step = float(np.median(np.diff(seconds))) if len(seconds) > 1 else 0.0
    edges = np.append(seconds[::a_column], seconds[-1] + (step or 1.0))
    return edges, np.arange(len(seconds)) // a_column


def _means(seen: Sightings, tracks: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T, C) float64, the mean score of each track, NaN where it was not found; and bool where it is bridged only."""
    order = np.argsort(tracks)
    rows = order[np.searchsorted(tracks, seen.tracks, sorter=order)]
    of = columns[seen.frames]
    totals, counts, is_there = (np.zeros((len(tracks), columns[-1] + 1)) for _ in range(3))
    found = ~np.isnan(seen.scores)
    np.add.at(totals, (rows[found], of[found]), seen.scores[found])
    np.add.at(counts, (rows[found], of[found]), 1)
    is_there[rows, of] = 1
    with np.errstate(invalid="ignore"):
        return totals / counts, (is_there > 0) & (counts == 0)


def _figure(video: str, tracks: np.ndarray, edges: np.ndarray, means: np.ndarray, is_bridged: np.ndarray) -> Any:
    from matplotlib.figure import Figure

    tall = min(_TALLEST_INCHES, max(1.2, _INCHES_A_TRACK * len(tracks)))
    figure = Figure(figsize=(_WIDTH_INCHES, tall + 3.6), layout="constrained")
    spans, lines = figure.subplots(2, 1, sharex=True, height_ratios=[tall, 2.2])
    spans.set_title(shortened(as_unicode(video), 90), parse_math=False, loc="left")
    drawn = _draw_spans(spans, tracks, edges, means, is_bridged)
    if drawn is None:
        spans.text(0.5, 0.5, "nobody was found", transform=spans.transAxes, ha="center", va="center")
    else:
        figure.colorbar(drawn, ax=spans, label="mean score", pad=0.01)
        _draw_lines(lines, tracks, edges, means)
    lines.set(xlabel="seconds", ylabel="mean score", xlim=(edges[0], edges[-1]))
    lines.grid(alpha=0.3)
    return figure


def _draw_spans(axes: Any, tracks: np.ndarray, edges: np.ndarray, means: np.ndarray, is_bridged: np.ndarray) -> Any:
    """A row a track, the first at the top: in colours its scores, in grey where it is bridged."""
    if not len(tracks):
        axes.set_yticks([])
        return None
    rows = np.arange(len(tracks) + 1) - 0.5
    grey = np.where(is_bridged, 0.75, np.nan)
    axes.pcolormesh(edges, rows, np.ma.masked_invalid(grey), cmap="gray", vmin=0, vmax=1)
    drawn = axes.pcolormesh(edges, rows, np.ma.masked_invalid(means), cmap="viridis", vmin=0, vmax=1)
    labelled = np.arange(0, len(tracks), -(-len(tracks) // _MOST_LABELS))
    axes.set_yticks(labelled, [_label(track) for track in tracks[labelled].tolist()], fontsize=8)
    axes.set(ylabel="track", ylim=(len(tracks) - 0.5, -0.5))
    axes.set_facecolor("0.96")
    return drawn


def _draw_lines(axes: Any, tracks: np.ndarray, edges: np.ndarray, means: np.ndarray) -> None:
    """The scores of the longest tracks over time."""
    is_known = ~np.isnan(means)
    longest = np.argsort(-(is_known * np.diff(edges)).sum(axis=1), kind="stable")[:_MOST_LINES]
    for number, row in enumerate(sorted(longest[is_known[longest].any(axis=1)])):
        middles = (edges[:-1] + edges[1:]) / 2
        marker = "." if is_known[row].sum() == 1 else None
        axes.plot(
            middles,
            means[row],
            color=f"C{number}",
            linewidth=1,
            marker=marker,
            label=_label(int(tracks[row]), "track "),
        )
    axes.set_ylim(0, 1)
    place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
    axes.legend(ncols=_MOST_LINES, fontsize=8, frameon=False, handlelength=1.2, columnspacing=1.2, **place)


def _label(track: int, before: str = "") -> str:
    return "no track" if track == NO_TRACK_ID else f"{before}{track}"
