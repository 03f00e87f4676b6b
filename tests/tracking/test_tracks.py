"""Ids of people over the frames of a video."""

from __future__ import annotations

import numpy as np
import pytest
from tracking.walkers import frame, walk, without

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.structures import NO_TRACK_ID
from sapiens_pl.tracking.tracks import GivenIds, Tracks


def ids_of(frames, tracker=None) -> list[list[int]]:
    """Frame by frame."""
    found = (tracker or Tracks())(iter(frames))
    assert found.frame_indices.tolist() == [one.frame.frame_index for one in frames]
    return [found.of_frame(one.frame.frame_index).tolist() for one in frames]


@pytest.mark.parametrize("fps", [2, 3, 10, 25, 60, 240])
def test_people_keep_their_ids_at_any_frame_rate(fps):
    assert ids_of(walk(fps)) == [[1, 2, 3]] * len(walk(fps))


def test_ids_begin_at_1_in_the_order_of_appearance_and_empty_frames_have_none():
    frames = walk(25)
    frames[0] = without(frames[0], 1)
    empty = frame(len(frames), 4.0, np.empty((0, 2)))
    ids = ids_of([*frames, empty])
    assert ids[:2] == [[1, 2], [1, 3, 2]] and ids[-1] == [] and ids_of([]) == [] and ids_of([empty]) == [[]]


def test_the_order_of_the_boxes_in_a_frame_changes_nothing():
    frames = walk(25)
    turned = [frames[0], *(one._replace(bboxes=one.bboxes[::-1], keypoints=one.keypoints[::-1]) for one in frames[1:])]
    assert [ids[::-1] for ids in ids_of(turned)[1:]] == ids_of(frames)[1:]


@pytest.mark.parametrize("fps", [10, 60])
def test_who_is_lost_comes_back_as_himself_within_seconds_not_frames(fps):
    def away(gap: float) -> set[int]:
        frames = [without(one, 1) if 1.0 <= one.frame.seconds < 1.0 + gap else one for one in walk(fps)]
        return {ids[1] for ids, one in zip(ids_of(frames), frames) if len(one.bboxes) == 3}

    assert away(0.7) == {2} and away(1.3) == {2, 4}


def test_a_clock_that_is_set_back_goes_on_for_those_who_are_lost():
    frames = [without(one, 0) if 0.5 <= one.frame.seconds < 2.5 else one for one in walk(10)]
    back = [one._replace(frame=one.frame._replace(seconds=one.frame.seconds - 50)) for one in frames[6:]]
    ids = ids_of(frames[:6] + back)
    assert ids == ids_of(frames) and {row[0] for row in ids[25:]} == {4}


def test_frames_that_failed_are_time_that_passes():
    frames = walk(25)
    assert ids_of(frames[:20] + frames[35:]) == [[1, 2, 3]] * (len(frames) - 15)
    assert ids_of(frames[::10]) == [[1, 2, 3]] * 10


def test_unlikely_boxes_go_on_with_people_and_begin_nobody():
    frames = walk(25)
    for index, score in ((10, 0.2), (11, 0.2), (12, 0.05)):
        frames[index] = frames[index]._replace(bbox_scores=np.array([1.0, score, 1.0]))
    for index in (13, 14):
        places, scores = np.array([(100, 300), (900, 100)]), np.array([1.0, 0.3])
        frames[index] = frame(index, frames[index].frame.seconds, places, bbox_scores=scores)
    ids = ids_of(frames)
    assert ids[10] == ids[11] == [1, 2, 3] and ids[12] == [1, NO_TRACK_ID, 3]
    assert ids[13] == ids[14] == [1, NO_TRACK_ID] and ids[15] == [1, 2, 3]


def test_who_is_in_one_frame_only_is_nobody_but_at_the_end():
    frames = walk(25)
    for index in (5, 99):
        places = [(box[0] + 30, box[1] + 80) for box in frames[index].bboxes]
        frames[index] = frame(index, frames[index].frame.seconds, np.array([(900, 100), *places]))
    ids = ids_of(frames)
    assert ids[5] == [NO_TRACK_ID, 1, 2, 3] and ids[6] == [1, 2, 3] and ids[99] == [4, 1, 2, 3] and len(ids) == 100
    gap = [frames[0], *(frame(index, index / 25, np.empty((0, 2))) for index in range(1, 5)), frames[6]]
    assert ids_of(gap)[-1] == [1, 2, 3]  # frames without anybody tell nothing


def test_given_ids_stay_and_others_are_none_of_them():
    frames = [
        one._replace(track_ids=np.array([1, NO_TRACK_ID, 7 if one.frame.seconds < 2 else NO_TRACK_ID]))
        for one in walk(25)
    ]
    ids = ids_of(frames)
    assert ids[0] == [1, 2, 7] and ids[-1] == [1, 2, 3]
    assert ids_of(frames, GivenIds()) == [one.track_ids.tolist() for one in frames]
    whole = [one._replace(track_ids=np.array([2**62, -5, 0])) for one in frames]
    assert ids_of(whole) == [[2**62, -5, 0]] * len(frames)


def test_sixty_people_a_frame_and_boxes_at_the_border():
    places = np.stack(np.meshgrid(np.arange(20) * 70, np.arange(3) * 250), axis=-1).reshape(-1, 2)
    frames = [frame(index, index / 25, places + (3 * index, 0)) for index in range(40)]
    assert ids_of(frames) == [list(range(1, 61))] * 40
    walking_out = [frame(index, index / 25, np.array([(40 - 4.0 * index, 300)])) for index in range(15)]
    for one in walking_out:
        one.bboxes[:, 0::2] = np.clip(one.bboxes[:, 0::2], 0, 1280)
    assert ids_of(walking_out) == [[1]] * 15


def test_a_moving_camera_changes_no_ids():
    frames = walk(25)
    for index, one in enumerate(frames):
        one.bboxes[:] += np.tile([200 * np.sin(index / 12), 60 * np.cos(index / 9)], 2)
    assert ids_of(frames) == [[1, 2, 3]] * len(frames)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"high_score": "much"}, "high_score='much' must be a number."),
        ({"max_lost_seconds": -1}, "max_lost_seconds=-1 must be a number of at least 0."),
        ({"min_overlap": 0}, "min_overlap=0 must be a number above 0 and below 1."),
    ],
)
def test_a_setting_that_cannot_be_is_a_sentence(setting, words):
    with pytest.raises(ConfigError) as refused:
        Tracks(**setting)
    assert str(refused.value) == words
