"""A picture of each video's tracks: seen by its pixels, since what it shows is for people."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from products.made import film_of, smoothed
from records.made_up import frame_result

from sapiens_pl.core.protocols import MakingStopped
from sapiens_pl.core.structures import NO_TRACK_ID
from sapiens_pl.products.track_plot import TrackPlot

WALK = "a/walk $x_1 \u4eba.mp4"


def picture(tmp_path, results, **options) -> np.ndarray:
    """(H, W, 3) uint8 BGR."""
    TrackPlot().write(film_of(results, **options), tmp_path / "film.png")
    return cv2.imread(str(tmp_path / "film.png"))


def share_of(pixels: np.ndarray, colour: tuple[int, int, int]) -> float:
    """Of all pixels, those of a colour (BGR) give or take 3."""
    return float((np.abs(pixels.astype(int) - colour) <= 3).all(axis=2).mean())


def frame(index: int, tracks: list[int], score: float = 1.0):
    result = frame_result(WALK, index, len(tracks), track_ids=np.array(tracks, np.int64))
    return result._replace(keypoint_scores=np.full((len(tracks), 17), score, np.float32))


BEST, WORST, BRIDGED = (37, 231, 253), (84, 1, 68), (191, 191, 191)
"""Viridis at 1 and 0, and grey."""


@pytest.mark.slow
def test_spans_have_the_colour_of_their_scores_for_as_long_as_they_last(tmp_path):
    half = [frame(index, [1, 2] if index < 50 else [1]) for index in range(100)]
    whole = [frame(index, [1, 2]) for index in range(100)]
    full, less = share_of(picture(tmp_path, whole), BEST), share_of(picture(tmp_path, half), BEST)
    assert 0.1 < less < full and less / full == pytest.approx(0.75, abs=0.03)
    assert share_of(picture(tmp_path, [frame(index, [1], 0.0) for index in range(100)]), WORST) > 0.1


@pytest.mark.slow
def test_who_is_bridged_is_grey_there(tmp_path):
    results = [frame(index, [1]) for index in range(100)]
    plain = share_of(picture(tmp_path, [smoothed(result) for result in results]), BRIDGED)
    gap = [frame(index, []) if 40 <= index < 60 else frame(index, [1]) for index in range(100)]
    bridged = [smoothed(result) if len(result.track_ids) else bridging(result) for result in gap]
    assert share_of(picture(tmp_path, bridged), BRIDGED) > plain + 0.01


def bridging(result):
    full = smoothed(frame(result.frame.frame_index, [1]))
    return result._replace(smoothed=full.smoothed)


@pytest.mark.slow
def test_the_same_tracks_give_the_same_bytes_and_long_and_odd_videos_a_picture(tmp_path):
    results = [frame(index, [1 + index // 20, 9]) for index in range(100)]
    picture(tmp_path, results)
    first = (tmp_path / "film.png").read_bytes()
    picture(tmp_path, results)
    assert (tmp_path / "film.png").read_bytes() == first
    long = picture(tmp_path, [frame(index, [index // 10, NO_TRACK_ID]) for index in range(3000)])  # 300 tracks
    assert max(long.shape) < 2000
    for results in ([frame(3, [])], [frame(3, [NO_TRACK_ID])], [frame(0, []), frame(9, [4])]):
        assert picture(tmp_path, results).std() > 0


def test_a_stop_is_a_stop(tmp_path):
    with pytest.raises(MakingStopped):
        picture(tmp_path, [frame(0, [1])], stopped=lambda: True)
