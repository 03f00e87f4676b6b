"""How much faster are two processes than one? `python benchmarks/processes.py [--processes 2] [--rounds 3]`

Single-threaded processes that read, crop and compute themselves (`data.num_workers=0`), with the demo network on drawn
figures: one alone, then several shards at the same time, in turn. Speeds count from the end of the first batch, and
those of the shards are added up, so the start-up is not in them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from sapiens_pl.demo.draw import random_scenes, write_scenes


def crops_per_second(folder: Path, output: Path, processes: int) -> float:
    command = [sys.executable, "-m", "sapiens_pl.predict", "model=demo", f"data.images={folder / 'images'}"]
    command += ["boxes=json", f"boxes.file={folder / 'people.json'}", "trainer.accelerator=cpu", "data.num_workers=0"]
    command += [f"data.num_shards={processes}", f"hydra.run.dir={output}", "trainer.enable_progress_bar=false"]
    running = [
        subprocess.Popen(
            [*command, f"data.shard={shard}"], env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL
        )
        for shard in range(processes)
    ]
    codes = [process.wait() for process in running]
    run = json.loads((output / "run.json").read_text())
    if any(codes) or run["status"] != "complete":
        sys.exit(f"A run did not come to its end: exit codes {codes}.")
    return run["warm_crops_per_second"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_scenes(folder, random_scenes(args.images, seed=3))
        for number in range(args.rounds):
            one = crops_per_second(folder, folder / f"one{number}", 1)
            several = crops_per_second(folder, folder / f"several{number}", args.processes)
            ratios.append(several / one)
            print(
                f"one {one:.2f}, {args.processes} processes {several:.2f} crops/s: {ratios[-1]:.2f} times", flush=True
            )
    print(f"median {statistics.median(ratios):.2f} times of {args.rounds} rounds")


if __name__ == "__main__":
    main()
