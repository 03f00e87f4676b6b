"""The tables from our keypoints to other programs' points, and the subsets that people correct."""

from __future__ import annotations

import numpy as np
import pytest
from records.made_up import pose_result

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.models.keypoint_sets import our_set
from sapiens_pl.models.keypoint_sets.maps import TABLES, convert_keypoints, keypoint_table
from sapiens_pl.models.keypoint_sets.subsets import SUBSETS, subset_columns, subset_of

GOLIATH, WHOLEBODY = our_set("goliath_308"), our_set("coco_wholebody_133")


@pytest.mark.parametrize("name", TABLES)
def test_every_line_of_a_table_names_keypoints_and_has_a_reason(name):
    table = keypoint_table(name)
    assert len({point.name for point in table}) == len(table)
    for point in table:
        assert set(point.of) <= set(GOLIATH.names) and len(point.reason) > 20, point


def test_the_tables_are_as_long_as_what_they_are_named_after():
    lengths = {
        "coco_17": 17,
        "coco_wholebody_133": 133,
        "body_25": 25,
        "body_18": 18,
        "openpose_face": 70,
        "smpl_24": 24,
    }
    assert {name: len(keypoint_table(name)) for name in TABLES} == lengths


def test_a_mirrored_person_has_mirrored_points():
    """Goliath's flips and COCO-WholeBody's were written down by different people: a wrong side would break this."""
    table = keypoint_table("coco_wholebody_133")
    number = {name: index for index, name in enumerate(GOLIATH.names)}
    for place, partner in enumerate(WHOLEBODY.flip_indices):
        mirrored = {GOLIATH.flip_indices[number[name]] for name in table[place].of}
        assert mirrored == {number[name] for name in table[partner].of}, WHOLEBODY.names[place]


def test_points_are_the_middle_of_their_keypoints_with_the_lowest_score():
    result = pose_result("a.jpg", 3, 308)
    for name in TABLES:
        found = convert_keypoints(result, name.upper())
        for place, point in enumerate(keypoint_table(name)):
            columns = [GOLIATH.names.index(keypoint) for keypoint in point.of]
            if columns:
                middle = result.keypoints[:, columns].mean(axis=1)
                np.testing.assert_allclose(found.keypoints[:, place], middle, rtol=1e-6)
                np.testing.assert_array_equal(
                    found.keypoint_scores[:, place], result.keypoint_scores[:, columns].min(1)
                )
            else:
                assert not found.keypoints[:, place].any() and not found.keypoint_scores[:, place].any()
        assert len(found.keypoint_set.names) == len(keypoint_table(name)) == found.keypoints.shape[1]
        assert found.bboxes is result.bboxes


def test_the_smaller_sets_have_what_they_have():
    of_17, of_133 = pose_result("a.jpg", 2, 17), pose_result("a.jpg", 2, 133)
    np.testing.assert_array_equal(convert_keypoints(of_17, "coco_17").keypoints, of_17.keypoints)
    np.testing.assert_array_equal(convert_keypoints(of_133, "coco_wholebody_133").keypoints, of_133.keypoints)
    np.testing.assert_array_equal(convert_keypoints(of_133, "coco_17").keypoints, of_133.keypoints[:, :17])
    face = convert_keypoints(of_133, "openpose_face").keypoints
    np.testing.assert_array_equal(face, of_133.keypoints[:, [*range(23, 91), 2, 1]])
    feet = convert_keypoints(of_17, "body_25").keypoint_scores[:, 19:]
    assert feet.shape == (2, 6) and not feet.any()
    with pytest.raises(ConfigError, match="coco has no point of openpose_face"):
        convert_keypoints(of_17, "openpose_face")


def test_faces_stand_where_a_frontal_face_has_them():
    """A face whose Goliath points are set by hand, seen from the front: the person's right is on the left."""
    result = pose_result("a.jpg", 1, 308)
    places = {
        "r_outer_end_of_upper_lash_line": (20, 50), "r_outer_end_of_lower_lash_line": (20, 50),
        "r_inner_end_of_upper_lash_line": (36, 50), "r_inner_end_of_lower_lash_line": (36, 50),
        "l_inner_end_of_upper_lash_line": (64, 50), "l_inner_end_of_lower_lash_line": (64, 50),
        "l_outer_end_of_upper_lash_line": (80, 50), "l_outer_end_of_lower_lash_line": (80, 50),
    }  # fmt: skip
    for lid, y in (("upper", 46), ("lower", 53)):
        for eighth, number in enumerate((3, 1, 4, None, 5, 2, 6), 1):
            for side, start in (("r", 20), ("l", 64)):
                middle = f"midpoint_{number}" if number else "centerpoint"
                places[f"{side}_{middle}_of_{lid}_lash_line"] = (start + 2 * eighth, y)
    for name, place in places.items():
        result.keypoints[0, GOLIATH.names.index(name)] = place
    face = convert_keypoints(result, "openpose_face").keypoints[0]
    eyes = [(20, 50), (25, 46), (31, 46), (36, 50), (31, 53), (25, 53)]
    np.testing.assert_allclose(face[36:42], eyes)
    np.testing.assert_allclose(face[42:48], [(64, 50), (69, 46), (75, 46), (80, 50), (75, 53), (69, 53)])


def test_an_unknown_table_is_told():
    with pytest.raises(ConfigError, match="h36m is not a table of keypoints; choose from coco_17"):
        convert_keypoints(pose_result("a.jpg"), "h36m")
    with pytest.raises(ConfigError, match="does not say what its keypoints are"):
        convert_keypoints(pose_result("a.jpg", keypoint_set=None), "coco_17")
    with pytest.raises(ConfigError, match="custom has no point of body_25"):
        convert_keypoints(pose_result("a.jpg", 1, 5), "body_25")


def test_the_command_python_knows_it_without_torch():
    import sapiens_pl

    assert sapiens_pl.convert_keypoints is convert_keypoints


@pytest.mark.parametrize("num_keypoints", [17, 133, 308, 5])
@pytest.mark.parametrize("subset", SUBSETS)
def test_a_subset_is_a_set_of_its_own(num_keypoints, subset):
    whole = pose_result("a.jpg", 1, num_keypoints).keypoint_set
    columns = subset_columns(whole, subset)
    part = subset_of(whole, columns)
    assert part.names == tuple(whole.names[column] for column in columns) and len(set(columns)) == len(columns)
    for name, indices in part.parts.items():
        assert [part.names[index] for index in indices] == [whole.names[index] for index in whole.parts[name]]
    if part.flip_indices is not None:
        flips = [whole.names[whole.flip_indices[column]] for column in columns]
        assert [part.names[index] for index in part.flip_indices] == flips
    assert part == whole or subset != "all"
