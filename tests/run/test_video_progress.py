"""How far a run with videos is, and what its account and closing table say of them."""

from __future__ import annotations

import re

import numpy as np
import pytest

from sapiens_pl.core.columns import Names
from sapiens_pl.core.plan import FrameColumns
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.run.account import (
    POSING,
    Account,
    Counts,
    FolderCounts,
    Live,
    VideoProgress,
)
from sapiens_pl.run.film_time import seconds_of_frame
from sapiens_pl.run.lives import progress_of, read_lives, write_live
from sapiens_pl.run.table import summary_table


def test_a_frame_stands_for_the_time_until_the_next_one_that_is_posed():
    seconds = np.array([0.0, 0.0, 0.5, 1.0, 2.0, 2.1, 5.0])
    columns = FrameColumns(
        Names.of(["a.mp4", "b.mp4", "c.mp4", "none.mp4"]),
        np.array([-1, 0, 0, 0, 1, 1, 2]),
        np.arange(7),
        np.arange(7),
        seconds,
    )
    np.testing.assert_allclose(seconds_of_frame(columns), [0.5, 0.1, 0.04, 0.04])


def test_everybodys_seconds_of_video_are_added(tmp_path):
    folder = RunFolder(tmp_path / "run", 0, 0, 2)
    other = RunFolder(tmp_path / "run", 0, 1, 2)
    folder.processes.mkdir()
    for each in (folder, other):
        each.open()
    write_live(folder, Live(POSING, 30, 100, 30, 0, 100, 3.0, VideoProgress(30, 100, 3.0, 10.0, 0.5)))
    write_live(other, Live(POSING, 50, 100, 50, 0, 100, 5.0, VideoProgress(50, 100, 2.5, 5.0, 0.75)))
    progress = progress_of(read_lives(folder))
    assert progress.video == (80, 200, 5.5, 15.0, 1.25)
    assert progress_of([Live(POSING, 1, 2)]).video is None
    for each in (folder, other):
        each.close()


def test_the_table_has_videos_only_where_there_are_any():
    account = Account(counts=Counts(images_planned=3, images_done=3, people=4), folder=FolderCounts(3, 0, 0, 4))
    plain = summary_table(account)
    assert "video" not in plain and "frames" not in plain and "tracks" not in plain
    with_videos = summary_table(account._replace(folder=FolderCounts(3, 0, 0, 4, 1, 2, 5))).splitlines()
    numbers = {line[:18].strip(): line[18:] for line in with_videos}
    assert (numbers["videos"], numbers["frames"], numbers["tracks"], numbers["people"]) == ("1", "2", "5", "4")


def test_a_run_tells_of_its_videos_and_names_one_that_was_cut(predict, mini, tmp_path):
    pytest.importorskip("av", reason="videos need sapiens_pl[video]")
    import cv2
    from clips import make_clip, picture

    clips = tmp_path / "clips"
    clips.mkdir()
    make_clip(clips / "whole.mp4", 20, fps=10)
    cut = make_clip(clips / "cut.mp4", 60, container_options={"movflags": "faststart"})
    cut.write_bytes(cut.read_bytes()[: int(cut.stat().st_size * 0.6)])
    cv2.imwrite(str(clips / "photograph.png"), picture(1))
    settings = [*mini, f"data.images={clips}", "boxes=whole_image", "data.num_workers=0", "output.formats=[]"]
    run = predict(*settings)
    assert run.code == 0, run.err
    folder, progress = run.info["folder"], run.info["progress"]
    num_frames = folder["frames"]
    assert folder["videos"] == 2 and 20 < num_frames < 80 and folder["tracks"] >= 1
    num_listed = num_frames + folder["failed"] - 1  # of the frame in which it was cut, half may be there
    assert folder["done"] == num_frames + 1 and num_listed - num_frames in (0, 1)
    assert progress["video"]["frames_planned"] == num_listed == progress["video"]["frames_done"]
    assert progress["video"]["times_real_time"] > 0
    assert abs(progress["video"]["seconds_planned"] - (2.0 + (num_listed - 20) / 30)) < 0.1
    line = run.err.splitlines()[-1]
    images, frames = f"{num_listed + 2}/{num_listed + 2} images", f"{num_listed}/{num_listed} frames"
    assert f"{images}, {frames}, " in line and "s of video (" in line and "x real time)" in line
    assert "  videos          2\n" in run.out and f"  frames          {num_frames}\n" in run.out
    assert re.search(r"Not whole: \S+cut\.mp4 ends after .* it was cut", run.out), run.out
    again = predict(*settings)
    assert again.info["folder"] == folder and "Not whole: " in again.out
