"""Do many tars take more memory than few? `python -m benchmarks.shard_memory [--tars 10 100] [--pictures 1000]`

Runs the real command over tars of so many small pictures each, with a network of next to no cost, and samples its
memory: what is resident of the main process, and the private memory of all worker processes together. `--nobody`: tars
of pictures of one pixel in which nobody is (`boxes=sample`), which no network sees. `--detector`: `boxes=detector`,
whose network is replaced by one person a picture, so that what is kept of it counts. `--portion`: so many pictures are
planned at a time, so that few tars will do. Each run is then repeated, which finds nothing to do. Linux only.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from safetensors.torch import save_file

from sapiens_pl.data.planning import PICTURES_A_PORTION
from sapiens_pl.detection.fcos_small import fcos_small
from sapiens_pl.models.checkpoints import save_network
from sapiens_pl.models.sapiens import SapiensPose, SapiensShape

_BETWEEN_SAMPLES_SECONDS = 0.25
_COMMAND = """
import numpy as np
from sapiens_pl.data import planning
from sapiens_pl.detection.module import DetectionModule
from sapiens_pl.predict import main
planning.PICTURES_A_PORTION = {portion}
DetectionModule._detect = lambda self, images: [np.array([[4, 2, 30, 40, 0.9]]) for _ in images]
main()
"""


class Measured(NamedTuple):
    """MB and seconds; `first_record` from the start of the command."""

    main: float
    workers: float
    first_record: float | None
    seconds: float
    num_files: int


def write_tars(folder: Path, num_tars: int, num_pictures: int, nobody: bool) -> None:
    """The first one is written, the others are copies under other names: only their number counts."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    first = folder / "00000.tar"
    side = 1 if nobody else 48
    picture = cv2.imencode(".png", rng.integers(0, 256, (side, side, 3)).astype(np.uint8))[1].tobytes()
    note = json.dumps({"bboxes": []}).encode()
    with tarfile.open(first, "w") as tar:
        for index in range(num_pictures):
            members = {"png": picture} | ({"json": note} if nobody else {})
            for suffix, data in members.items():
                info = tarfile.TarInfo(f"{index:06d}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    for number in range(1, num_tars):
        os.link(first, folder / f"{number:05d}.tar")


def private_mb(pid: int) -> float:
    """Memory that the process shares with nobody."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean", "Private_Dirty"))) / 1000


def resident_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith("VmRSS")), 0.0)


def children(pid: int) -> list[int]:
    try:
        return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def has_records(folder: Path) -> bool:
    return any((folder / "records").glob("journal-*")) or any((folder / "records").glob("pictures-*"))


def watch(command: list[str], folder: Path) -> Measured:
    begin = time.monotonic()
    main = workers = 0.0
    first = None
    with open(folder.with_suffix(".log"), "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        while process.poll() is None:
            main = max(main, resident_mb(process.pid))
            workers = max(workers, sum(map(private_mb, children(process.pid))))
            if first is None and has_records(folder):
                first = time.monotonic() - begin
            time.sleep(_BETWEEN_SAMPLES_SECONDS)
    if process.returncode:
        sys.exit(folder.with_suffix(".log").read_text()[-2000:])
    num_files = sum(len(files) for _, _, files in os.walk(folder))
    return Measured(main, workers, first, time.monotonic() - begin, num_files)


def write_detector(path: Path) -> None:
    save_file(fcos_small().state_dict(), path)


def measure(folder: Path, num_tars: int, num_pictures: int, portion: int, boxes: list[str], more: list[str]) -> None:
    tars, run = folder / f"tars{num_tars}", folder / f"run{num_tars}"
    write_tars(tars, num_tars, num_pictures, "boxes=sample" in boxes)
    command = [sys.executable, "-c", _COMMAND.format(portion=portion), f"data.images={tars}"]
    command += [*boxes, f"model.checkpoint={folder / 'n.safetensors'}"]
    command += ["model.num_heads=2", "data.batch_size=64", "data.num_workers=1", "trainer.accelerator=cpu"]
    command += ["output.formats=[]", f"hydra.run.dir={run}", *more]
    for what in ("first run", "again"):
        found = watch(command, run)
        counts = json.loads((run / "run.json").read_text())["folder"]
        first = f"first record after {found.first_record:.1f} s, " if what == "first run" and found.first_record else ""
        print(
            f"{num_tars} tars of {num_pictures}, {what}: main process {found.main:.0f} MB, workers {found.workers:.0f} "
            f"MB private; {first}{found.seconds:.1f} s in all; {counts['done']} done, {found.num_files} files",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tars", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--portion", type=int, default=PICTURES_A_PORTION)
    parser.add_argument("--nobody", dest="boxes", action="store_const", const="sample", default="whole_image")
    parser.add_argument("--detector", dest="boxes", action="store_const", const="detector")
    parser.add_argument("more", nargs="*", help="settings of the command")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        torch.manual_seed(0)
        save_network(SapiensPose(SapiensShape(8, 1, 2, 16, (8, 8), (8,), 17, (64, 48))), folder / "n.safetensors")
        boxes = [f"boxes={options.boxes}"]
        if options.boxes == "detector":
            write_detector(folder / "d.safetensors")
            boxes += ["boxes.model=fcos_small", f"boxes.weights={folder / 'd.safetensors'}"]
        for num_tars in options.tars:
            measure(folder, num_tars, options.pictures, options.portion, boxes, options.more)


if __name__ == "__main__":
    main()
