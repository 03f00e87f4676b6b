"""What is said of swapped sides and long limbs, on annotated people of photographs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import COCO
from records.made_up import pose_result

from sapiens_pl.models.keypoint_sets import our_set
from sapiens_pl.products.limbs import LONGEST, SEGMENTS, longest_limbs
from sapiens_pl.products.suspicions import duplicates_of, low_excesses, low_limit, severities
from sapiens_pl.products.swaps import RULES, swap_candidates

BODY, WHOLE = our_set("coco_17"), our_set("coco_wholebody_133")
LISTS = ("keypoints", "foot_kpts", "face_kpts", "lefthand_kpts", "righthand_kpts")


@pytest.fixture(scope="module")
def people() -> np.ndarray:
    """(12, 133, 2), NaN for what is not annotated."""
    content = json.loads((COCO / "test_coco_wholebody.json").read_text())
    rows = [[value for key in LISTS for value in person[key]] for person in content["annotations"]]
    points = np.array(rows, float).reshape(-1, 133, 3)
    points[points[..., 2] == 0] = np.nan
    return points[~np.isnan(points[:, :17, 0]).all(axis=1), :, :2]


def swapped(people: np.ndarray, indices) -> np.ndarray:
    other = people.copy()
    for index in indices:
        other[:, index] = people[:, WHOLE.flip_indices[index]]
    return other


def test_nobody_is_a_candidate_as_annotated(people):
    assert len(people) == 12
    assert not swap_candidates(people, WHOLE).any() and not swap_candidates(people[:, :17], BODY).any()
    assert longest_limbs(people[:, :17])[0].max() < 1.25 < LONGEST


@pytest.mark.parametrize(
    "what, indices, rule, least",
    [
        ("everything", range(133), "face", 9),
        ("arms", range(5, 11), "trunk", 10),
        ("elbows and wrists", range(7, 11), "arms", 8),
        ("legs", range(11, 17), "trunk", 10),
        ("knees and ankles", range(13, 17), "legs", 8),
        ("hands", range(91, 133), "hands", 2),
        ("feet", range(17, 23), "feet", 4),
        ("all but the face", range(5, 17), "head", 5),
    ],
)
def test_those_who_are_swapped_are_found(people, what, indices, rule, least):
    found = swap_candidates(swapped(people, indices), WHOLE)
    assert found[:, RULES.index(rule)].sum() >= least


def test_it_is_the_same_however_the_camera_is_held_and_wherever_the_person_is(people):
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    for each in (people, swapped(people, range(5, 11))):
        expected = swap_candidates(each, WHOLE)
        np.testing.assert_array_equal(swap_candidates(each @ turn * 3 + (500, -70), WHOLE), expected)
        assert (swap_candidates(each * (-1, 1), WHOLE)[:, 0] >= expected[:, 0]).all(), "a mirrored face is named"


def test_limbs_three_times_too_long_are_found_and_named(people):
    body = people[:, :17]
    for number, segment in enumerate(SEGMENTS[:8]):
        long = body.copy()
        long[:, segment.end] = body[:, segment.start] + 3 * (body[:, segment.end] - body[:, segment.start])
        ratios, which = longest_limbs(long)
        is_seen = ~np.isnan(long[:, segment.end, 0]) & (ratios > 0)
        found = is_seen & (ratios > LONGEST)
        assert found.sum() >= 0.7 * is_seen.sum() and found.any()
        assert (which[found] == number).mean() > 0.7


def test_duplicates_are_the_worse_of_two():
    result = pose_result("a.jpg", 3)
    result.keypoints[2] = result.keypoints[0] + 1
    result.bboxes[:] = (0, 0, 500, 500)
    result.keypoint_scores[:] = np.array([0.5, 0.9, 0.6])[:, None]
    likeness, twins = duplicates_of(result, result.keypoint_set)
    assert likeness[0] > 0.9 and twins[0] == 2 and likeness[1] == 0 and likeness[2] < 0.5
    assert duplicates_of(pose_result("b.jpg", 1), result.keypoint_set)[0].tolist() == [0]


def test_low_is_what_lies_apart_and_is_not_sure():
    assert low_limit(np.array([])) == 0.3
    assert low_limit(np.full(100, 0.9)) == 0.5, "others are surer, but that is sure enough"
    assert low_limit(np.linspace(0, 1, 100)) == 0.3
    assert 0.3 < low_limit(np.linspace(0.55, 0.75, 100)) < 0.5
    assert low_excesses(np.array([0.6, 0.25, -1.0]), 0.5).tolist() == [0, 2, 500]
    assert severities(np.array([0.0, 1.0, 2.0])).tolist() == [0, 0.5, 0.75]
