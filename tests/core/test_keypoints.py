from __future__ import annotations

import json

import numpy as np
import pandas
import pytest

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.keypoint_descriptions import described_set
from sapiens_pl.core.keypoints import KeypointSet, flip_indices_for, numbered_set
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.models.keypoint_sets import OURS, our_set


@pytest.mark.parametrize("num_people", [0, 2])
def test_a_data_frame_has_columns_by_the_names_of_its_keypoint_set(num_people):
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 99, (num_people, 3, 2)).astype(np.float32)
    scores = rng.uniform(0, 1, (num_people, 3)).astype(np.float32)
    bboxes = rng.uniform(0, 99, (num_people, 4))
    ids = np.arange(num_people) + 5
    result = PoseResult("a.jpg", points, scores, bboxes, np.ones(num_people), ids, (9, 9), "a.jpg", ())
    frame = result._replace(keypoint_set=KeypointSet("insect", ("head", "left_wing", "right_wing"))).dataframe()
    assert isinstance(frame, pandas.DataFrame) and len(frame) == num_people
    assert len(frame.columns) == 6 + 3 * 3 and frame["instance_id"].tolist() == ids.tolist()
    np.testing.assert_array_equal(frame[["right_wing_x", "right_wing_y"]], points[:, 2])
    np.testing.assert_array_equal(frame["right_wing_score"], scores[:, 2])
    np.testing.assert_array_equal(frame[["x1", "y1", "x2", "y2"]], bboxes)
    assert list(result.dataframe().columns[6:8]) == ["keypoint_0_x", "keypoint_0_y"]


def test_of_a_numbered_set_nothing_is_known():
    numbered = numbered_set(20)
    assert numbered.names[19] == "keypoint_19" and numbered.num_keypoints == 20
    assert numbered[2:] == (None, (), None, {})
    with pytest.raises(ConfigError, match=r"A flip test needs to know left from right, which .* custom \(20"):
        flip_indices_for(numbered)


@pytest.mark.parametrize("keypoint_set", [*map(our_set, OURS), numbered_set(3)], ids=[*OURS, "numbered"])
def test_a_set_comes_back_from_its_description_through_json(keypoint_set):
    assert described_set("It", json.loads(json.dumps(keypoint_set.description()))) == keypoint_set
