"""What does a bucket cost against a disk? `python benchmarks/remote.py [--images 200] [--rounds 3] [--seconds 0.05]`

The demo network on drawn figures, at the same time from a folder and from an S3 server on this machine (moto, in a
process of its own) behind a line that lets each request wait: whatever else the machine does slows both. The same as
files and as tars. Speeds count from the end of the first batch. Where cores are scarce that ratio also has the work of
S3's protocol in it, and the server's; so the time is told too that a loader process waits for a picture's bytes, which
is what latency costs, and the processor time of a picture. Then a line on which 2 of 100 requests are answered with
503 or cut in the middle. All records must be the same as those from the disk.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from sapiens_pl.core import remote
from sapiens_pl.demo.draw import random_scenes, write_scenes

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

BUCKET = "s3://bucket"
_TARS = 4
_NOTING_WAITS = """
import concurrent.futures, os, sys, time
from sapiens_pl.pictures.ahead import Ahead
from sapiens_pl.predict import main
taken = Ahead.take
def take(self, index):
    coming, begin = taken(self, index), time.perf_counter()
    if coming is not None:
        concurrent.futures.wait([coming])
        with open(os.environ["WAITS"], "a") as file:
            file.write(f"{time.perf_counter() - begin}\\n")
    return coming
Ahead.take = take
main()
"""


@contextmanager
def bucket() -> Iterator[subprocess.Popen[str]]:
    """A server in a process of its own, which takes what its line does from its input."""
    from stores import CREDENTIALS

    command = [sys.executable, __file__, "--serve"]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    os.environ |= CREDENTIALS | {"AWS_ENDPOINT_URL": server.stdout.readline().strip()}
    try:
        yield server
    finally:
        server.kill()


def serve() -> None:
    import logging

    from stores import Answer, s3_line

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with s3_line() as line:
        print(line.url, flush=True)
        for order in sys.stdin:
            seconds, one_in = map(float, order.split())
            line.seconds, every = seconds, int(one_in)

            def spoil(number: int, method: str, path: str, every: int = every) -> Answer | None:
                return {0: Answer(503), every // 2: Answer(None)}.get(number % every) if every else None

            line.spoil = spoil
            print("done", flush=True)


def tell(server: subprocess.Popen[str], seconds: float, one_in: int = 0) -> None:
    assert server.stdin is not None and server.stdout is not None
    print(seconds, one_in, file=server.stdin, flush=True)
    server.stdout.readline()


def begin(images: str, output: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _NOTING_WAITS, "model=demo", f"data.images='{images}'", *more]
    command += ["trainer.accelerator=cpu", "data.num_workers=1", f"output.dir={output}", "output.formats=[]"]
    command += ["trainer.enable_progress_bar=false"]
    own = os.environ | {"OMP_NUM_THREADS": "1", "WAITS": str(output.with_suffix(".waits"))}
    return subprocess.Popen(command, env=own, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(running: subprocess.Popen[str], output: Path) -> dict[str, Any]:
    """`run.json`, and in `cpu` the processor seconds of the run and its workers."""
    assert running.stderr is not None
    said = running.stderr.read()
    _, status, used = os.wait4(running.pid, 0)
    running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        sys.exit(f"{output.name}: exit code {running.returncode}. {said}")
    account: dict[str, Any] = json.loads((output / "run.json").read_text())
    return account | {"cpu": used.ru_utime + used.ru_stime}


def waits(output: Path) -> str:
    """In the loader process, for pictures that were asked for ahead."""
    file = output.with_suffix(".waits")
    seconds = [float(line) for line in file.read_text().split()] if file.exists() else []
    if not seconds:
        return "none waited for"
    late = sum(each > 0.001 for each in seconds)
    return f"{1000 * statistics.mean(seconds):.1f} ms waited a picture ({late} of {len(seconds)} were not there yet)"


def keypoints(output: Path) -> dict[tuple[str, int], np.ndarray]:
    columns = ["image", "instance_id", "keypoints_x", "keypoints_y", "keypoint_scores"]
    tables = [pq.read_table(path) for path in sorted((output / "records").rglob("people-*.parquet"))]
    found = {}
    for row in (row for table in tables for row in table.to_pylist()):
        name, person = (row[key] for key in (columns[0] if columns[0] in row else "name", columns[1]))
        found[name, person] = np.array([row[column] for column in columns[2:]])
    return found


def same(one: Path, other: Path) -> str:
    first, second = keypoints(one), keypoints(other)
    equal = first.keys() == second.keys() and all(np.array_equal(first[key], second[key]) for key in first)
    return f"{len(second)} people, {'the same records' if equal else 'OTHER RECORDS'}"


def fill(folder: Path, num_images: int) -> None:
    write_scenes(folder, random_scenes(num_images, seed=5))
    (folder / "tars").mkdir()
    files = sorted(path for path in (folder / "images").iterdir())
    for number in range(_TARS):
        with tarfile.open(folder / "tars" / f"{number:05d}.tar", "w") as tar:
            for path in files[number::_TARS]:
                tar.add(path, path.name)
    for path in (*files, *sorted((folder / "tars").iterdir())):
        remote.put_file(f"{BUCKET}/{path.relative_to(folder)}", path)


def measure(folder: Path, options: argparse.Namespace) -> None:
    of_files = "boxes=json", f"boxes.file={folder / 'people.json'}"
    kinds = {"images": of_files, "tars": ("boxes=whole_image",)}
    with bucket() as server:
        tell(server, 0.0)
        fill(folder, options.images)
        for kind, boxes in kinds.items():
            ratios = []
            for number in range(options.rounds):
                local, behind = folder / f"local_{kind}{number}", folder / f"bucket_{kind}{number}"
                tell(server, options.seconds)
                running = begin(str(folder / kind), local, *boxes), begin(f"{BUCKET}/{kind}/", behind, *boxes)
                one, two = finish(running[0], local), finish(running[1], behind)
                ratios.append(two["warm_crops_per_second"] / one["warm_crops_per_second"])
                print(
                    f"{kind}: disk {one['warm_crops_per_second']:.2f}, bucket {two['warm_crops_per_second']:.2f} "
                    f"crops/s: {ratios[-1]:.2f}; {waits(behind)}; {two['store_requests']} requests, "
                    f"{two['cpu'] - one['cpu']:.1f} s more CPU than {one['cpu']:.1f}; {same(local, behind)}",
                    flush=True,
                )
            tell(server, 0.0, 100)
            output = folder / f"spoilt_{kind}"
            spoilt = finish(begin(f"{BUCKET}/{kind}/", output, *boxes), output)
            print(
                f"{kind}: median {statistics.median(ratios):.2f} of the disk's speed. 2 of 100 requests spoilt: "
                f"{spoilt['store_retries']} of {spoilt['store_requests']} tried again; "
                f"{same(folder / f'local_{kind}0', output)}",
                flush=True,
            )
            tell(server, 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.05)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options)


if __name__ == "__main__":
    main()
