from __future__ import annotations

import numpy as np
import pandas
import pytest

from sapiens_pl.core.keypoints import keypoint_spec
from sapiens_pl.core.structures import PoseResult

COUNTS = {
    17: {"body": 17},
    133: {"body": 17, "feet": 6, "face": 68, "left_hand": 21, "right_hand": 21},
    308: {"body": 17, "feet": 6, "face": 243, "left_hand": 21, "right_hand": 21},
}


@pytest.mark.parametrize("num_keypoints", COUNTS)
def test_subsets_have_what_their_names_say(num_keypoints):
    spec = keypoint_spec(num_keypoints)
    assert {name: len(set(part)) for name, part in spec.subsets.items()} == COUNTS[num_keypoints]
    named = {name: [spec.names[index] for index in part] for name, part in spec.subsets.items()}
    assert named["body"] == list(keypoint_spec(17).names)
    if num_keypoints > 17:
        assert named["feet"][:3] == ["left_big_toe", "left_small_toe", "left_heel"]
        for side in ("left", "right"):
            hand = named[f"{side}_hand"]
            assert all(name.startswith(side) for name in hand)
            assert [hand[index] for index in (4, 8, 20)] == [
                f"{side}_{n}4" for n in ("thumb", "forefinger", "pinky_finger")
            ]
        assert not any("hand" in name or "toe" in name or "shoulder" in name for name in named["face"])


@pytest.mark.parametrize("num_keypoints", [133, 308])
def test_a_mirror_makes_one_hand_the_other_and_keeps_the_rest(num_keypoints):
    spec = keypoint_spec(num_keypoints)
    mirrored = {name: {spec.flip_indices[index] for index in part} for name, part in spec.subsets.items()}
    assert [spec.flip_indices[index] for index in spec.subsets["left_hand"]] == list(spec.subsets["right_hand"])
    for name in ("body", "feet", "face"):
        assert mirrored[name] == set(spec.subsets[name])


def test_a_set_of_another_size_has_numbers_for_names_and_no_parts():
    spec = keypoint_spec(20)
    assert spec.names[19] == "keypoint_19" and spec.flip_indices is None and spec.subsets == {}


@pytest.mark.parametrize("num_people", [0, 2])
def test_a_data_frame_has_columns_by_the_keypoints_names(num_people):
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 99, (num_people, 133, 2)).astype(np.float32)
    scores = rng.uniform(0, 1, (num_people, 133)).astype(np.float32)
    bboxes = rng.uniform(0, 99, (num_people, 4))
    ids = np.arange(num_people) + 5
    result = PoseResult("a.jpg", points, scores, bboxes, np.ones(num_people), ids, (9, 9), "a.jpg", ())
    frame = result.dataframe()
    assert isinstance(frame, pandas.DataFrame) and len(frame) == num_people
    assert len(frame.columns) == 6 + 3 * 133 and frame["instance_id"].tolist() == ids.tolist()
    np.testing.assert_array_equal(frame[["left_thumb4_x", "left_thumb4_y"]], points[:, 95])
    np.testing.assert_array_equal(frame["left_thumb4_score"], scores[:, 95])
    np.testing.assert_array_equal(frame[["x1", "y1", "x2", "y2"]], bboxes)
