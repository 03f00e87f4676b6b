"""What becomes of a run whose output is a bucket? `python benchmarks/bucket_kills.py [--kills 10] [--pictures 1200]`

An S3 server on this machine (moto), and a line to it on which 2 of 100 requests fail (503, or cut in the middle of the
answer). The command is killed (SIGKILL) at random moments, and its scratch folder is thrown away each time; then it
runs to its end. Then: two runs at once; three shards with a scratch folder each, one of which is killed and started
again.
The records must be those of a run with a local folder that nothing happened to. A step is made to take a moment, so
that there is something to kill.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from stores import CREDENTIALS, Answer, Line

from sapiens_pl.core.structures import PoseResult
from sapiens_pl.models.checkpoints import save_network
from sapiens_pl.models.sapiens import SapiensPose, SapiensShape
from sapiens_pl.records.at_hand import at_hand
from sapiens_pl.records.journal import Journal
from sapiens_pl.records.reading import Records
from sapiens_pl.records.schema import to_text
from sapiens_pl.records.store import store_files

FLUSH_SECONDS = 5.0
BATCH = 4
SLOW = """
import os, time
from sapiens_pl.inference.module import PoseModule
step = PoseModule.predict_step
def slow_step(self, batch, batch_idx=0):
    time.sleep(float(os.environ["STEP_SECONDS"]))
    return step(self, batch)
PoseModule.predict_step = slow_step
from sapiens_pl.predict import main
main()
"""


class Trial:
    """The command, with an output folder of each kind."""

    def __init__(self, folder: Path, num_pictures: int, step_seconds: float) -> None:
        self.folder, self.number = folder, 0
        torch.manual_seed(0)
        save_network(SapiensPose(SapiensShape(8, 1, 2, 16, (8, 8), (8,), 17, (64, 48))), folder / "mini.safetensors")
        (folder / "slow.py").write_text(SLOW)
        self.step_seconds = step_seconds
        (folder / "pictures").mkdir()
        rng = np.random.default_rng(0)
        for number in range(num_pictures):
            pixels = cv2.resize(rng.integers(0, 255, (8, 8, 3), np.uint8), (96, 96))
            cv2.imwrite(str(folder / "pictures" / f"{number:05}.png"), pixels)

    def start(self, output: str, scratch: str, *more: str) -> subprocess.Popen:
        settings = [f"data.images={self.folder}/pictures", f"model.checkpoint={self.folder}/mini.safetensors"]
        settings += ["model.num_heads=2", "trainer.accelerator=cpu", "boxes=whole_image", f"data.batch_size={BATCH}"]
        settings += ["data.num_workers=0", f"output.dir={output}", f"output.scratch={self.folder}/{scratch}"]
        settings += [f"output.flush_seconds={FLUSH_SECONDS}", "output.formats=[]", *more]
        self.number += 1
        with open(self.log, "w") as log:
            command = [sys.executable, str(self.folder / "slow.py"), *settings]
            slow = os.environ | {"STEP_SECONDS": str(self.step_seconds)}
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, env=slow)

    @property
    def log(self) -> Path:
        return self.folder / f"log{self.number}.txt"

    def wait_until_posing(self, process: subprocess.Popen) -> None:
        while process.poll() is None and "crop/s" not in self.log.read_text():
            time.sleep(0.1)

    def finish(self, process: subprocess.Popen) -> None:
        if process.wait():
            sys.exit(f"exit code {process.returncode}:\n{self.log.read_text()}")


def names_in(scratch: Path) -> set[str]:
    """Of the pictures that a killed run has recorded on this machine, where people's parts of others may be missing."""
    found = set()
    for file in (file for records in scratch.glob("*/records") for file in store_files(records)):
        table = Journal(file.path).pictures if file.kind == "journal" else pq.read_table(file.path, columns=["name"])
        found |= {to_text(name) for name in table.column("name").to_pylist()}
    return found


def names_at(url: str) -> set[str]:
    with at_hand(url, only_read=True) as folder:
        return {*Records.read(folder).names()}


def results_of(address: str) -> tuple[list[PoseResult], int]:
    """All results, and how many rows of pictures the parts hold."""
    with at_hand(address, only_read=True) as folder:
        records = Records.read(folder)
        results = [*records.results()]
        return results, sum(source.pictures(["name"]).num_rows for source in records._sources)


def check_same(address: str, expected: list[PoseResult]) -> None:
    found, rows = results_of(address)
    assert [each.name for each in found] == [each.name for each in expected], "pictures are missing"
    assert rows == len(found), f"{rows} rows of {len(found)} pictures"
    for one, other in zip(found, expected):
        np.testing.assert_array_equal(one.keypoints, other.keypoints)
        np.testing.assert_array_equal(one.keypoint_scores, other.keypoint_scores)
    print(f"  {len(found)} pictures, each once, values as in the local run", flush=True)


def kills(trial: Trial, url: str, count: int) -> None:
    """Kills the run so many times at random moments, without its scratch folder from then on."""
    before, lost_at_most, speeds = 0, 0.0, []
    for number in range(count):
        scratch = f"scratch{number}"
        process = trial.start(url, scratch)
        trial.wait_until_posing(process)
        begin = time.monotonic()
        time.sleep(random.uniform(0, 3 * FLUSH_SECONDS))
        process.kill()
        process.wait()
        seconds, here, there = time.monotonic() - begin, names_in(trial.folder / scratch), names_at(url)
        shutil.rmtree(trial.folder / scratch)
        done = max(len(here | there) - before, 1)
        speeds.append(done / max(seconds, 0.1))
        lost = len(here - there) / speeds[-1]
        lost_at_most = max(lost, lost_at_most)
        before = len(there)
        print(f"  kill {number}: {done} done in {seconds:.1f} s, {len(here - there)} lost ({lost:.1f} s)", flush=True)
    trial.finish(trial.start(url, "scratch_last"))
    with at_hand(url, only_read=True) as folder:
        said = json.loads((folder / "run.json").read_text())
    print(
        f"  run.json of the last: {said['store_retries']} of {said['store_requests']} requests tried again", flush=True
    )
    print(f"  at most {lost_at_most:.1f} s of work lost (output.flush_seconds={FLUSH_SECONDS:g})", flush=True)


def two_at_once(trial: Trial, url: str) -> None:
    usual, trial.step_seconds = trial.step_seconds, 2.0  # it must not end before the second one begins
    first = trial.start(url, "scratch_a")
    trial.step_seconds = usual
    trial.wait_until_posing(first)
    begin = time.monotonic()
    second = trial.start(url, "scratch_b")
    code = second.wait()
    said = trial.log.read_text().strip().splitlines()[-1]
    print(f"  the second: exit code {code} after {time.monotonic() - begin:.1f} s: {said}", flush=True)
    first.kill()
    first.wait()


def shards(trial: Trial, url: str) -> None:
    started = []
    for shard in range(3):
        started.append(trial.start(url, f"shard{shard}", "data.num_shards=3", f"data.shard={shard}"))
    trial.wait_until_posing(started[2])
    time.sleep(FLUSH_SECONDS)
    started[1].kill()
    started[1].wait()
    shutil.rmtree(trial.folder / "shard1")
    started[1] = trial.start(url, "shard1again", "data.num_shards=3", "data.shard=1")
    codes = [process.wait() for process in started]
    with at_hand(url, only_read=True) as folder:
        status = json.loads((folder / "run.json").read_text())["status"]
    print(f"  exit codes {codes}, run.json says {status}", flush=True)


def moto_server() -> tuple[subprocess.Popen, int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    header = {"Authorization": "AWS4-HMAC-SHA256 Credential=key/x/us-east-1/s3/"}
    while True:
        try:
            urllib.request.urlopen(
                urllib.request.Request(f"http://127.0.0.1:{port}/bucket", method="PUT", headers=header)
            )
            return server, port
        except OSError:
            time.sleep(0.3)


def spoil(number: int, method: str, path: str) -> Answer | None:
    """One of 100 is busy, another is cut off."""
    return {50: Answer(503), 99: Answer(None)}.get(number % 100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--pictures", type=int, default=1200)
    parser.add_argument("--step", type=float, default=0.1, help="seconds that each batch takes longer")
    args = parser.parse_args()
    server, port = moto_server()
    try:
        line = Line(port)
        os.environ.update(CREDENTIALS | {"AWS_ENDPOINT_URL": line.url, "OMP_NUM_THREADS": "1"})
        os.environ["PYTHONPATH"] = str(Path(__file__).parent.parent)
        with tempfile.TemporaryDirectory(prefix="bucket_kills-") as folder:
            trial = Trial(Path(folder), args.pictures, args.step)
            trial.finish(trial.start(f"{folder}/local", "unused"))
            expected, _ = results_of(f"{folder}/local")
            line.spoil = spoil
            print("killed:", flush=True)
            kills(trial, "s3://bucket/kills", args.kills)
            check_same("s3://bucket/kills", expected)
            print("two at once:", flush=True)
            two_at_once(trial, "s3://bucket/two")
            print("three shards, one killed:", flush=True)
            shards(trial, "s3://bucket/shards")
            check_same("s3://bucket/shards", expected)
            print(f"{len(line.asked)} requests, of which 2 of 100 were spoilt", flush=True)
            line.close()
    finally:
        server.send_signal(signal.SIGTERM)


if __name__ == "__main__":
    main()
