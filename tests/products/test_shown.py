"""A result as somebody looks at it from Python: drawn, in a notebook, and as a data frame."""

from __future__ import annotations

import cv2
import numpy as np
import pandas
import pytest
from PIL import Image

from sapiens_pl import results_table
from sapiens_pl.core.errors import MissingImageError
from sapiens_pl.core.instance_scores import instance_scores
from sapiens_pl.core.structures import ShardMember
from sapiens_pl.models.keypoint_sets import our_set
from sapiens_pl.products.overlay import draw_poses
from tests.records.made_up import failed_result, frame_result, pose_result

PIXELS = np.full((480, 640, 3), 90, np.uint8)


@pytest.fixture
def result(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), PIXELS)
    bboxes = np.array([[100, 100, 300, 400], [320, 50, 500, 470.0]])
    way = np.linspace(0.1, 0.9, 17)[None, :, None]
    keypoints = (bboxes[:, None, :2] + way * (bboxes[:, None, 2:] - bboxes[:, None, :2])).astype(np.float32)
    return pose_result("a.png", 2, path=str(tmp_path / "a.png"), bboxes=bboxes, keypoints=keypoints)


def test_a_result_is_drawn_on_its_picture_or_on_pixels_of_any_kind(result):
    expected = PIXELS.copy()
    draw_poses(expected, result, result.keypoint_set, 0.3)
    kinds = (None, result.path, PIXELS, Image.fromarray(PIXELS), PIXELS[:, :, 0])
    for image in kinds:
        np.testing.assert_array_equal(result.draw(image), expected)
    assert (PIXELS == 90).all(), "the pixels given stay as they are"
    assert result.draw(max_side=320).shape == (240, 320, 3)
    assert (result.draw(score_threshold=2.0, labels=False) != 90).any(axis=2).mean() < 0.03, "boxes alone"
    assert (result.draw(parts=["body"]) == expected).all()


def test_what_cannot_be_drawn(result, tmp_path):
    for other in (result._replace(path=""), frame_result("walk.mp4", 3), result._replace(member=ShardMember("a", "b"))):
        with pytest.raises(ValueError, match=r"pass its pixels, draw\(image\)"):
            other.draw()
        assert other._repr_jpeg_() is None
    with pytest.raises(ValueError, match="The image has 640x300 px, and the poses of a.png .* 640x480"):
        result.draw(PIXELS[:300])
    with pytest.raises(ValueError, match="parts=\\['face'\\] are not in the set coco; it has body"):
        result.draw(parts=["face"])
    with pytest.raises(TypeError, match="image 0 is int 5"):
        result.draw(5)
    for option in ({"max_side": 0}, {"score_threshold": "high"}):
        with pytest.raises(ValueError, match=f"{next(iter(option))}=.* must be a"):
            result.draw(**option)
    gone = result._replace(path=str(tmp_path / "gone.png"))
    with pytest.raises(MissingImageError):
        gone.draw()
    assert gone._repr_jpeg_() is None and failed_result("x.jpg")._repr_jpeg_() is None


def test_a_notebook_shows_the_picture(result, tmp_path):
    shown = cv2.imdecode(np.frombuffer(result._repr_jpeg_(), np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(shown.astype(int) - result.draw()).mean() < 4
    cv2.imwrite(str(tmp_path / "large.png"), np.zeros((1000, 3000, 3), np.uint8))
    large = result._replace(path=str(tmp_path / "large.png"), image_wh=(3000, 1000))
    assert cv2.imdecode(np.frombuffer(large._repr_jpeg_(), np.uint8), 1).shape == (300, 900, 3)


def test_a_table_of_results_with_a_row_a_person():
    results = [pose_result("a.jpg", 2), pose_result("b.jpg", 0), pose_result("c.jpg", 1)]
    table = results_table(results)
    assert isinstance(table, pandas.DataFrame) and table["image"].tolist() == ["a.jpg", "a.jpg", "c.jpg"]
    np.testing.assert_array_equal(table["left_wrist_x"], np.concatenate([r.keypoints[:, 9, 0] for r in results]))
    np.testing.assert_array_equal(table["x2"], np.concatenate([r.bboxes[:, 2] for r in results]))
    expected = np.concatenate([instance_scores(r.bbox_scores, r.keypoint_scores) for r in results])
    np.testing.assert_array_equal(table["score"], expected)
    assert "video" not in table and table["instance_id"].tolist() == [0, 1, 0]
    pandas.testing.assert_frame_equal(results_table(iter(results)), table)
    pandas.testing.assert_frame_equal(results_table(results[0]), table[:2])
    empty = results_table([results[1]])
    assert len(empty) == 0 and list(empty.columns) == list(table.columns) and len(results_table([])) == 0


def test_a_table_of_results_with_a_row_a_keypoint():
    results = [pose_result("a.jpg", 2), pose_result("c.jpg", 1)]
    table = results_table(results, long=True)
    assert len(table) == 3 * 17 and list(table.columns[-4:]) == ["keypoint", "x", "y", "keypoint_score"]
    row = table[(table["image"] == "a.jpg") & (table["instance_id"] == 1) & (table["keypoint"] == "right_knee")]
    np.testing.assert_array_equal(row[["x", "y"]].to_numpy()[0], results[0].keypoints[1, 14])
    assert row["keypoint_score"].item() == results[0].keypoint_scores[1, 14]


def test_a_table_of_frames_says_when_and_who():
    results = [frame_result("walk.mp4", 3, 2), pose_result("a.jpg")]
    table = results_table(results)
    of_frame = table[:2]
    assert of_frame["frame"].tolist() == [3, 3] and of_frame["track_id"].tolist() == [1, 2]
    assert of_frame["video"].tolist() == ["walk.mp4"] * 2 and of_frame["seconds"].tolist() == [3 / 25] * 2
    assert table.iloc[2][["video", "frame", "seconds", "track_id"]].isna().all()
    assert len(results_table(results, long=True)) == 3 * 17


def test_results_of_different_sets_are_no_table():
    with pytest.raises(
        ValueError, match="KeypointSet.coco, 17 keypoints. and KeypointSet.coco_wholebody, 133 keypoints"
    ):
        results_table([pose_result("a.jpg"), pose_result("b.jpg", num_keypoints=133)])
    assert repr(our_set("goliath_308")) == "KeypointSet(goliath, 308 keypoints)"
