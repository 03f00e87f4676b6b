"""OpenPose pictures: sizes, parts, resolutions and the face of 308 keypoints."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from records.made_up import pose_result

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.models.keypoint_sets import set_of_network
from sapiens_pl.products.openpose_pictures import OpenPosePictures

WHITE, BLUE = (255, 255, 255), (255, 0, 0)


def drawn(result, num_keypoints, **settings):
    content = OpenPosePictures(0.3, **settings).content(
        result, set_of_network("It", num_keypoints), lambda: np.empty(0)
    )
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)


def blobs(picture, colour):
    """How many there are of a colour, and how wide each is."""
    mask = (picture == colour).all(axis=2).astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    return count - 1, stats[1:, cv2.CC_STAT_WIDTH].tolist()


def face_of(num_keypoints, wh=(1000, 1000)):
    """Every keypoint at a place of its own, far from the others, those of the face alone sure."""
    spec = set_of_network("It", num_keypoints)
    grid = np.stack(np.meshgrid(np.arange(18), np.arange(18)), axis=2).reshape(-1, 2)[:num_keypoints]
    keypoints = ((grid + 0.5) / 18 * np.array(wh))[None].astype(np.float32)
    scores = np.zeros((1, num_keypoints), np.float32)
    scores[0, list(spec.parts["face"])] = 1
    return pose_result("a.jpg", 1, num_keypoints, keypoints=keypoints, keypoint_scores=scores, image_wh=wh)


@pytest.mark.parametrize(("resolution", "width"), [(512, 7), (768, 7), (1024, 7), (2048, 13), (256, 5)])
def test_points_of_a_face_are_as_wide_as_controlnet_has_them(resolution, width):
    result = face_of(133, (1500, 1000))
    picture = drawn(result, 133, resolution=resolution, parts=["face"])
    assert picture.shape == (resolution, round(resolution * 1.5 / 64) * 64, 3)
    count, widths = blobs(picture, WHITE)
    assert count == 68 and set(widths) == {width}  # the pupils are the eyes', which are not sure


def test_without_a_resolution_the_picture_is_as_large_as_the_photograph():
    assert drawn(face_of(133, (700, 530)), 133).shape == (530, 700, 3)
    assert drawn(face_of(133, (700, 530)), 133, resolution=512).shape == (512, 704, 3)


def test_the_face_of_308_has_what_was_measured_and_a_jaw_that_was_not():
    result = face_of(308, (1024, 1024))
    at = result.keypoint_set.names.index
    result.keypoints[0, at("r_protruding_point_of_tragus")] = (300, 300)
    result.keypoints[0, at("l_protruding_point_of_tragus")] = (700, 300)
    result.keypoints[0, at("tip_of_chin")] = (500, 700)
    with_line, without = (drawn(result, 308, parts=["face"], jaw=jaw) for jaw in (True, False))
    assert (without[700, 500] == WHITE).all() and not without[300, 300].any()
    added = (with_line != without).any(axis=2)
    for angle in np.linspace(0, np.pi, 17):
        x, y = 500 + 200 * np.cos(angle), 300 + 400 * np.sin(angle)
        assert (with_line[round(y) - 1, round(x) - 1] == WHITE).all(), angle
        added[int(y) - 6 : int(y) + 7, int(x) - 6 : int(x) + 7] = False
    assert not added.any()
    result.keypoint_scores[0, at("r_protruding_point_of_tragus")] = 0.1  # an ear that nobody sees
    assert (drawn(result, 308, parts=["face"]) == without).all()


def test_only_the_chosen_parts_are_drawn():
    spec = set_of_network("It", 133)
    result = face_of(133)
    result.keypoint_scores[:] = 1
    body, hands, face = (drawn(result, 133, parts=[part]) for part in ("body", "hands", "face"))
    assert blobs(body, WHITE)[0] == 0 == blobs(hands, WHITE)[0] and blobs(face, WHITE)[0] == 70
    left_hand = result.keypoints[0, spec.parts["left_hand"][4]].astype(int)
    assert (hands[left_hand[1], left_hand[0]] == BLUE).all() and not face[left_hand[1], left_hand[0]].any()
    assert (drawn(result, 133, parts=["body", "hands", "face"]) == drawn(result, 133)).all()


def test_settings_that_cannot_be_are_refused():
    for some, words in (
        ({"parts": ["feet"]}, "output.openpose_parts=.*feet.* must be a list of body, hands and face"),
        ({"parts": []}, "output.openpose_parts"),
        ({"jaw": "yes"}, "output.openpose_jaw=yes must be true or false"),
        ({"resolution": 10}, "output.resolution=10 must be a whole number of at least 64, or null"),
    ):
        with pytest.raises(ConfigError, match=words):
            OpenPosePictures(0.3, **some)
