"""Poses of videos with less trembling, and people who are put in where they are missing."""

from __future__ import annotations

import numpy as np
import pytest
from tracking.walkers import frame, walk, without

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.structures import NO_TRACK_ID
from sapiens_pl.tracking.smoothing import OneEuro, SavitzkyGolay, Unsmoothed

BOTH = [OneEuro(), SavitzkyGolay()]


def named(frames, ids=(1, 2, 3)):
    return [one._replace(track_ids=np.array(ids[: len(one.bboxes)])) for one in frames]


def trembling(frames, seed=0):
    """The same with noise of 3 px."""
    rng = np.random.default_rng(seed)
    shapes = [(one, rng.normal(0, 3, one.keypoints.shape).astype(np.float32)) for one in frames]
    return [one._replace(keypoints=one.keypoints + noise) for one, noise in shapes]


def smoothed(frames, smoother) -> list[np.ndarray]:
    return [one.smoothed.keypoints for one in smoother(iter(frames))]


@pytest.mark.parametrize("smoother", BOTH)
def test_there_is_less_noise_and_what_was_found_stays(smoother):
    true = named(walk(30))
    frames = trembling(true)
    results = list(smoother(iter(frames)))
    for result, one in zip(results, frames, strict=True):
        assert result._replace(smoothed=None) == one  # the same arrays
        assert result.smoothed.bboxes is one.bboxes and result.smoothed.keypoints.dtype == np.float32
        np.testing.assert_array_equal(result.smoothed.track_ids, one.track_ids)
    raw = np.mean([np.abs(one.keypoints - other.keypoints).mean() for one, other in zip(frames, true)])
    left = np.mean([np.abs(one.smoothed.keypoints - other.keypoints).mean() for one, other in zip(results, true)])
    assert left < 0.9 * raw


def test_one_euro_knows_no_future():
    frames = trembling(named(walk(30)))
    whole = smoothed(frames, OneEuro())
    for count in (1, 2, 40):
        for one, other in zip(smoothed(frames[:count], OneEuro()), whole):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("weigh_by_score", [False, True])
def test_savitzky_golay_leaves_polynomials_as_they_are_at_uneven_times(weigh_by_score):
    rng = np.random.default_rng(5)
    times = np.cumsum(rng.uniform(0.01, 0.07, 80))
    places = np.stack([300 + 100 * times - 60 * times**2, 200 + 40 * times**2], axis=1)
    frames = named(frame(index, float(t), place) for index, (t, place) in enumerate(zip(times, places)))
    frames = [one._replace(keypoint_scores=rng.random((1, 17)).astype(np.float32)) for one in frames]
    found = smoothed(frames, SavitzkyGolay(window_seconds=0.4, degree=2, weigh_by_score=weigh_by_score))
    for one, other in zip(found, frames):
        np.testing.assert_allclose(one, other.keypoints, atol=1e-3)


def test_a_low_score_counts_less_where_that_is_asked_for():
    frames = named(walk(30))
    frames[50].keypoints[0, 0] += 40
    frames[50].keypoint_scores[0, 0] = 0.05
    for plain, weighed in ((OneEuro(), OneEuro(weigh_by_score=True)), (BOTH[1], SavitzkyGolay(weigh_by_score=True))):
        off = [abs(smoothed(frames, one)[50][0, 0] - frames[49].keypoints[0, 0]).max() for one in (plain, weighed)]
        assert off[1] < 0.4 * off[0]


@pytest.mark.parametrize("smoother", BOTH)
def test_who_is_missing_for_a_moment_is_put_in_and_marked(smoother):
    whole = named(walk(30))
    frames = [without(one, 1) if 20 <= index < 25 else one for index, one in enumerate(whole)]
    results = list(smoother(iter(frames)))
    for index, (result, one, all_three) in enumerate(zip(results, frames, whole)):
        ids = [1, 3, 2] if 20 <= index < 25 else [1, 2, 3]
        assert result.smoothed.track_ids.tolist() == ids and len(result.keypoints) == len(one.keypoints)
        assert [len(column) for column in result.smoothed] == [3] * 4
        if 20 <= index < 25:
            np.testing.assert_allclose(result.smoothed.bboxes[2], all_three.bboxes[1], atol=1e-6)
            np.testing.assert_allclose(result.smoothed.keypoints[2], all_three.keypoints[1], atol=8)
            np.testing.assert_allclose(result.smoothed.keypoint_scores[2], 0.9, atol=1e-6)


def test_longer_gaps_stay_and_failed_frames_are_none_to_fill():
    whole = named(walk(30))
    frames = [without(one, 1) if 20 <= index < 40 else one for index, one in enumerate(whole)]
    assert {len(one.smoothed.track_ids) for one in OneEuro()(iter(frames))} == {2, 3}
    assert {len(one.smoothed.track_ids) for one in OneEuro(bridge_seconds=1)(iter(frames))} == {3}
    assert {len(one.smoothed.track_ids) for one in OneEuro(bridge_seconds=0)(iter(frames[19:22]))} == {2, 3}
    assert len(list(SavitzkyGolay()(iter(whole[:20] + whole[23:])))) == 117


def test_people_of_no_track_are_as_they_were_found_and_none_is_smoothed_where_that_is_not_asked_for():
    frames = trembling(named(walk(30), (NO_TRACK_ID, 2, 2)))  # two people of one id: the first is the track
    for smoother in BOTH:
        for one, other in zip(smoothed(frames, smoother), frames):
            np.testing.assert_array_equal(one[[0, 2]], other.keypoints[[0, 2]])
    assert list(Unsmoothed()(iter(frames))) == frames


@pytest.mark.parametrize("smoother", BOTH)
def test_times_that_stand_still_empty_frames_and_short_tracks_give_finite_poses(smoother):
    standing = [one._replace(frame=one.frame._replace(seconds=0.0)) for one in trembling(named(walk(30)))]
    empty = frame(200, 9.0, np.empty((0, 2)))
    found = smoothed([*standing, empty, frame(201, 9.5, np.array([(1, 1)]))], smoother)
    assert all(np.isfinite(one).all() for one in found) and len(found) == 122 and found[120].shape == (0, 17, 2)
    assert list(smoother(iter([]))) == []


@pytest.mark.parametrize("smoother", BOTH)
def test_no_more_frames_are_read_ahead_than_the_window_reaches(smoother):
    read = 0

    def source():
        nonlocal read
        for index in range(1000):
            read = index
            yield named([frame(index, index / 30, np.array([(100 + index, 300)]))])[0]

    assert all(read - one.frame.frame_index <= 14 for one in smoother(source()) if one.frame.frame_index < 980)


@pytest.mark.parametrize(
    ("smoother", "setting", "words"),
    [
        (OneEuro, {"min_cutoff": 0}, "min_cutoff=0 must be a number above 0."),
        (OneEuro, {"weigh_by_score": "yes"}, "weigh_by_score='yes' must be true or false."),
        (SavitzkyGolay, {"degree": 1.5}, "degree=1.5 must be a whole number of at least 0."),
        (SavitzkyGolay, {"bridge_seconds": -1}, "bridge_seconds=-1 must be a number of at least 0."),
    ],
)
def test_a_smoother_that_cannot_be_is_a_sentence(smoother, setting, words):
    with pytest.raises(ConfigError) as refused:
        smoother(**setting)
    assert str(refused.value).replace("True", "true").replace("False", "false") == words


@pytest.mark.parametrize("smoother", BOTH)
def test_a_clock_that_is_set_back_begins_anew(smoother):
    before, after = named(walk(30, 1.0)), named(walk(30, 1.0))
    later = [one._replace(frame=one.frame._replace(seconds=one.frame.seconds + 100)) for one in before]
    found = smoothed([*later, *after], smoother)
    for one, alone in zip(found, smoothed(before, smoother) + smoothed(after, smoother), strict=True):
        np.testing.assert_allclose(one, alone, atol=0.01)
