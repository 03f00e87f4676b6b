"""Products of videos and of their frames: what is missing is made, per video, and again when its people are others."""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from omegaconf import open_dict
from products.made import run_folder, settings
from records.made_up import failed_result, frame_result, make_records, pose_result

from sapiens_pl.core.errors import WriteError
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.protocols import Film, MakingStopped, PictureProduct, VideoProduct
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.products.chosen import all_products, choose_products
from sapiens_pl.products.making import Products, make_missing
from sapiens_pl.products.of_run import done_of, make_of_run
from sapiens_pl.products.removing import clear_products, remove_of_pictures
from sapiens_pl.records.run_folder import RunFolder

WALK, RUN = "a/walk.mp4", "run.mkv"


class Indices(VideoProduct):
    """`indices/VIDEO.txt`: a line a frame. A file beside the run says which video brings which error."""

    folder, suffix = "indices", ".txt"

    def __init__(self, greeting: str) -> None:
        self._greeting = greeting

    def write(self, film: Film, target: Path) -> None:
        lines = [f"{self._greeting} {film.name} {film.path}"]
        lines += [f"{result.frame.frame_index} {len(result.instance_ids)}" for result in film.results()]
        target.write_text("\n".join(lines))
        if film.name in TROUBLE:
            raise TROUBLE[film.name]


TROUBLE: dict[str, Exception] = {}


@pytest.fixture(autouse=True)
def no_trouble():
    TROUBLE.clear()


@pytest.fixture
def run(tmp_path) -> RunFolder:
    make_records(tmp_path / "run", films())
    return run_folder(tmp_path / "run")


def films() -> list:
    walk = [frame_result(WALK, index, index % 3) for index in (0, 1, 2, 4)]
    return [*walk, *(frame_result(RUN, index, 2) for index in range(5)), pose_result("photograph.jpg", 2)]


def asked(formats: str = "indices", greeting: str = "Hello"):
    cfg = settings()
    with open_dict(cfg):
        cfg.products.indices = {"_target_": f"{__name__}.Indices", "greeting": greeting}
        cfg.products.late = {"_target_": f"{__name__}.Late"}
        cfg.output.formats = formats.split(",")
    return cfg


def made(run: RunFolder, *given, **options) -> dict[str, int]:
    return dict(make_of_run(run, asked(*given), **options).counts)


def text(run: RunFolder, video: str) -> str:
    return (run.path / "indices" / f"{video}.txt").read_text()


def test_each_video_has_its_file_which_is_made_again_when_it_is_gone_or_cut_or_meant_otherwise(run):
    assert made(run) == {"indices": 2}
    assert text(run, WALK) == f"Hello {WALK} /films/{WALK}\n0 0\n1 1\n2 2\n4 1"
    assert text(run, RUN).endswith("\n0 2\n1 2\n2 2\n3 2\n4 2")
    assert made(run) == {} and not list(run.unfinished.iterdir())
    for break_it in (Path.unlink, lambda path: path.write_text("Hello")):
        break_it(run.path / "indices" / f"{RUN}.txt")
        assert made(run) == {"indices": 1}
    assert made(run, "indices", "Bye") == {"indices": 2} and text(run, WALK).startswith("Bye")


def test_only_the_video_whose_records_are_others_is_made_again_however_they_lie_in_the_store(run, tmp_path):
    made(run)
    before = (run.path / "indices" / f"{RUN}.txt").stat().st_mtime_ns
    make_records(run.path, [frame_result(WALK, 5)])
    assert made(run) == {"indices": 1} and text(run, WALK).endswith("\n5 1")
    make_records(run.path, [pose_result("another.jpg")])
    assert made(run) == {}
    assert (run.path / "indices" / f"{RUN}.txt").stat().st_mtime_ns == before
    for rank, start in enumerate((0, 1, 2)):
        make_records(tmp_path / "ranks", [*films(), frame_result(WALK, 5)][start::3], a_frame=1, rank=rank)
    ranks = run_folder(tmp_path / "ranks")
    made(ranks)
    assert text(ranks, WALK) == text(run, WALK) and text(ranks, RUN) == text(run, RUN)
    memory = ".products/indices"
    kept = {path.name: path.read_bytes() for path in (run.path / memory).iterdir()}
    assert kept == {path.name: path.read_bytes() for path in (ranks.path / memory).iterdir()} and len(kept) == 2


def test_what_one_video_brings_costs_its_file_and_is_not_tried_again_until_something_is_new(run):
    TROUBLE[WALK] = OSError(errno.EIO, "no such codec\nhere")
    outcome = make_of_run(run, asked("indices,csv"))
    assert outcome.counts == {"indices": 1, "csv": 1} and outcome.num_left == 0
    (line,) = [json.loads(line) for line in run.failures.file.read_text().splitlines()]
    assert line["image"] == WALK and line["product"] == "indices" and line["error"] == "OSError"
    assert line["message"] == "indices/a/walk.mp4.txt is not made: [Errno 5] no such codec here"
    assert not (run.path / "indices" / f"{WALK}.txt").exists() and not list(run.unfinished.iterdir())
    TROUBLE.clear()
    assert made(run) == {} and len(run.failures.file.read_text().splitlines()) == 1
    make_records(run.path, [frame_result(WALK, 6)])
    assert made(run) == {"indices": 1} and not run.failures.file.exists()
    TROUBLE[WALK] = ValueError()
    (run.path / "indices" / f"{WALK}.txt").unlink()
    assert "ValueError" in make_of_run(run, asked()).failures[0].message
    TROUBLE.clear()
    assert made(run) == {} and made(run, again=True) == {"indices": 1} and not run.failures.file.exists()


def test_a_full_disk_ends_it_and_a_stop_leaves_the_rest_for_the_next_time(run):
    TROUBLE[WALK] = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(WriteError, match="make room and run the same command again"):
        make_of_run(run, asked())
    TROUBLE[WALK] = MakingStopped()
    outcome = make_of_run(run, asked())
    assert outcome.num_left == 1 and outcome.counts == {"indices": 1} and not outcome.failures
    TROUBLE.clear()
    assert make_of_run(run, asked(), stopped=lambda: True).num_left == 1
    assert made(run) == {"indices": 1}
    run.close()
    (run.path / "indices" / f"{WALK}.txt").unlink()
    with pytest.raises(WriteError, match="could not be written"):
        make_of_run(run, asked())


def test_a_name_that_the_disk_does_not_take_costs_one_file(tmp_path):
    long = "x" * 254
    make_records(tmp_path / "run", [frame_result(WALK, 0), frame_result(long, 0)])
    outcome = make_of_run(run_folder(tmp_path / "run"), asked())
    assert outcome.counts == {"indices": 1} and "rename the image" in outcome.failures[0].message


def test_videos_of_frames_that_are_done_again_lose_their_files_and_starting_over_removes_all(run):
    cfg = asked("indices,openpose_json")
    make_of_run(run, cfg)
    again = [frame_result(WALK, 1).name, "photograph.jpg"]
    remove_of_pictures(run.path, all_products(cfg), again)
    assert not (run.path / "indices" / f"{WALK}.txt").exists() and text(run, RUN)
    make_records(run.path, [frame_result(WALK, 1), pose_result("photograph.jpg")])
    # Of the frames all are made anew: who is who in a video depends on all of it.
    assert made(run, "indices,openpose_json") == {"indices": 1, "openpose_json": 4 + 1}
    clear_products(run.path, all_products(cfg))
    assert not (run.path / "indices").exists() and not (run.path / ".products").exists()


def test_videos_of_which_nothing_is_done_have_no_file(tmp_path):
    broken = failed_result("broken.mp4")
    frame = failed_result(frame_result(RUN, 0).name)._replace(frame=frame_result(RUN, 0).frame)
    make_records(tmp_path / "run", [broken, frame, pose_result("photograph.jpg")])
    assert made(run_folder(tmp_path / "run")) == {}


def test_frames_have_the_products_of_pictures_but_json_which_is_one_file_a_video(run):
    counts = made(run, "json,openpose_json,openpose")
    assert counts == {"json": 1, "frames_json": 2, "openpose_json": 10, "openpose": 10}
    there = {path.relative_to(run.path).as_posix() for path in run.path.rglob("*.json")}
    assert {name for name in there if name.startswith("predictions")} == {
        "predictions/photograph.jpg.json",
        "predictions/a/walk.mp4.json",
        "predictions/run.mkv.json",
    }
    assert "openpose_json/a/walk.mp4/walk_000000000004_keypoints.json" in there
    assert made(run, "json,openpose_json,openpose") == {} and made(run, "json,frames_json") == {}


def test_files_of_frames_follow_their_video(run):
    made(run, "openpose_json")
    (run.path / "openpose_json" / WALK / "walk_000000000002_keypoints.json").unlink()
    assert made(run, "openpose_json") == {"openpose_json": 1}
    make_records(run.path, [frame_result(WALK, 7)])
    assert made(run, "openpose_json") == {"openpose_json": 5}
    assert made(run, "openpose_json") == {}


class Asked:
    """Says in which order pictures were read again."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def read(self, path: str, name: str = "", pts: int | None = None) -> np.ndarray:
        self.names.append(name)
        return np.zeros((480, 640, 3), np.uint8)


class Late(PictureProduct):
    """Asks for some frames later than for those after them, and for some never."""

    folder, suffix, ending = "late", ".txt", b"\n"

    def content(self, result: PoseResult, keypoint_set: KeypointSet, photograph: Callable[[], np.ndarray]) -> bytes:
        number = result.frame.frame_index
        if number % 7 == 3:
            raise ValueError("not this one")
        time.sleep(0.01 * (number % 3 == 0))
        return f"{photograph().shape} {photograph().shape}\n".encode()


def test_frames_are_read_again_once_and_in_their_order_whichever_thread_asks_first(tmp_path):
    results = [frame_result(video, index) for video in (RUN, WALK) for index in range(40)]
    make_records(tmp_path / "run", results)
    run, cfg = run_folder(tmp_path / "run"), asked("late")
    records, photographs = run.read_records(), Asked()
    products = Products(run, choose_products(cfg), records.keypoint_set, photographs)
    made = make_missing(products, records, done_of(records, run.path, None))
    read = sorted(result.name for result in results if result.frame.frame_index % 7 != 3)
    assert made.counts == {"late": len(read)} and len(made.failures) == 80 - len(read)
    assert photographs.names == read
