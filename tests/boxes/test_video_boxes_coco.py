"""COCO files about frames of videos: by video id and frame id, by names, and results by the ids of such a list."""

from __future__ import annotations

import logging

import pytest
from videos import PEOPLE, by_frame, of_video, pictures_of, write

from sapiens_pl.boxes.coco_boxes import CocoBoxes
from sapiens_pl.core.errors import ConfigError

VIDEO = "a/walk.mp4"


def coco(image, videos=({"id": 3, "name": VIDEO},), frames=range(5), track="track_id"):
    """An annotation file whose images `image` describes, by their frames."""
    images = [{"id": 100 + frame, **image(frame)} for frame in frames]
    rows = [
        {"image_id": 100 + frame, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1], track: identity}
        for frame, rows in PEOPLE.items()
        for x1, y1, x2, y2, identity in rows
    ]
    rows = [{"id": number, **row} for number, row in enumerate(rows, 1)]
    return {"videos": list(videos), "images": images, "annotations": rows}


FORMS = {
    "ids": coco(lambda frame: {"video_id": 3, "frame_id": frame, "file_name": f"walk/{frame + 1:06d}.jpg"}),
    "no file names": coco(lambda frame: {"video_id": "3", "frame_index": frame}),
    "instance ids": coco(
        lambda frame: {"video_id": 3, "frame_id": frame, "file_name": str(frame)}, [{"id": 3, "name": "walk"}],
        track="instance_id",
    ),
    "own names": coco(lambda frame: {"file_name": f"{VIDEO}/walk_{frame:012d}"}, ()),
    "own files": coco(lambda frame: {"file_name": f"walk_{frame:012d}.jpg"}, ()),
    "numbered files": coco(lambda frame: {"file_name": f"walk/{frame:06d}.jpg"}, ()),
    "numbered files of a video": coco(lambda frame: {"file_name": f"a/walk.mp4/frame_{frame}.png"}, ()),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_annotations_about_frames(tmp_path, form):
    boxed = CocoBoxes(write(tmp_path / "boxes.json", FORMS[form]))(pictures_of({VIDEO: 5}, "photo.jpg"))
    assert by_frame(boxed) == of_video(VIDEO) and not boxed.failures
    assert {task.image_id for task in boxed.tasks if task.num_boxes} == {100, 102, 103}


def test_results_by_the_ids_of_a_list(tmp_path):
    listing = FORMS["ids"]
    results = [{**row, "score": 0.9, "id": 5} for row in listing["annotations"]]
    images_file = write(tmp_path / "images.json", {"videos": listing["videos"], "images": listing["images"]})
    file = write(tmp_path / "results.json", results)
    assert by_frame(CocoBoxes(file, images_file)(pictures_of({VIDEO: 5}))) == of_video(VIDEO)


def test_an_annotations_own_id_is_no_track(tmp_path):
    content = FORMS["ids"]
    content = {**content, "annotations": [{**row, "track_id": None} for row in content["annotations"]]}
    found = by_frame(CocoBoxes(write(tmp_path / "boxes.json", content))(pictures_of({VIDEO: 5})))
    assert [row[4] for rows in found.values() for row in rows] == [None] * 4


def test_photographs_beside_frames_keep_their_ids(tmp_path):
    content = coco(lambda frame: {"video_id": 3, "frame_id": frame, "file_name": f"{frame}"})
    content["images"].append({"id": 7, "file_name": "photo.jpg"})
    content["annotations"].append({"id": 12, "image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4]})
    boxed = CocoBoxes(write(tmp_path / "boxes.json", content))(pictures_of({VIDEO: 5}, "photo.jpg"))
    assert by_frame(boxed) == {**of_video(VIDEO), "photo.jpg": [(1, 2, 4, 6, 12)]}


def test_a_list_that_counts_from_1_is_refused_until_that_is_said(tmp_path):
    content = coco(lambda frame: {"video_id": 3, "frame_id": frame + 1})
    file = write(tmp_path / "boxes.json", content)
    with pytest.raises(ConfigError, match="no frame 0, but a frame 5 of a/walk.mp4.*say boxes.first_frame=1"):
        CocoBoxes(file)(pictures_of({VIDEO: 5}))
    with pytest.raises(ConfigError, match="a frame 1 and no frame 0, so it is not clear which frame is the first"):
        CocoBoxes(file)(pictures_of({VIDEO: 9}))
    assert by_frame(CocoBoxes(file, first_frame=1)(pictures_of({VIDEO: 5}))) == of_video(VIDEO)


def test_frames_that_are_not_there_or_not_chosen(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    file = write(tmp_path / "boxes.json", FORMS["ids"])
    boxed = CocoBoxes(file)(pictures_of({VIDEO: 5}, every=2))
    assert by_frame(boxed) == {(VIDEO, frame): PEOPLE[frame] for frame in (0, 2)} and not boxed.failures
    assert "also has 2 frames that are none of the run's" in caplog.text
    boxed = CocoBoxes(file)(pictures_of({VIDEO: 3}))
    assert [failure.image for failure in boxed.failures] == [f"frames 3 to 4 of {VIDEO}"]
    assert by_frame(boxed) == {(VIDEO, frame): PEOPLE[frame] for frame in (0, 2)}


def test_a_video_that_is_not_among_the_pictures(tmp_path):
    content = coco(lambda frame: {"video_id": 3, "frame_id": frame}, [{"id": 3, "name": "jump.mp4"}])
    with pytest.raises(ConfigError, match="means none of the 5 images.*frame 0 of the video 3"):
        CocoBoxes(write(tmp_path / "boxes.json", content))(pictures_of({VIDEO: 5}))
