"""Overlays and OpenPose pictures: trouble with one is that picture's, and never the run's."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from sapiens_pl.core.errors import MissingImageError, ReaderDiedError, ReadTimeoutError, UnreadableImageError
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.models.keypoint_sets import set_of_network
from sapiens_pl.pictures import read_image
from sapiens_pl.products import second_read
from sapiens_pl.products.openpose_pictures import openpose_png
from sapiens_pl.products.overlay import MAX_SIDE, overlay_jpeg
from sapiens_pl.products.second_read import PictureReader, ReadingStopped

STUCK_READ = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
ssize_t read(int file, void *buffer, size_t count) {
    char link[64], path[4097] = {0};
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    if (readlink(link, path, sizeof path - 1) > 0 && strstr(path, "_stuck.jpg")) sleep(1000);
    return ((ssize_t (*)(int, void *, size_t)) dlsym(RTLD_NEXT, "read"))(file, buffer, count);
}
"""


@pytest.fixture(scope="module")
def stuck_disk(tmp_path_factory):
    """A library that makes reads of files named *stuck* hang in processes that are started with it, as a dead mount."""
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler here")
    folder = tmp_path_factory.mktemp("library")
    (folder / "read.c").write_text(STUCK_READ)
    command = ["gcc", "-shared", "-fPIC", "-o", folder / "read.so", folder / "read.c", "-ldl"]
    subprocess.run(command, check=True)
    return str(folder / "read.so")


@pytest.fixture
def pictures(tmp_path):
    """Twelve photographs; one of them is named for `stuck_disk`."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in [*(f"{index:02d}" for index in range(11)), "05_stuck"]:
        pixels = np.random.default_rng(len(name)).integers(0, 256, (60, 80, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / f"{name}.jpg"), pixels)
    return folder


def on(pictures):
    return [f"data.images={pictures}", "boxes=whole_image", "data.batch_size=2", "output.overlay=true"]


def overlays(run):
    return sorted(path.name.removesuffix(".jpg") for path in (run.folder / "overlays").iterdir())


@pytest.mark.slow
def test_the_second_read_gives_the_same_pixels_or_a_sentence_and_survives_its_process(pictures, tmp_path):
    reader = PictureReader(60, 0.1, lambda: False)
    one, other = str(pictures / "00.jpg"), str(pictures / "05_stuck.jpg")
    np.testing.assert_array_equal(reader.read(one), read_image(one).pixels)
    (tmp_path / "text.jpg").write_bytes(b"text")
    cv2.imwrite(str(tmp_path / "large.png"), np.zeros((400, 300, 3), np.uint8))
    for path, words in (
        ("gone.jpg", "is not there any more"),
        ("text.jpg", "is not an image"),
        ("large.png", "megapixels"),
    ):
        with pytest.raises((UnreadableImageError, MissingImageError), match=words):
            reader.read(str(tmp_path / path))
    reader._child.kill()
    np.testing.assert_array_equal(reader.read(other), read_image(other).pixels)
    reader.close()


@pytest.mark.slow
def test_a_stuck_second_read_ends_at_its_limit_or_when_the_run_is_to_stop(pictures, stuck_disk, monkeypatch):
    monkeypatch.setenv("LD_PRELOAD", stuck_disk)
    monkeypatch.setattr(second_read, "_SECONDS_AFTER_STOP", 0.2)
    begin = time.monotonic()
    for limit, stopped, error in ((1.0, False, ReadTimeoutError), (900.0, True, ReadingStopped)):
        reader = PictureReader(limit, 178, lambda stopped=stopped: stopped)
        with pytest.raises(error):
            reader.read(str(pictures / "05_stuck.jpg"))
        if not stopped:
            reader._read_timeout = 900
            assert reader.read(str(pictures / "00.jpg")).shape == (60, 80, 3)  # by another process
        reader.close()
    assert time.monotonic() - begin < 120


def test_a_reader_that_dies_is_a_sentence(pictures, stuck_disk, monkeypatch):
    monkeypatch.setenv("LD_PRELOAD", stuck_disk)
    reader = PictureReader(0.4, 178, lambda: False)
    monkeypatch.setattr(reader, "_stopped", lambda: reader._child.kill())  # while it reads
    reader._read_timeout = 900
    with pytest.raises(ReaderDiedError, match="05_stuck.jpg killed the process"):
        reader.read(str(pictures / "05_stuck.jpg"))


@pytest.mark.slow
def test_a_reader_whose_run_is_gone_ends_without_a_word(pictures):
    request = json.dumps({"path": str(next(pictures.iterdir())), "max_megapixels": 178.0, "seconds": 60}).encode()
    listening, answers = os.pipe()
    os.close(listening)  # as of a parent that was killed
    command = [sys.executable, "-c", "from sapiens_pl.products.second_read import serve; serve()"]
    child = subprocess.run(command, input=request + b"\n", stdout=answers, stderr=subprocess.PIPE, timeout=120)
    os.close(answers)
    assert child.returncode == 0 and child.stderr == b""


def test_a_run_goes_on_without_the_overlay_of_a_picture_that_can_no_longer_be_read(predict, mini, pictures, stuck_disk):
    inject = f"import os; os.environ['LD_PRELOAD'] = {stuck_disk!r}"  # for the processes that the run starts
    run = predict(*mini, *on(pictures), "data.num_workers=1", "data.read_timeout=4", inject=inject)
    assert run.code == 0 and len(run.results) == 12, run.err
    assert overlays(run) == [name for name in run.results if "stuck" not in name]
    (line,) = run.failures
    assert (line["image"], line["product"], line["error"]) == ("05_stuck.jpg", "overlay", "ReadTimeoutError")
    assert "overlays/05_stuck.jpg.jpg is not made: " in line["message"] and "within 4 s" in line["message"]
    assert run.info["counts"]["drawings_left_out"] == 1 and run.info["counts"]["images_failed"] == 0
    assert "files not made  1 of formats; failures.jsonl says why" in run.out
    # The same command does not try it again, until it is told to.
    same = predict(*mini, *on(pictures), "data.num_workers=1")
    assert same.code == 0 and same.failures == [line] and len(overlays(same)) == 11, same.err
    again = predict(*mini, *on(pictures), "data.num_workers=1", "output.redo=failed")
    assert again.code == 0 and not again.failures and len(overlays(again)) == 12, again.err


def test_a_stop_does_not_wait_for_a_stuck_overlay_and_the_same_command_makes_it(
    start, predict, mini, pictures, stuck_disk
):
    inject = f"import os; os.environ['LD_PRELOAD'] = {stuck_disk!r}"
    run = start(*mini, *on(pictures), "data.num_workers=1", "data.read_timeout=900", inject=inject)
    run.wait_until(lambda: len(list((run.folder / "overlays").glob("*"))) == 11)
    run.send_signal(signal.SIGTERM)
    stopped = run.finish(timeout=100)
    assert stopped.code == 143 and len(stopped.results) == 12 and stopped.info["status"] == "interrupted", stopped.err
    assert len(overlays(stopped)) == 11 and not stopped.failures
    again = predict(*mini, *on(pictures))
    assert again.code == 0 and again.info["counts"]["images_done"] == 0 and len(overlays(again)) == 12, again.err


def test_an_overlay_that_jpeg_cannot_hold_is_a_sentence():
    none = np.empty((0, 17, 2), np.float32)
    result = PoseResult("", none, none[..., 0], np.empty((0, 4)), np.ones(0), np.arange(0), None, "a", ())
    with pytest.raises(ValueError, match="no side of 65501 px"):
        overlay_jpeg(np.zeros((2, MAX_SIDE + 1, 3), np.uint8), result, set_of_network("It", 17), 0.3)
    assert overlay_jpeg(np.zeros((2, MAX_SIDE, 3), np.uint8), result, set_of_network("It", 17), 0.3)


def test_drawings_that_no_encoder_takes_or_that_cannot_be_named_are_left_out(predict, mini, tmp_path):
    """A PNG has at most a million pixels a row here; and a folder stands where an overlay should."""
    (tmp_path / "pictures").mkdir()
    cv2.imwrite(str(tmp_path / "pictures" / "long.png"), np.zeros((2, 1_000_001, 3), np.uint8)[:, :70_000])
    cv2.imwrite(str(tmp_path / "pictures" / "other.png"), np.zeros((60, 80, 3), np.uint8))
    (tmp_path / "run" / "overlays" / "other.png.jpg").mkdir(parents=True)
    (tmp_path / "boxes.json").write_text('{"long.png": [], "other.png": [[0, 0, 60, 60]]}')
    settings = [*on(tmp_path / "pictures"), "boxes=json", f"boxes.file={tmp_path / 'boxes.json'}"]
    run = predict(*mini, *settings, "output.formats=[json,openpose]", "data.num_workers=0")
    assert run.code == 0 and len(run.results) == 2, run.err
    assert {line["image"]: line["product"] for line in run.failures} == {"long.png": "overlay", "other.png": "overlay"}
    assert "no side of 70000 px" in run.failures[0]["message"] and "rename the image" in run.failures[1]["message"]
    assert run.info["counts"]["drawings_left_out"] == 2
    assert {path.name for path in (run.folder / "openpose").iterdir()} == {"long.png.png", "other.png.png"}


def test_openpose_says_what_it_cannot_encode():
    none = np.empty((0, 17, 2), np.float32)
    result = PoseResult("", none, none[..., 0], np.empty((0, 4)), np.ones(0), np.arange(0), (1_000_001, 2), "a", ())
    with pytest.raises((ValueError, cv2.error)):
        openpose_png(result, set_of_network("It", 17), 0.3)
