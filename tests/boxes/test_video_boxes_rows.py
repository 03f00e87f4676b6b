"""Frames and times of videos in JSON and CSV: the same boxes in every form, and what cannot be meant."""

from __future__ import annotations

import json
import logging

import pytest
from videos import PEOPLE, by_frame, of_video, pictures_of, write

from sapiens_pl.boxes.csv_boxes import CsvBoxes
from sapiens_pl.boxes.json_boxes import JsonBoxes
from sapiens_pl.core.errors import ConfigError

VIDEO = "a/walk.mp4"
CORNERS = {frame: [list(row[:4]) for row in rows] for frame, rows in PEOPLE.items()}
IDS = {frame: [row[4] for row in rows] for frame, rows in PEOPLE.items()}
HEADER = "video,frame,x1,y1,x2,y2,track_id"


def entries(**where):
    """An entry a frame; `where` gives keys by functions of the frame."""
    return [
        {**{key: value(frame) for key, value in where.items()}, "bboxes": CORNERS[frame], "ids": IDS[frame]}
        for frame in PEOPLE
    ]


def lines(header, where):
    rows = [(frame, *row) for frame, rows in PEOPLE.items() for row in rows]
    return "".join(
        f"{line}\n" for line in [header, *(f"{where(row[0])},{','.join(map(str, row[1:]))}" for row in rows)]
    )


def mmpose(shift=0):
    people = {
        frame: [{"bbox": [box], "bbox_score": 0.9, "track_id": id_, "instance_id": n, "keypoints": []}
                for n, (box, id_) in enumerate(zip(CORNERS[frame], IDS[frame]))]
        for frame in PEOPLE
    }  # fmt: skip
    frames = [{"frame_id": frame + shift, "instances": people.get(frame, [])} for frame in range(5)]
    return {"meta_info": {}, "instance_info": frames}


@pytest.mark.parametrize(
    "content",
    [
        entries(video=lambda frame: VIDEO, frame=lambda frame: frame),
        entries(video=lambda frame: "walk", frame_id=lambda frame: str(frame)),
        entries(video=lambda frame: "C:\\clips\\A\\walk.mp4", frame_index=lambda frame: float(frame)),
        entries(frame=lambda frame: frame),
        entries(image=lambda frame: VIDEO, frame=lambda frame: frame),
        entries(image=lambda frame: f"{VIDEO}/walk_{frame:012d}"),
        entries(image=lambda frame: f"/else/a/walk.mp4/walk_{frame:012d}.jpg"),
        entries(image=lambda frame: f"walk_{frame:012d}.png"),
        entries(video=lambda frame: VIDEO, seconds=lambda frame: frame / 25),
        entries(time=lambda frame: round(frame / 25, 2)),
        entries(seconds=lambda frame: frame / 25 - 0.015, video=lambda frame: VIDEO),
        entries(seconds=lambda frame: frame / 25 + 0.015),
        {"video": VIDEO, "frames": entries(frame=lambda frame: frame)},
        mmpose(),
        {"video": {"path": VIDEO}, **mmpose()},
        "".join(json.dumps(entry) + "\n" for entry in entries(frame=lambda frame: frame)),
        [
            {"video": VIDEO, "frame": frame, "bbox": row[:4], "track_id": row[4], "instance_id": 0, "id": 1}
            for frame, rows in PEOPLE.items()
            for row in rows
        ],
    ],
)
def test_json_about_frames(tmp_path, content):
    boxed = JsonBoxes(write(tmp_path / "boxes.json", content))(pictures_of({VIDEO: 5}, "photo.jpg"))
    assert by_frame(boxed) == of_video(VIDEO) and not boxed.failures


@pytest.mark.parametrize("odd", ["", "never\n"], ids=["plain", "with a bad line"])
@pytest.mark.parametrize(
    ("header", "where"),
    [
        (HEADER, lambda frame: f"{VIDEO},{frame}"),
        (HEADER, lambda frame: f"{VIDEO},{frame}.0"),
        (HEADER, lambda frame: f" walk ,{frame}"),
        ("Frame_ID,x1,y1,x2,y2,id", lambda frame: frame),
        ("video,seconds,x1,y1,x2,y2,id", lambda frame: f"{VIDEO},{frame / 25 + 0.001}"),
        ("seconds,x1,y1,x2,y2,id", lambda frame: frame / 25),
        ("image,x1,y1,x2,y2,track_id", lambda frame: f"{VIDEO}/walk_{frame:012d}"),
        ("image,instance_id,seconds,frame,video,x1,y1,x2,y2,track_id", lambda frame: f"x,0,0,{frame},{VIDEO}"),
    ],
)
def test_csv_about_frames(tmp_path, header, where, odd):
    file = write(tmp_path / "boxes.csv", lines(header, where) + odd)
    boxed = CsvBoxes(file)(pictures_of({VIDEO: 5}, "photo.jpg"))
    assert by_frame(boxed) == of_video(VIDEO)
    assert len(boxed.failures) == bool(odd)


def test_photographs_and_videos_in_one_file(tmp_path):
    source = pictures_of({VIDEO: 5}, "photo.jpg")
    everyone = {**of_video(VIDEO), "photo.jpg": [(1, 2, 3, 4, 5)]}
    table = lines("image,video,frame,x1,y1,x2,y2,id", lambda frame: f",{VIDEO},{frame}") + "photo.jpg,,,1,2,3,4,5\n"
    assert by_frame(CsvBoxes(write(tmp_path / "boxes.csv", table))(source)) == everyone
    rows = entries(video=lambda frame: VIDEO, frame=lambda frame: frame)
    rows.append({"image": "photo.jpg", "frame": 3, "bboxes": [[1, 2, 3, 4]], "track_ids": [5]})
    assert by_frame(JsonBoxes(write(tmp_path / "boxes.json", rows))(source)) == everyone


def test_an_instance_id_of_a_frame_is_no_track(tmp_path):
    row = {"frame": 0, "bbox": [1, 2, 3, 4], "instance_id": 1}
    assert by_frame(JsonBoxes(write(tmp_path / "boxes.json", [row]))(pictures_of({VIDEO: 2}))) == {
        (VIDEO, 0): [(1, 2, 3, 4, None)]
    }
    table = write(tmp_path / "boxes.csv", "frame,x1,y1,x2,y2,instance_id\n0,1,2,3,4,1\n")
    assert by_frame(CsvBoxes(table)(pictures_of({VIDEO: 2}))) == {(VIDEO, 0): [(1, 2, 3, 4, None)]}


def test_a_time_is_that_of_the_frame_that_a_player_shows_then(tmp_path):
    times = [0.0, 0.5, 0.6, 3.0]  # the second and the last but one stay long
    boxes = [{"seconds": time, "bbox": [time * 100, 0, 999, 9]} for time in (0.49, 0.53, 2.5, 3.04, 3.1)]
    boxed = JsonBoxes(write(tmp_path / "boxes.json", boxes))(pictures_of({VIDEO: 4}, seconds=times))
    starts = {frame: [round(row[0]) for row in rows] for (_, frame), rows in by_frame(boxed).items()}
    assert starts == {1: [49], 2: [250], 3: [304]}  # of two times of one frame the nearer
    far = [*boxes, {"seconds": 100, "bbox": [0, 0, 9, 9]}]
    boxed = JsonBoxes(write(tmp_path / "boxes.json", far))(pictures_of({VIDEO: 4}, seconds=times))
    assert [failure.image for failure in boxed.failures] == [f"the time 100 s of {VIDEO}"]


def test_times_of_frames_that_the_run_leaves_out(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    boxes = [{"seconds": frame / 25, "bbox": [frame, 0, 99, 9]} for frame in range(12)]
    boxed = JsonBoxes(write(tmp_path / "boxes.json", boxes))(pictures_of({VIDEO: 12}, every=5))
    assert {frame: rows[0][0] for (_, frame), rows in by_frame(boxed).items()} == {0: 0, 5: 5, 10: 10}
    assert not boxed.failures and "9 frames that are none of the run's" in caplog.text


def test_several_times_of_one_frame_do_not_double_its_people(tmp_path, caplog):
    boxes = [{"seconds": half / 50 + 0.001, "bbox": [half, 0, 99, 9]} for half in range(8)]
    boxed = JsonBoxes(write(tmp_path / "boxes.json", boxes))(pictures_of({VIDEO: 4}))
    assert [len(rows) for rows in by_frame(boxed).values()] == [1, 1, 1, 1]
    assert "its times are of frames that another time is nearer to" in caplog.text


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([{"frame": 1, "bboxes": [[1, 2, 3, 4]]}], "could be each of the 2 videos"),
        (
            [{"video": "jump.mp4", "frame": 1, "bboxes": [[1, 2, 3, 4]]}],
            "it names jump.mp4 .*, which is not below",
        ),
        ([{"image": "a/walk.mp4", "bboxes": [[1, 2, 3, 4]]}], "is a video; say which of its frames"),
        ([{"image": "a/walk.mp4/walk_000000000009", "bboxes": [[1, 2, 3, 4]]}], "is beyond the 5 frames of a/walk.mp4"),
        ([{"video": "a/walk.mp4", "bboxes": [[1, 2, 3, 4]]}], "does not say which frame of the video"),
        ([{"video": "a/walk.mp4", "frame": 1.5, "bboxes": [[1, 2, 3, 4]]}], "does not say which frame of the video"),
        ([{"video": "a/walk.mp4", "frame": -3, "bboxes": [[1, 2, 3, 4]]}], "has a frame -3.*count frames from 0"),
        ([{"video": "a/walk.mp4", "frame": 9, "bboxes": [[1, 2, 3, 4]]}], "names frame 9 of a/walk.mp4, which has 5"),
    ],
)
def test_entries_that_mean_no_frame(tmp_path, rows, sentence):
    source = pictures_of({"a/walk.mp4": 5, "walk.avi": 5}, "photo.jpg")
    file = write(tmp_path / "boxes.json", rows)
    if any(words in sentence for words in ("could be", "is a video", "is beyond")):  # it lies here: the others go on
        (failure,) = JsonBoxes(file)(source).failures
        assert sentence in failure.message
    else:
        with pytest.raises(ConfigError, match=sentence):
            JsonBoxes(file)(source)


def test_a_list_that_counts_from_1_is_told_by_its_end(tmp_path, caplog):
    content = mmpose(shift=1)
    with pytest.raises(ConfigError, match="no frame 0, but a frame 5 of a/walk.mp4, which has 5 frames.*first_frame=1"):
        JsonBoxes(write(tmp_path / "boxes.json", content))(pictures_of({VIDEO: 5}))
    boxed = JsonBoxes(write(tmp_path / "boxes.json", content), first_frame=1)(pictures_of({VIDEO: 5}))
    assert by_frame(boxed) == of_video(VIDEO)
    JsonBoxes(write(tmp_path / "boxes.json", content))(pictures_of({VIDEO: 9}))
    assert "has a frame 1 and no frame 0; it is taken to count from 0" in caplog.text


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("walk.mp4,1.5,1,2,3,4,5", "'1.5' is not a number of a frame"),
        ("walk.mp4,,1,2,3,4,5", "'' is not a number of a frame"),
        (",3,1,2,3,4,5", "it names no video"),
    ],
)
def test_csv_rows_that_mean_no_frame(tmp_path, row, sentence):
    table = f"{lines(HEADER, lambda frame: f'{VIDEO},{frame}')}{row}\n"
    boxed = CsvBoxes(write(tmp_path / "boxes.csv", table))(pictures_of({VIDEO: 5}))
    assert by_frame(boxed) == of_video(VIDEO)
    assert sentence in boxed.failures[0].message and "line 6" in boxed.failures[0].message


def test_frames_without_videos(tmp_path):
    images = pictures_of({}, "a.jpg")._replace(frames=None)
    with pytest.raises(ConfigError, match="names frames of videos, and data.images has no videos"):
        CsvBoxes(write(tmp_path / "boxes.csv", lines(HEADER, lambda frame: f"{VIDEO},{frame}")))(images)
    with pytest.raises(ConfigError, match="names no image, and data.images has no videos"):
        JsonBoxes(write(tmp_path / "boxes.json", entries(frame=lambda frame: frame)))(images)
    table = "image,video,frame,x1,y1,x2,y2\na.jpg,walk.mp4,of 12,1,2,3,4\n"
    assert by_frame(CsvBoxes(write(tmp_path / "boxes.csv", table))(images))["a.jpg"]
