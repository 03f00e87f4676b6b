"""One JSON file a video: mmpose's list of frames, with times, tracks and smoothed poses."""

from __future__ import annotations

import json

import numpy as np
from products.made import film_of, smoothed
from records.made_up import frame_result

from sapiens_pl.core.structures import NO_TRACK_ID
from sapiens_pl.products.frames_json import FramesJson
from sapiens_pl.products.json_files import result_json

WALK = "a/walk.mp4"


def written(tmp_path, results) -> dict:
    FramesJson().write(film_of(results), tmp_path / "film.json")
    return json.loads((tmp_path / "film.json").read_text())


def test_each_frame_has_its_index_its_time_and_its_people_as_photographs_have_them(tmp_path):
    results = [frame_result(WALK, index, people) for index, people in ((0, 2), (3, 0), (4, 1))]
    content = written(tmp_path, results)
    of_photograph = json.loads(result_json(results[0], results[0].keypoint_set))
    assert content["meta_info"] == of_photograph["meta_info"]
    assert content["video"] == {"path": WALK, "width": 640, "height": 480}
    frames = content["instance_info"]
    assert [frame["frame_id"] for frame in frames] == [0, 3, 4]
    assert [(frame["pts"], frame["seconds"]) for frame in frames] == [(0, 0), (1536, 0.12), (2048, 0.16)]
    for frame, result in zip(frames, results):
        expected = json.loads(result_json(result, result.keypoint_set))["instance_info"]
        assert [person.pop("track_id") for person in frame["instances"]] == [*range(1, len(expected) + 1)]
        assert frame["instances"] == expected  # keypoints, keypoint_scores, bbox, bbox_score, as mmpose names them


def test_the_file_is_read_line_by_line_as_well(tmp_path):
    written(tmp_path, [frame_result(WALK, index) for index in range(5)])
    lines = (tmp_path / "film.json").read_text().splitlines()
    frames = [json.loads(line.rstrip(",")) for line in lines if line.startswith('{"frame_id"')]
    assert [frame["frame_id"] for frame in frames] == [0, 1, 2, 3, 4]


def test_smoothed_poses_stand_beside_the_raw_ones_and_who_is_bridged_is_marked(tmp_path):
    raw = frame_result(WALK, 0, 2)
    raw = raw._replace(track_ids=np.array([7, NO_TRACK_ID]))
    (frame,) = written(tmp_path, [smoothed(raw, 9)])["instance_info"]
    one, other, bridged = frame["instances"]
    assert (one["track_id"], other["track_id"], bridged["track_id"]) == (7, None, 9)
    for row, person in enumerate((one, other)):
        np.testing.assert_allclose(person["keypoints"], raw.keypoints[row], atol=6e-4)
        np.testing.assert_allclose(person["keypoints_smoothed"], raw.keypoints[row] + 0.5, atol=6e-4)
        assert "bridged" not in person
    assert bridged["bridged"] is True and bridged["instance_id"] is None and bridged["bbox_score"] is None
    np.testing.assert_allclose(bridged["keypoints"], raw.keypoints[0] + 0.5, atol=6e-4)
