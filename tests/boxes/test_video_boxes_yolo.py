"""YOLO's labels of videos, a file a frame, as ultralytics writes them."""

from __future__ import annotations

import pytest
from videos import by_frame, pictures_of, write

from sapiens_pl.boxes.yolo_boxes import YoloBoxes
from sapiens_pl.core.errors import ConfigError

LABEL = "0 0.5 0.5 0.2 0.4 0.9 7\n"


def frames_with_people(source, folder, **options):
    return set(by_frame(YoloBoxes(str(folder), **options)(source)))


def test_a_label_file_a_frame_that_counts_from_1(tmp_path):
    write(tmp_path / "walk_1.txt", LABEL)
    write(tmp_path / "walk_5.txt", LABEL)
    source = pictures_of({"a/walk.mp4": 5}, "photo.jpg")
    assert frames_with_people(source, tmp_path) == {("a/walk.mp4", 0), ("a/walk.mp4", 4)}
    assert frames_with_people(pictures_of({"a/walk.mp4": 5}, every=3), tmp_path) == {("a/walk.mp4", 0)}
    assert frames_with_people(source, tmp_path, first_frame=0) == {("a/walk.mp4", 1)}


def test_own_names_of_frames_and_a_frame_0(tmp_path):
    write(tmp_path / "walk_000000000002.txt", LABEL)
    assert frames_with_people(pictures_of({"walk.mp4": 5}), tmp_path) == {("walk.mp4", 2)}
    write(tmp_path / "walk_0.txt", LABEL)
    with pytest.raises(ConfigError, match="is of a frame 0, but labels count frames from 1; say boxes.first_frame=0"):
        YoloBoxes(str(tmp_path))(pictures_of({"walk.mp4": 5}))
