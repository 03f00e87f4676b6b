"""What does the plan of a large run cost? `python benchmarks/plan.py [--images 1000000] [--boxes 2]`

Makes a folder of so many files (all but the first ones empty) and a CSV file with so many boxes for each. Then a
process of its own imports the package, lists the files, reads the boxes, plans the batches, and waits for the first
one from one worker. Shown are the CPU time and the peak of the memory of the main process by step, and the private
memory of the worker behind the first batch and behind a thousand. Linux only.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

IN_A_FOLDER = 1000
REAL = 16


def make_inputs(folder: Path, num_images: int, num_boxes: int) -> None:
    """`images/` and `boxes.csv`; file names as long as cameras and extractors write them."""
    import cv2
    import numpy as np

    picture = cv2.imencode(".jpg", np.full((400, 300, 3), 90, np.uint8))[1].tobytes()
    with open(folder / "boxes.csv", "w", encoding="utf-8") as table:
        table.write("image,x1,y1,x2,y2,score\n")
        for index in range(num_images):
            name = f"camera_{index // IN_A_FOLDER:04d}/photograph_{index:07d}.jpg"
            path = folder / "images" / name
            if index % IN_A_FOLDER == 0:
                path.parent.mkdir(parents=True)
            with open(path, "wb") as file:
                file.write(picture if index < REAL else b"")
            for box in range(num_boxes):
                left, top = (index * 7 + box * 31) % 100 + 0.25, (index * 3 + box) % 100 + 0.5
                table.write(f"{name},{left},{top},{left + 120.125},{top + 240},{0.5 + 0.001 * (index % 400):.3f}\n")


def private_mb(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(kb) for kb in re.findall(r"^Private_\w+:\s+(\d+)", text, re.MULTILINE)) / 1e3


def measure(folder: Path) -> None:
    """Runs in a process of its own."""
    steps: list[tuple[str, float, float]] = []

    def step(name: str) -> None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        steps.append((name, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20))

    from sapiens_pl.boxes.csv_boxes import CsvBoxes
    from sapiens_pl.data.datamodule import ImageDataModule

    step("imports")
    boxes = CsvBoxes(str(folder / "boxes.csv"))
    data = ImageDataModule(str(folder / "images"), boxes, (256, 192), num_workers=1)
    data.pictures()
    step("listing")
    data.setup()
    step("boxes and tasks")
    loader = data.predict_dataloader()
    step("plan")
    batches = iter(loader)
    first = next(batches)
    step("first batch")
    assert len(first.crops) == data.batch_size, first.parts
    (worker,) = (int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())
    private = private_mb(worker)
    for _ in islice(batches, 1000):
        pass
    before = 0.0
    for name, seconds, gib in steps:
        print(f"  {name:<16} {seconds - before:6.1f} s CPU, peak so far {gib:.2f} GiB")
        before = seconds
    print(
        f"  start to first batch {before:.1f} s CPU; worker {private:.0f} MB private, later {private_mb(worker):.0f} MB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--boxes", type=int, default=2, help="for each image")
    parser.add_argument("--inputs", help="a folder of earlier inputs, or where to make them to be kept")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        return measure(Path(args.inputs))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.inputs or temporary)
        if not (folder / "boxes.csv").exists():
            folder.mkdir(exist_ok=True, parents=True)
            make_inputs(folder, args.images, args.boxes)
        begin = time.perf_counter()
        command = [sys.executable, __file__, "--measure", "--inputs", str(folder)]
        print(f"{folder}:" if args.inputs else f"{args.images} images, {args.boxes} boxes each:", flush=True)
        subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        print(f"  {time.perf_counter() - begin:.1f} s in all")


if __name__ == "__main__":
    main()
