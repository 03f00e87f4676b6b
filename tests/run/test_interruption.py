"""Runs that are stopped, killed, started twice and started again, as real processes."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import check_same
from waiting_ranks import rank_of

from sapiens_pl.demo.draw import write_scenes
from sapiens_pl.demo.figures import draw_scene
from sapiens_pl.records.reading import Records
from sapiens_pl.run.stopping import StopRequest
from tests.records.made_up import check_equal

NUM_IMAGES, NUM_BROKEN = 240, 10
SLOW_STEP = """
import time
from sapiens_pl.inference.module import PoseModule
step = PoseModule.predict_step
PoseModule.predict_step = lambda *given: (time.sleep({seconds}), step(*given))[1]
"""


def left_behind(folder):
    """Everything in a run's folder that belongs neither to the results nor to Hydra."""
    known = {
        "predictions",
        "overlays",
        "records",
        ".products",
        "failures.jsonl",
        "run.json",
        ".processes",
        ".hydra",
        "predict.log",
    }
    known |= {"predict-rank1.log"}
    of_records = [path for path in (folder / "records").iterdir() if path.suffix not in (".parquet", ".json")]
    return [*sorted({path.name for path in folder.iterdir()} - known), *of_records] + [
        path for path in (folder / "predictions").rglob("*") if path.is_file() and path.suffix != ".json"
    ]


@pytest.fixture(scope="session")
def figures(tmp_path_factory):
    """Drawn scenes of 0 to 2 figures with their boxes, and broken files among them."""
    root, rng = tmp_path_factory.mktemp("figures"), np.random.default_rng(5)
    sizes = rng.integers(120, 400, (NUM_IMAGES, 2)).tolist()
    write_scenes(root, [(f"{i:06d}.jpg", draw_scene(rng, *size, i % 3)) for i, size in enumerate(sizes)])
    for index in range(0, NUM_IMAGES, NUM_IMAGES // NUM_BROKEN):
        (root / "images" / f"{index:06d}_broken.jpg").write_bytes(b"\xff\xd8 no picture")
    return [f"data.images={root / 'images'}", "boxes=json", f"boxes.file={root / 'people.json'}"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_in_order_and_the_next_run_completes_it(start, figures, mini, number):
    inject = SLOW_STEP.format(seconds=0.05)
    run = start(*figures, *mini, "data.batch_size=2", "data.num_workers=2", inject=inject)
    run.wait_until(lambda: run.count() > 20)
    began = time.monotonic()
    if number == signal.SIGINT:
        os.killpg(run.pid, number)  # as Ctrl-C does: the workers get it too
    else:
        run.send_signal(number)
    stopped = run.finish(timeout=30)
    assert time.monotonic() - began < 15
    assert stopped.code == 128 + number, stopped.err
    assert stopped.info["status"] == "interrupted" and "Traceback" not in stopped.err
    counts = stopped.info["counts"]
    done = len(stopped.results)
    assert counts["images_done"] == done < NUM_IMAGES
    assert counts["images_done"] + counts["images_failed"] + counts["images_not_reached"] == NUM_IMAGES + NUM_BROKEN
    assert not left_behind(stopped.folder)

    completed = start(*figures, *mini, "data.batch_size=2").finish()
    assert completed.code == 0 and completed.info["status"] == "complete", completed.err
    assert len(completed.results) == NUM_IMAGES and completed.info["counts"]["images_done_before"] == done
    assert len(completed.failures) == NUM_BROKEN


def test_sigterm_reaches_the_ranks_that_lightning_started(start, predict, figures, mini):
    settings = [*figures, *mini, "data.batch_size=2", "trainer.devices=2", "trainer.strategy=ddp", "data.num_workers=1"]
    run = start(*settings, inject=SLOW_STEP.format(seconds=0.05))
    run.wait_until(lambda: run.count() > 40)
    other = next(pid for pid in run.children() if rank_of(pid) == "rank 1")
    run.send_signal(signal.SIGTERM)
    stopped = run.finish(timeout=30)
    assert stopped.code == 143 and stopped.info["status"] == "interrupted", stopped.err
    assert not left_behind(stopped.folder) and not Path(f"/proc/{other}").exists()  # it has come to its end too
    completed = predict(*settings)
    assert completed.code == 0 and len(completed.results) == NUM_IMAGES, completed.err


ENDLESS_STEP = """
import time
from sapiens_pl.inference.module import PoseModule
PoseModule.predict_step = lambda *given: (print("in the step", flush=True), time.sleep(60))
"""


def test_a_second_signal_stops_at_once(start, figures, mini):
    run = start(*figures, *mini, "data.num_workers=1", inject=ENDLESS_STEP)
    run.wait_until(lambda: "in the step" in run.text("out"))
    run.send_signal(signal.SIGTERM)
    run.wait_until(lambda: "a second signal stops at once" in run.text("err"))
    time.sleep(0.5)
    assert run.code is None
    run.send_signal(signal.SIGTERM)
    assert run.finish(timeout=10).code == 143


STUCK = """
import time
from {module} import {name}
{name}.{method} = lambda *given, **options: (print("it is there", flush=True), time.sleep(60))
"""


@pytest.mark.parametrize(
    "there", ["sapiens_pl.pictures.folder.ImageFiles.pictures", "sapiens_pl.data.datamodule.ImageDataModule.setup"]
)
def test_a_signal_before_the_first_batch_ends_the_run_too(start, figures, mini, there):
    module, name, method = there.rsplit(".", 2)
    run = start(*figures, *mini, inject=STUCK.format(module=module, name=name, method=method))
    run.wait_until(lambda: "it is there" in run.text("out"))
    run.send_signal(signal.SIGINT)
    stopped = run.finish(timeout=10)
    assert stopped.code == 130 and "Traceback" not in stopped.err, stopped.err
    if method == "setup":  # before, nothing is written
        assert stopped.info["status"] == "interrupted"


class Signalling:
    """Collecting it is when the signal comes."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_that_comes_while_garbage_is_collected_counts_and_is_no_traceback(monkeypatch):
    lost = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: lost.append(unraisable.exc_type))
    stop = StopRequest()
    with stop.listening():
        thing = Signalling()
        del thing
        assert stop() and stop.exit_code == 143
    assert not lost


def test_a_folder_takes_one_run_at_a_time_and_a_dead_run_leaves_no_lock(start, predict, figures, mini):
    settings = [*figures, *mini, "data.batch_size=2"]
    first = start(*settings, inject=SLOW_STEP.format(seconds=0.2))
    first.wait_until(lambda: first.count() > 3)
    before = first.count()
    second = predict(*settings)
    assert second.code == 2 and "is being written by another run (process" in second.err, second.err
    assert second.err.count("\n") == 1
    first.wait_until(lambda: first.count() > before)  # it was not disturbed
    assert len(list(first.folder.glob(".unfinished-0-*"))) == 1
    first.kill()
    third = predict(*settings)
    assert third.code == 0, third.err
    assert len(third.results) == NUM_IMAGES and not left_behind(third.folder)


def test_killed_at_random_moments_it_ends_as_an_undisturbed_run(start, predict, figures):
    """SIGKILL, each time at another point between the first start-up second and the end."""
    settings = [*figures, "trainer.accelerator=cpu", "data.batch_size=2", "data.num_workers=1"]
    undisturbed = predict(*settings, folder="undisturbed")
    assert undisturbed.code == 0, undisturbed.err
    rng = random.Random(7)
    seen: dict = {}
    folder = undisturbed.folder.parent / "killed"

    def rows() -> dict:
        return {result.name: result for result in Records.read(folder).results()}

    def check_kept(now: dict) -> None:
        for name, result in seen.items():
            check_equal(now[name], result)  # to the last bit, though nobody repeats a computation so exactly

    for kill in range(10):
        run = start(*settings, folder="killed")
        if kill % 3 == 2:
            time.sleep(rng.uniform(0, 1))  # somewhere in the start-up, or later
        else:
            before = len(seen)
            run.wait_until(lambda run=run, before=before: run.count() > before)
            time.sleep(rng.uniform(0, 0.2))
        run.kill()
        now = rows()
        check_kept(now)
        for path in (folder / "predictions").rglob("*.json"):
            assert len(json.loads(path.read_text("utf-8"))["instance_info"]) == len(
                now[path.name.removesuffix(".json")].bboxes
            )
        seen = now
    assert 7 <= len(seen) < NUM_IMAGES  # seven times something was new, and every run was cut off
    last = predict(*settings, folder="killed")
    assert last.code == 0, last.err
    check_kept(rows())
    assert last.info["counts"]["images_done"] == NUM_IMAGES - len(seen)  # and none was done twice
    check_same(last.results, undisturbed.results)
    assert sorted(map(str, last.failures)) == sorted(map(str, undisturbed.failures))
    assert not left_behind(last.folder)
