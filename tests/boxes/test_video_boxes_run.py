"""A whole run over a folder with videos and a photograph, and a folder with a MOT file for each video."""

from __future__ import annotations

import cv2
import pytest
from clips import make_clip, picture
from videos import mot_text, write

from sapiens_pl.records.reading import Records

pytest.importorskip("av")

WALK = {0: [(5, 5, 60, 60, 7)], 2: [(6, 5, 61, 60, 7), (20, 10, 70, 64, 9)]}
RUN = {1: [(5, 5, 60, 60, 1)]}


def test_boxes_and_ids_of_a_mot_folder_come_to_their_frames(predict, mini, tmp_path):
    images = tmp_path / "clips"
    (images / "a").mkdir(parents=True)
    make_clip(images / "a" / "walk.mp4", 6, gop=3)
    make_clip(images / "run.mp4", 5, gop=3)
    (images / "text.mp4").write_text("no video")
    cv2.imwrite(str(images / "photo.png"), picture(1))
    write(tmp_path / "mot" / "a" / "walk" / "det" / "det.txt", mot_text(WALK) + mot_text({8: [(1, 2, 30, 40, 5)]}))
    write(tmp_path / "mot" / "run.txt", mot_text(RUN))
    write(tmp_path / "mot" / "text.txt", mot_text(RUN))
    run = predict(
        *mini, f"data.images={images}", "data.num_workers=0", "boxes=mot", f"boxes.file={tmp_path / 'mot'}",
        "data.video.every=2", "output.formats=[]",
    )  # fmt: skip
    assert {row["image"] for row in run.failures} == {"frame 9 of a/walk.mp4", "text.mp4"}, run.err
    assert run.code == 0
    records = Records.read(run.folder)
    people = {
        (result.frame.video, result.frame.frame_index): (result.track_ids.tolist(), result.bboxes.round(3).tolist())
        for video in records.videos()
        for result in records.frames_of(video)
        if len(result.bboxes)
    }
    assert people == {
        ("a/walk.mp4", frame): ([row[4] for row in rows], [list(row[:4]) for row in rows])
        for frame, rows in WALK.items()
    }
    assert records.videos() == ["a/walk.mp4", "run.mp4"]
    assert "run.txt also has 1 frames that are none of the run's" in run.out + run.err
    again = predict(
        *mini, f"data.images={images}", "data.num_workers=0", "boxes=mot", f"boxes.file={tmp_path / 'mot'}",
        "data.video.every=2", "output.formats=[]",
    )  # fmt: skip
    assert {row["image"] for row in again.failures} == {"frame 9 of a/walk.mp4", "text.mp4"}
