"""OpenPose's JSON files, point by point, and as its readers take them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.models.keypoint_sets import set_of_network
from sapiens_pl.products.openpose_json import OpenPoseJson

ARMS = ["nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist"]
LEGS = ["right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle"]
HEAD = ["right_eye", "left_eye", "right_ear", "left_ear"]
FEET = ["left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel"]
NAMES_25, NAMES_18 = [*ARMS, "mid_hip", *LEGS, *HEAD, *FEET], [*ARMS, *LEGS, *HEAD]


def people_of(num_keypoints: int, count: int = 2) -> PoseResult:
    rng = np.random.default_rng(num_keypoints)
    return PoseResult(
        "", rng.uniform(-50, 700, (count, num_keypoints, 2)).astype(np.float32),
        rng.uniform(-0.1, 1.1, (count, num_keypoints)).astype(np.float32), np.zeros((count, 4)), np.ones(count),
        np.arange(count), (640, 480), "a.jpg", (),
    )  # fmt: skip


def written(result: PoseResult, model: str = "BODY_25", scores: bool = True) -> dict:
    spec = set_of_network("It", result.keypoints.shape[1])
    return json.loads(OpenPoseJson(model, scores, 0.3).content(result, spec, lambda: np.empty(0)))


def triples(person: dict, part: str) -> np.ndarray:
    return np.reshape(person[f"{part}_keypoints_2d"], (-1, 3))


@pytest.mark.parametrize("num_keypoints", [17, 133, 308])
@pytest.mark.parametrize(("model", "names"), [("BODY_25", NAMES_25), ("BODY_18", NAMES_18)])
def test_each_point_stands_in_openposes_place(num_keypoints, model, names):
    result, spec = people_of(num_keypoints), set_of_network("It", num_keypoints)
    content = written(result, model)
    assert (content["version"], content["canvas_width"], content["canvas_height"]) == (1.3, 640, 480)
    assert len(content["people"]) == 2
    for person, keypoints, scores in zip(content["people"], result.keypoints, result.keypoint_scores.clip(0, 1)):
        found = dict(zip(names, triples(person, "pose"), strict=True))
        for name, point in found.items():
            if name in spec.names and name != "neck":  # Goliath's is another point
                index = spec.names.index(name)
                np.testing.assert_allclose(point, [*keypoints[index], scores[index]], atol=6e-4)
            elif name not in ("neck", "mid_hip"):
                assert num_keypoints == 17 and point.tolist() == [0, 0, 0], name
        for middle, of in (("neck", "shoulder"), ("mid_hip", "hip")):
            if middle in found:
                both = [found[f"{side}_{of}"] for side in ("left", "right")]
                np.testing.assert_allclose(found[middle][:2], (both[0] + both[1])[:2] / 2, atol=2e-3)
                assert found[middle][2] == min(both[0][2], both[1][2])


@pytest.mark.parametrize(("num_keypoints", "face", "hand"), [(17, 0, 0), (133, 70, 21), (308, 70, 21)])
def test_hands_and_face_are_there_where_the_set_has_them(num_keypoints, face, hand):
    result, spec = people_of(num_keypoints), set_of_network("It", num_keypoints)
    for person, keypoints in zip(written(result)["people"], result.keypoints):
        assert len(triples(person, "face")) == face
        for side in ("left", "right"):
            points = triples(person, f"hand_{side}")
            assert len(points) == hand
            np.testing.assert_allclose(points[:, :2], keypoints[list(spec.parts.get(f"{side}_hand", ()))], atol=6e-4)
        if num_keypoints == 308:
            points, at = triples(person, "face"), spec.names.index
            assert np.flatnonzero(points[:17].any(axis=1)).tolist() == [8]  # of the jaw, only the chin
            for place, name in ((8, "tip_of_chin"), (30, "tip_of_nose"), (48, "r_outer_corner_of_mouth")):
                np.testing.assert_allclose(points[place, :2], keypoints[at(name)], atol=6e-4)
            assert points[17:].any(axis=1).all()
        elif face:
            expected = keypoints[[*spec.parts["face"], *map(spec.names.index, ("right_eye", "left_eye"))]]
            np.testing.assert_allclose(triples(person, "face")[:, :2], expected, atol=6e-4)


def test_without_scores_a_point_is_there_for_controlnet_or_is_three_zeros():
    result = people_of(133)
    for person, scores in zip(written(result, "BODY_18", False)["people"], result.keypoint_scores):
        nose, eye = triples(person, "pose")[[0, 14]]
        assert nose[2] == (scores[0] >= 0.3) and eye[2] == (scores[2] >= 0.3)
        for part in ("pose", "face", "hand_left", "hand_right"):
            points = triples(person, part)
            assert set(points[:, 2]) == {0, 1}
            assert not points[points[:, 2] == 0].any() and points[points[:, 2] == 1, :2].any()


def test_nobody_and_settings_that_cannot_be():
    assert written(people_of(17, 0))["people"] == []
    for given, words in (
        (("BODY_135", True, 0.3), "openpose_model=BODY_135 must be BODY_25 or BODY_18"),
        (("BODY_25", "yes", 0.3), "openpose_scores=yes must be true or false"),
        (("BODY_25", True, "high"), "overlay_score_threshold=high must be a number"),
    ):
        with pytest.raises(ConfigError, match=words):
            OpenPoseJson(*given)
