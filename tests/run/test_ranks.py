"""Ranks that Lightning starts, with steps longer than its own watch waits: killed, stopped and left alone.

`benchmarks/faults.py` tries every rank, signal and moment.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from waiting_ranks import rank_of

from sapiens_pl.records.reading import Records

NUM_IMAGES, BATCH_SIZE = 24, 4
# A long forward pass: no signal is handled before it ends, and Lightning would have killed all, whose watch looks each
# 5 s; here more often, so that the pass need not take so long.
LONG_STEPS = """
import signal, time
from functools import partialmethod
from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver as Watch
from sapiens_pl.inference.module import PoseModule
Watch.__init__ = partialmethod(Watch.__init__, sleep_period=0.1)
step, signals = PoseModule.predict_step, {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1}
def long_step(self, batch, batch_idx=0):
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    time.sleep(1)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    return step(self, batch)
PoseModule.predict_step = long_step
"""


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory, mini):
    """Overrides: small photographs for two ranks, three batches each."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(3)
    for index in range(NUM_IMAGES):
        cv2.imwrite(str(folder / f"{index:02d}.jpg"), rng.integers(0, 256, (60, 50, 3)).astype(np.uint8))
    settings = [*mini, f"data.images={folder}", "boxes=whole_image", f"data.batch_size={BATCH_SIZE}"]
    return [*settings, "data.num_workers=1", "trainer.devices=2"]


def second_rank(run) -> int:
    """Its process id; the other children are loader workers."""
    return next(pid for pid in run.children() if rank_of(pid) == "rank 1")


def wait_for_both(run) -> None:
    """Until both ranks have results: the images are dealt in turn."""
    run.wait_until(lambda: (run.folder / "predictions" / "01.jpg.json").exists() and run.count() > BATCH_SIZE)


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def wait_for(condition, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def check_completed(run) -> None:
    assert run.code == 0 and run.info["status"] == "complete" and len(run.results) == NUM_IMAGES, run.err
    assert not list(run.folder.glob(".unfinished*"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_rank_that_is_ended_alone_costs_its_own_rest_only(start, predict, two_ranks, number):
    run = start(*two_ranks, inject=LONG_STEPS)
    wait_for_both(run)
    os.kill(second_rank(run), number)
    ended = run.finish()
    counts = ended.info["counts"]
    assert ended.code == (1 if number == signal.SIGKILL else 143), ended.err
    assert ended.info["status"] == ("failed" if number == signal.SIGKILL else "interrupted")
    done = Records.read(ended.folder).names()  # of the last one SIGKILL may have kept the JSON file from being made
    assert NUM_IMAGES / 2 < len(done) < NUM_IMAGES and ended.results.keys() <= {*done}
    assert counts["images_planned"] == NUM_IMAGES and counts["images_done"] == counts["people"] == len(done)
    left = NUM_IMAGES - len(done)
    assert counts["images_not_reached"] == left and f"{left} images were not reached" in ended.out
    assert "broke off (rank 1" in ended.out and "2 of 2 ended" in ended.out
    check_completed(predict(*two_ranks))


def test_a_stopped_run_ends_both_ranks_in_order(start, two_ranks):
    run = start(*two_ranks, inject=LONG_STEPS)
    wait_for_both(run)
    other = second_rank(run)
    os.killpg(run.pid, signal.SIGINT)  # as Ctrl-C: everybody gets it, and the first rank passes it on besides
    ended = run.finish()
    assert ended.code == 130 and ended.info["status"] == "interrupted" and "Traceback" not in ended.err, ended.err
    assert not is_alive(other) and len(ended.results) % BATCH_SIZE == 0  # whole batches of both
    assert ended.info["counts"]["images_not_reached"] == NUM_IMAGES - len(ended.results) > 0


def test_a_new_run_takes_over_from_ranks_that_a_killed_one_has_left(start, predict, two_ranks):
    # The third step lasts longer than the new run would wait.
    steps = LONG_STEPS.replace("time.sleep(1)", "time.sleep(1 if batch_idx < 2 else 300)")
    run = start(*two_ranks, inject=steps)
    wait_for_both(run)
    orphan, before = second_rank(run), len(list(run.folder.glob(".unfinished-1-*")))
    run.kill()
    assert before == 1 and is_alive(orphan)
    check_completed(predict(*two_ranks))
    assert not is_alive(orphan)


def test_ranks_whose_first_is_killed_while_they_start_up_end(start, predict, two_ranks):
    run = start(*two_ranks)
    run.wait_until(lambda: run.children())
    others = run.children()
    run.kill()
    wait_for(lambda: not any(map(is_alive, others)))
    check_completed(predict(*two_ranks))
