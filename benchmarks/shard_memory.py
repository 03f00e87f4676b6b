"""Do many tars take more memory than few? `python -m benchmarks.shard_memory [--tars 10 100] [--pictures 1000]`

Runs the real command over tars of so many small pictures each, with a network of next to no cost, and samples its
memory: what is the main process's own (RssAnon), the same with the pages of files that it maps (VmRSS), and the private
memory of all worker processes together. Mapped pages are most in the last tenth of a second, when torch's libraries are
taken down: after `import torch` alone, too.

`--nobody`: tars of pictures of one pixel in which nobody is (`boxes=sample`), which no network sees. `--detector`:
`boxes=detector`, whose network is replaced by one person a picture, so that what is kept of it counts. `--portion`: so
many pictures are planned at a time, so that few tars will do. Each run is then repeated, which finds nothing to do.
`--kill`: the first run is killed (SIGKILL) when half of its tars have their part, and started again. `--timeline FILE`
writes what the main process has resident, sample by sample. Linux only.
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

_BETWEEN_SAMPLES_SECONDS = 0.5
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
    """MB and seconds; `first_record` from the start of the command; `own` of the main process, `main` with files."""

    own: float
    main: float
    workers: float
    first_record: float | None
    seconds: float
    num_files: int


class Watch(NamedTuple):
    """Where samples are written, and after how many parts the run is killed (None: never)."""

    timeline: Path | None = None
    kill_after: int | None = None


def save_tiny_network(file: Path) -> None:
    torch.manual_seed(0)
    save_network(SapiensPose(SapiensShape(8, 1, 2, 16, (8, 8), (8,), 17, (64, 48))), file)


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


def resident_mb(pid: int) -> dict[str, float]:
    """By kind: all (VmRSS), its own (RssAnon), of files (RssFile)."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    kinds = ("VmRSS:", "RssAnon:", "RssFile:")
    return {line.split(":")[0]: int(line.split()[1]) / 1000 for line in lines if line.startswith(kinds)}


def children(pid: int) -> list[int]:
    try:
        return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def num_files(folder: Path, kind: str) -> int:
    return sum(1 for _ in (folder / "records").glob(kind))


def watch(command: list[str], folder: Path, how: Watch) -> Measured:
    begin = time.monotonic()
    own = main = workers = 0.0
    first, killed = None, False
    before = num_files(folder, "journal-*") + num_files(folder, "pictures-*")
    with open(folder.with_suffix(".log"), "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        while process.poll() is None:
            resident = resident_mb(process.pid)
            own, main = max(own, resident.get("RssAnon", 0.0)), max(main, resident.get("VmRSS", 0.0))
            workers = max(workers, sum(map(private_mb, children(process.pid))))
            parts = num_files(folder, "pictures-*")
            seconds = time.monotonic() - begin
            if first is None and parts + num_files(folder, "journal-*") > before:
                first = seconds
            if how.timeline:
                with open(how.timeline, "a") as lines:
                    print(f"{seconds:.1f} {resident} {parts} parts", file=lines)
            if how.kill_after and parts >= how.kill_after:
                process.kill()
                killed = True
            time.sleep(_BETWEEN_SAMPLES_SECONDS)
    if process.returncode and not killed:
        sys.exit(folder.with_suffix(".log").read_text()[-2000:])
    files = sum(len(files) for _, _, files in os.walk(folder))
    return Measured(own, main, workers, first, time.monotonic() - begin, files)


def described(found: Measured) -> str:
    return f"main process {found.own:.0f} MB ({found.main:.0f} with files), workers {found.workers:.0f} MB private"


def write_detector(path: Path) -> None:
    save_file(fcos_small().state_dict(), path)


def measure(folder: Path, num_tars: int, options: argparse.Namespace, boxes: list[str]) -> None:
    num_pictures, portion = options.pictures, options.portion
    tars, run = folder / f"tars{num_tars}", folder / f"run{num_tars}"
    write_tars(tars, num_tars, num_pictures, "boxes=sample" in boxes)
    command = [sys.executable, "-c", _COMMAND.format(portion=portion), f"data.images={tars}"]
    command += [*boxes, f"model.checkpoint={folder / 'n.safetensors'}"]
    command += ["model.num_heads=2", "data.batch_size=64", "data.num_workers=1", "trainer.accelerator=cpu"]
    command += ["output.formats=[]", f"hydra.run.dir={run}", *options.more]
    runs = ["killed", "after the kill", "again"] if options.kill else ["first run", "again"]
    for what in runs:
        found = watch(command, run, Watch(options.timeline, num_tars // 2 if what == "killed" else None))
        first = f"first record after {found.first_record:.1f} s, " if found.first_record else ""
        done = "" if what == "killed" else f"{json.loads((run / 'run.json').read_text())['folder']['done']} done, "
        took = f"{first}{found.seconds:.1f} s in all; {done}{found.num_files} files"
        print(f"{num_tars} tars of {num_pictures}, {what}: {described(found)}; {took}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tars", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--portion", type=int, default=PICTURES_A_PORTION)
    parser.add_argument("--nobody", dest="boxes", action="store_const", const="sample", default="whole_image")
    parser.add_argument("--detector", dest="boxes", action="store_const", const="detector")
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--timeline", type=Path)
    parser.add_argument("more", nargs="*", help="settings of the command")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        save_tiny_network(folder / "n.safetensors")
        boxes = [f"boxes={options.boxes}"]
        if options.boxes == "detector":
            write_detector(folder / "d.safetensors")
            boxes += ["boxes.model=fcos_small", f"boxes.weights={folder / 'd.safetensors'}"]
        for num_tars in options.tars:
            measure(folder, num_tars, options, boxes)


if __name__ == "__main__":
    main()
