"""One run by several processes: shards, torchrun, two nodes; equal to one process, and independent of each other."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import polars
import pytest
from conftest import Run, Started, check_same
from forked import fork_command
from launchers import free_port, of_torchrun

from sapiens_pl import demo
from sapiens_pl.data.packing import shard_images
from sapiens_pl.demo.draw import write_scenes
from sapiens_pl.demo.figures import draw_scene

NUM_IMAGES = 72
SLOW_STEP = """
import time
from sapiens_pl.inference.module import PoseModule
step = PoseModule.predict_step
PoseModule.predict_step = lambda *given: (time.sleep(0.2), step(*given))[1]
"""


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """Drawn scenes of 0 to 3 figures, broken files among them, and a box file that names one image too many."""
    root, rng = tmp_path_factory.mktemp("shards"), np.random.default_rng(11)
    sizes = rng.integers(120, 400, (NUM_IMAGES, 2)).tolist()
    write_scenes(root, [(f"{i:04d}.jpg", draw_scene(rng, *size, i % 4)) for i, size in enumerate(sizes)])
    for index in range(0, NUM_IMAGES, 20):
        (root / "images" / f"{index:04d}_broken.jpg").write_bytes(b"\xff\xd8 no picture")
    rows = json.loads((root / "people.json").read_text())
    (root / "people.json").write_text(json.dumps([*rows, {"image": "gone.jpg", "bboxes": [[0, 0, 9, 9]]}]))
    settings = [f"data.images={root / 'images'}", "boxes=json", f"boxes.file={root / 'people.json'}"]
    return [*settings, "model=demo", "data.batch_size=3", "output.formats=[json,coco,parquet,csv]"]


@pytest.fixture(scope="module")
def alone(figures, tmp_path_factory):
    """What one process makes of it, with the demo network."""
    folder = tmp_path_factory.mktemp("alone")
    settings = [*figures, "trainer.accelerator=cpu", "data.num_workers=1", f"hydra.run.dir={folder}"]
    run = Started(fork_command(settings, folder, folder / "output"), folder / "output", folder).finish()
    assert run.code == 0 and len(run.results) == NUM_IMAGES, run.err
    return run


def check_equal(run: Run, alone: Run) -> None:
    check_same(run.results, alone.results)
    check_tables_equal(run.folder, alone.folder)
    assert sorted(map(str, run.failures)) == sorted(map(str, alone.failures))
    assert run.info["status"] == "complete" and run.info["counts"] == alone.info["counts"]
    assert not list(run.folder.glob(".unfinished*")) and not (run.folder / ".lock").exists()


def check_tables_equal(folder, reference) -> None:
    """The files that hold a whole run: the same images, people and order, as close as the images' own files."""
    assert (folder / "coco_images.json").read_bytes() == (reference / "coco_images.json").read_bytes()
    found, expected = (json.loads((each / "coco_keypoints.json").read_text()) for each in (folder, reference))
    ids = [[(person["image_id"], person["instance_id"]) for person in each] for each in (found, expected)]
    assert ids[0] == ids[1] and len(ids[0]) > 100
    points = [np.array([person["keypoints"] for person in each]) for each in (found, expected)]
    assert (np.abs(points[0] - points[1]) > 0.01).mean() < 1e-4
    tables = [csv.reader((each / "keypoints.csv").open(newline="")) for each in (folder, reference)]
    assert [row[:4] for row in tables[0]] == [row[:4] for row in tables[1]]
    frames = [
        polars.read_parquet(each / "parquet/*.parquet").sort("image", "instance_id") for each in (folder, reference)
    ]
    columns = ["image", "instance_id", "bbox", "bbox_score", "image_width"]
    assert frames[0].select(columns).equals(frames[1].select(columns)) and len(frames[0]) == len(ids[0])


def test_three_shards_at_once_give_what_one_process_gives(start, predict, forked, figures, alone):
    settings = [*figures, "trainer.accelerator=cpu", "data.num_workers=1", "data.num_shards=3"]
    shards = [start(*settings, f"data.shard={shard}") for shard in range(3)]
    runs = [shard.finish() for shard in shards]
    assert [run.code for run in runs] == [0, 0, 0], [run.err for run in runs]
    check_equal(runs[0], alone)
    info = runs[0].info
    assert [process["shard"] for process in info["processes"]] == [0, 1, 2] and info["processes_ended"] == 3
    people = [process["counts"]["people"] for process in info["processes"]]
    assert max(people) - min(people) <= 3  # crops are balanced, not images
    assert sum("fastest" in run.out for run in runs) == 1  # whoever is last has the table
    before = {path: path.stat().st_mtime_ns for path in (runs[0].folder / "predictions").iterdir()}
    again = predict(*settings, "data.shard=1")
    assert again.code == 0, again.err
    assert before == {path: path.stat().st_mtime_ns for path in (again.folder / "predictions").iterdir()}
    assert again.info["counts"]["images_planned"] < alone.info["counts"]["images_planned"]
    settled = again.info
    assert forked("collect", again.folder).code == 0 and again.info == settled


def test_a_killed_shard_costs_the_others_nothing_and_is_completed_later(start, predict, forked, figures, alone):
    settings = [*figures, "trainer.accelerator=cpu", "data.num_workers=1", "data.num_shards=2"]
    victim = start(*settings, "data.shard=0", inject=SLOW_STEP)
    victim.wait_until(lambda: victim.count() > 3)
    other = start(*settings, "data.shard=1")
    os.killpg(victim.pid, signal.SIGKILL)
    rest = other.finish()
    assert rest.code == 0 and 0 < len(rest.results) < NUM_IMAGES, rest.err
    found = forked("collect", rest.folder)
    assert found.code == 1 and "1 of 2 ended" in found.out, found.err
    assert rest.info["status"] == "incomplete"
    completed = predict(*settings, "data.shard=0")
    assert completed.code == 0, completed.err
    check_same(completed.results, alone.results)
    assert sorted(map(str, completed.failures)) == sorted(map(str, alone.failures))
    assert completed.info["status"] == "complete" and not list(completed.folder.glob(".unfinished*"))
    assert forked("collect", completed.folder).code == 0


def test_shards_that_cannot_work_are_refused(predict, forked, figures, mini, tmp_path):
    for override in ("data.shard=2", "data.shard=-1", "data.num_shards=x"):
        run = predict(*figures, *mini, "data.num_shards=2", override)
        assert run.code == 2 and "shards are counted 0, 1" in run.err and run.err.count("\n") == 1, run.err
    run = predict(*figures, *mini, "data.num_shards=2", "data.shard=0", "output.overwrite=true")
    assert run.code == 2 and "other shards have written" in run.err, run.err
    unnamed = forked("predict", "data.num_shards=2", "data.shard=0")
    assert unnamed.code == 2 and "hydra.run.dir=" in unnamed.err, unnamed.err
    nothing = forked("collect", tmp_path)
    assert nothing.code == 2 and "holds no run.json" in nothing.err


def test_shards_of_another_number_at_the_same_time_are_refused(start, predict, figures, mini):
    first = start(*figures, *mini, "data.num_shards=3", "data.shard=0", "data.num_workers=0", inject=SLOW_STEP)
    first.wait_until(lambda: first.count() > 0)
    other = predict(*figures, *mini, "data.num_shards=2", "data.shard=1")
    first.kill()
    assert other.code == 2 and "shards with data.num_shards=3, not 2, are running" in other.err, other.err


def test_shards_that_have_not_found_the_same_images_leave_no_complete_run(predict, mini, tmp_path):
    photos = tmp_path / "photos"
    shutil.copytree(demo.IMAGES, photos)
    settings = [f"data.images={photos}", "boxes=whole_image", *mini, "data.num_workers=0", "data.num_shards=2"]
    assert predict(*settings, "data.shard=0").code == 0
    shutil.copy(demo.IMAGES / "one.jpg", photos / "another.jpg")
    second = predict(*settings, "data.shard=1")
    assert second.code == 1 and "have not found the same images (6 and 7)" in second.out, second.out
    assert second.info["status"] == "incomplete" and len(second.results) < 7
    again = predict(*settings, "data.shard=0")
    assert again.code == 0 and again.info["status"] == "complete" and len(again.results) == 7, again.out


def test_shards_with_other_boxes_leave_no_complete_run(predict, mini, tmp_path):
    """Though each has as many images and boxes as before."""
    boxes = tmp_path / "boxes.json"
    rows = json.loads(demo.PEOPLE.read_text())
    boxes.write_text(json.dumps(rows))
    settings = [f"data.images={demo.IMAGES}", "boxes=json", f"boxes.file={boxes}", *mini, "data.num_workers=0"]
    settings += ["data.num_shards=2", "output.redo=changed"]
    assert [predict(*settings, f"data.shard={shard}").code for shard in (0, 1)] == [0, 0]
    next(row for row in rows if row["bboxes"])["bboxes"][0][0] += 1
    boxes.write_text(json.dumps(rows))
    first = predict(*settings, "data.shard=0")
    assert first.code == 1 and "have changed since data.shard=1 worked" in first.out, first.out
    second = predict(*settings, "data.shard=1")
    assert second.code == 0 and second.info["status"] == "complete", second.out


@pytest.mark.slow
def test_a_shard_is_not_let_in_beside_a_whole_run_or_itself(tmp_path, monkeypatch):
    monkeypatch.setattr("sapiens_pl.records.run_lock._PREPARATION_SECONDS", 0)
    hold = """
import sys
from sapiens_pl.records.run_lock import RunLock
from sapiens_pl.core.errors import ConfigError
from pathlib import Path
import sapiens_pl.records.run_lock as module
module._PREPARATION_SECONDS = 0
lock = RunLock(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
try:
    lock.acquire()
except ConfigError as error:
    print("refused"); sys.exit()
lock.share()
print("in", flush=True)
sys.stdin.read()
lock.release()
"""
    path = tmp_path / ".lock"

    def enter(shard, num_shards):
        process = subprocess.Popen(
            [sys.executable, "-c", hold, str(path), str(shard), str(num_shards)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return process, process.stdout.readline().strip()

    def leave(process):
        process.stdin.close()
        process.wait()

    holders = []
    for shard, num_shards, expected in ((1, 3, "in"), (0, 3, "in"), (1, 3, "refused"), (0, 1, "refused"), (2, 3, "in")):
        process, said = enter(shard, num_shards)
        assert said == expected, (shard, num_shards)
        holders.append(process)
    leave(holders[0])
    assert path.exists()
    holders[4].kill()  # a dead one leaves no lock
    holders[4].wait()
    assert enter(0, 1)[1] == "refused"
    leave(holders[1])
    assert not path.exists()
    whole, said = enter(0, 1)
    assert said == "in" and enter(1, 3)[1] == "refused"
    leave(whole)


@pytest.mark.slow
def test_torchrun(figures, alone, tmp_path):
    """Itself, with processes of its own; what it is like on two nodes, its variables tell."""
    where = ["--nproc-per-node=2", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{free_port()}", "--rdzv-id=here"]
    settings = [*figures, "trainer.accelerator=cpu", "data.num_workers=1", f"hydra.run.dir={tmp_path / 'torchrun'}"]
    command = [sys.executable, "-m", "torch.distributed.run", *where, "-m", "sapiens_pl.predict", *settings]
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo"}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr
    check_shared(Run(0, ended.stdout, ended.stderr, tmp_path / "torchrun"), alone)


def test_torchrun_on_two_nodes(start, figures, alone):
    settings = [*figures, "trainer.accelerator=cpu", "data.num_workers=1"]
    runs = [run.finish() for run in [start(*settings, environment=each) for each in of_torchrun(nodes=2, ranks=1)]]
    assert [run.code for run in runs] == [0, 0], runs[0].err + runs[1].err
    check_shared(Run(0, runs[0].out + runs[1].out, "", runs[0].folder), alone)


def check_shared(run: Run, alone: Run) -> None:
    check_equal(run, alone)
    assert [process["rank"] for process in run.info["processes"]] == [0, 1]
    assert run.out.count("fastest") == 1


@pytest.mark.parametrize("counts", [[], [3], [0, 0, 0], [5, 1, 1, 1, 1, 1], list(range(40))])
@pytest.mark.parametrize("num_shards", [1, 2, 7])
def test_every_image_has_one_shard(counts, num_shards):
    shards = shard_images(counts, num_shards)
    assert len(shards) == num_shards
    assert sorted(index for shard in shards for index in shard) == list(range(len(counts)))
