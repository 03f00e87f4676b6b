"""MOT files of videos: which file is which video's, and which line which frame's."""

from __future__ import annotations

import logging

import pytest
from videos import PEOPLE, by_frame, mot_text, of_video, pictures_of, write

from sapiens_pl.boxes.mot_boxes import MotBoxes
from sapiens_pl.core.errors import ConfigError


def test_frame_1_is_the_first_that_a_player_shows_and_ids_are_kept(tmp_path):
    file = write(tmp_path / "det.txt", mot_text())
    boxed = MotBoxes(file)(pictures_of({"walk.mp4": 5}))
    assert by_frame(boxed) == of_video("walk.mp4") and not boxed.failures
    assert boxed.tasks[0].name == "walk.mp4/walk_000000000000"
    again = MotBoxes(write(tmp_path / "0.txt", mot_text(first=0)), first_frame=0)(pictures_of({"walk.mp4": 5}))
    assert by_frame(again) == of_video("walk.mp4")


def test_an_id_of_minus_1_is_none_whatever_the_order_of_the_lines(tmp_path):
    text = "3,-1,13,21,20,40,1\n1,4,11,21,20,40,1\n3,8,53,21,20,40,1\n"
    found = by_frame(MotBoxes(write(tmp_path / "det.txt", text))(pictures_of({"walk.mp4": 3})))
    assert found[("walk.mp4", 0)] == [(10, 20, 30, 60, 4)]
    assert [row[4] for row in found[("walk.mp4", 2)]] == [None, 8]


@pytest.mark.parametrize(
    "odd", ["{}", "{}frame 9\n", "\ufeff{}", "{}\n\n"], ids=["plain", "bad line", "byte order mark", "blank lines"]
)
def test_files_that_are_read_line_by_line_say_the_same(tmp_path, odd):
    file = write(tmp_path / "det.txt", odd.format(mot_text()))
    boxed = MotBoxes(file)(pictures_of({"walk.mp4": 5}))
    assert by_frame(boxed) == of_video("walk.mp4")
    assert len(boxed.failures) == odd.count("frame")
    spaced = write(tmp_path / "spaced.txt", mot_text().replace(",", " "))
    assert by_frame(MotBoxes(spaced)(pictures_of({"walk.mp4": 5}))) == of_video("walk.mp4")


@pytest.mark.parametrize(
    "place", ["a/walk.txt", "a/walk.mp4.txt", "a/walk/det/det.txt", "a/walk/gt/gt.txt", "a/walk/gt.txt", "walk.txt"]
)
def test_a_folder_has_a_file_for_each_video(tmp_path, place, caplog):
    write(tmp_path / "mot" / place, mot_text())
    write(tmp_path / "mot" / "b" / "run.txt", mot_text({4: [(1, 2, 3, 4, 5)]}))
    write(tmp_path / "mot" / "seqinfo.ini", "[Sequence]")
    boxed = MotBoxes(str(tmp_path / "mot"))(pictures_of({"a/walk.mp4": 5, "b/run.mov": 5, "c.avi": 3}, "photo.jpg"))
    assert by_frame(boxed) == {**of_video("a/walk.mp4"), ("b/run.mov", 4): [(1, 2, 3, 4, 5)]}
    assert not boxed.failures
    assert "says nothing about 1 of the 3 videos, so they get no people: c.avi" in caplog.text


def test_files_without_a_video_are_named(tmp_path, caplog):
    write(tmp_path / "walk.txt", mot_text())
    write(tmp_path / "jump.txt", mot_text())
    MotBoxes(str(tmp_path))(pictures_of({"walk.mp4": 5}))
    assert "1 files in" in caplog.text and "belong to none of the videos" in caplog.text and "jump.txt" in caplog.text


@pytest.mark.parametrize(
    ("files", "videos", "sentence"),
    [
        (["walk.txt", "walk/det/det.txt"], {"walk.mp4": 5}, "keep only one of them"),
        (["walk/gt/gt.txt", "walk/det/det.txt"], {"walk.mp4": 5}, "The boxes of walk.mp4 could be in"),
        (["walk.txt"], {"walk.mp4": 5, "walk.avi": 5}, "could be walk.mp4 or walk.avi"),
        (["walk.txt"], {"a/walk.mp4": 5, "b/walk.mp4": 5}, "could be a/walk or b/walk;.*move it into the sub-folder"),
        (["jump.txt"], {"walk.mp4": 5}, "has no file for any of the 1 videos, such as walk.txt.*jump.txt"),
        ([], {"walk.mp4": 5}, "has no file for any of the 1 videos"),
    ],
)
def test_folders_that_nobody_can_read_are_refused(tmp_path, files, videos, sentence):
    for file in files:
        write(tmp_path / "mot" / file, mot_text())
    (tmp_path / "mot").mkdir(exist_ok=True)
    with pytest.raises(ConfigError, match=sentence):
        MotBoxes(str(tmp_path / "mot"))(pictures_of(videos))


def test_one_file_of_several_videos(tmp_path, caplog):
    two = pictures_of({"walk.mp4": 5, "run.mp4": 5})
    assert by_frame(MotBoxes(write(tmp_path / "walk.txt", mot_text()))(two)) == of_video("walk.mp4")
    assert "they get no people: run.mp4" in caplog.text
    assert by_frame(MotBoxes(write(tmp_path / "run" / "gt" / "gt.txt", mot_text()))(two)) == of_video("run.mp4")
    with pytest.raises(ConfigError, match="not called after one of the 2 videos.*a folder with a file for each"):
        MotBoxes(write(tmp_path / "det.txt", mot_text()))(two)


def test_empty_files_and_folders_without_videos(tmp_path):
    write(tmp_path / "mot" / "walk.txt", "")
    with pytest.raises(ConfigError, match="is empty.*If nobody is in that video, remove the file"):
        MotBoxes(str(tmp_path / "mot"))(pictures_of({"walk.mp4": 5}))
    with pytest.raises(ConfigError, match="is a folder, which may have a file for each video"):
        MotBoxes(str(tmp_path / "mot"))(pictures_of({}, "a.jpg")._replace(frames=None))


def test_frames_that_the_run_leaves_out_are_counted_and_are_no_failures(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    boxed = MotBoxes(write(tmp_path / "det.txt", mot_text()))(pictures_of({"walk.mp4": 5}, every=2))
    assert by_frame(boxed) == {("walk.mp4", frame): PEOPLE[frame] for frame in (0, 2)} and not boxed.failures
    assert "also has 1 frames that are none of the run's" in caplog.text


def test_frames_beyond_the_video_are_one_failure_and_the_others_go_on(tmp_path):
    text = mot_text() + mot_text({frame: [(1, 2, 3, 4, 5)] for frame in range(4, 40)})
    boxed = MotBoxes(write(tmp_path / "det.txt", text))(pictures_of({"walk.mp4": 4}))
    assert by_frame(boxed) == of_video("walk.mp4")
    (failure,) = boxed.failures
    assert failure.image == "frames 5 to 40 of walk.mp4" and failure.error == "MissingImageError"
    assert "det.txt names frames 5 to 40 of walk.mp4, which has 4 frames, 1 to 4" in failure.message
    assert "boxes.first_frame=" in failure.message
    cut = MotBoxes(write(tmp_path / "det.txt", text))(pictures_of({"walk.mp4": 4}, every=3))
    assert len(cut.failures) == 1  # the last frame of the run is not the video's last


def test_a_file_that_may_count_from_0_is_not_guessed_at(tmp_path):
    with pytest.raises(ConfigError, match="has a frame 0, but files of its kind count frames from 1.*first_frame=0"):
        MotBoxes(write(tmp_path / "det.txt", mot_text(first=0)))(pictures_of({"walk.mp4": 5}))
    with pytest.raises(ConfigError, match="names frames 101 to 104 of walk.mp4, which has 5 frames, 1 to 5"):
        MotBoxes(write(tmp_path / "det.txt", mot_text(first=101)))(pictures_of({"walk.mp4": 5}))
    told = MotBoxes(write(tmp_path / "det.txt", mot_text(first=0)), first_frame=1)(pictures_of({"walk.mp4": 5}))
    assert [failure.image for failure in told.failures] == ["frame 0 of walk.mp4"]


def test_a_bad_box_is_named_by_its_own_file_and_line(tmp_path):
    write(tmp_path / "walk.txt", mot_text())
    run = write(tmp_path / "run.txt", "2,1,10,10,5,5,1\n3,4,10,10,0,5,1\n")
    boxed = MotBoxes(str(tmp_path))(pictures_of({"run.mp4": 5, "walk.mp4": 5}))
    (failure,) = boxed.failures
    assert failure.image == "run.mp4/run_000000000002" and f"{run}, line 2) has no area" in failure.message
