"""(e) Does the main process grow? `python -m benchmarks.memory [--images 100000]`

Runs the real command over so many small images with a network of next to no cost, and samples the main
process's resident memory and open files while it works.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.report import Result, Row
from sapiens_pl.models.checkpoints import save_network
from sapiens_pl.models.sapiens import SapiensPose, SapiensShape


def make_images(folder: Path, count: int) -> None:
    """Links to 100 different pictures of 24 to 64 px, a thousand a folder."""
    rng, pictures = np.random.default_rng(0), []
    (folder / "pictures").mkdir()
    for index in range(100):
        pictures.append(folder / "pictures" / f"{index}.png")
        cv2.imwrite(str(pictures[-1]), rng.integers(0, 256, (*rng.integers(24, 64, 2), 3)).astype(np.uint8))
    for index in range(count):
        target = folder / "images" / f"{index // 1000:04d}" / f"{index:06d}.png"
        if index % 1000 == 0:
            target.parent.mkdir(parents=True)
        os.link(pictures[index % 100], target)


def num_files(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


def sample(pid: int) -> tuple[float, int]:
    """Resident memory in MB, and open files."""
    status = Path(f"/proc/{pid}/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return resident / 1000, len(os.listdir(f"/proc/{pid}/fd"))


def watch_run(num_images: int, num_workers: int) -> list[Row]:
    """Runs the command; its main process's memory at each twentieth of the images."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_images(folder, num_images)
        torch.manual_seed(0)
        save_network(SapiensPose(SapiensShape(8, 1, 2, 16, (8, 8), (8,), 17, (64, 48))), folder / "n.safetensors")
        command = [sys.executable, "-m", "sapiens_pl.predict", f"data.images={folder / 'images'}", "boxes=whole_image"]
        command += [f"model.checkpoint={folder / 'n.safetensors'}", "model.num_heads=2", "data.batch_size=64"]
        command += [f"data.num_workers={num_workers}", "trainer.accelerator=cpu", f"hydra.run.dir={folder / 'run'}"]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        milestones = [num_images * part // 20 for part in range(1, 20)]
        while process.poll() is None:
            done = num_files(folder / "run" / "predictions") if (folder / "run" / "predictions").is_dir() else 0
            if milestones and done >= milestones[0]:
                resident, handles = sample(process.pid)
                rows.append({"images done": done, "resident, MB": round(resident, 1), "open files": handles})
                print(f"{done:7d} images done: {resident:7.1f} MB resident, {handles} open files", flush=True)
                milestones = [milestone for milestone in milestones if milestone > done]
            time.sleep(0.5)
        if process.returncode or num_files(folder / "run" / "predictions") != num_images:
            sys.exit(f"The run did not come to its end: exit code {process.returncode}.")
    return rows


def run(quick: bool) -> Result:
    num_images = 10_000 if not quick else 64
    rows = watch_run(num_images, 1)
    notes = [f"{num_images} small images in one run, a network of next to no cost; Linux only."]
    return Result("memory", "Does the main process grow over a long run?", rows, notes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    watch_run(args.images, args.workers)


if __name__ == "__main__":
    main()
