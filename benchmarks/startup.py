"""What do the weights cost several processes of one machine? `python benchmarks/startup.py [--dtype bfloat16]`

Random weights of the published 0.3b shape (308 keypoints) in a file, then a run of one and of two ranks on the CPU that
makes one forward pass each; and the same with a network of next to no weights. The peak of the memory of all processes
of a run together (their proportional set sizes, so what they share counts once) is shown in all and without files.
Linux only.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from sapiens_pl.models.checkpoints import save_network
from sapiens_pl.models.sapiens import SapiensPose, SapiensShape

SHAPES = {
    "0.3b": SapiensShape(1024, 24, 16, 4096, (768, 768), (768, 768), 308, (1024, 768)),
    "next to none": SapiensShape(32, 1, 2, 64, (8, 8), (8,), 308, (1024, 768)),
}
GIB_IN_KB = 2**20


def memory_kb(session: int) -> tuple[int, int]:
    """Proportional set size of all processes of a session: all of it, and what no file backs."""
    total = anonymous = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if int((entry / "stat").read_text().rpartition(")")[2].split()[3]) != session:
                    continue
                rollup = (entry / "smaps_rollup").read_text()
            except OSError:  # it has ended
                continue
            total += int(re.search(r"^Pss:\s+(\d+)", rollup, re.MULTILINE)[1])
            anonymous += int(re.search(r"^Pss_Anon:\s+(\d+)", rollup, re.MULTILINE)[1])
    return total, anonymous


def peak_of_run(checkpoint: Path, images: Path, output: Path, ranks: int) -> tuple[float, float]:
    """GiB in all, and without files."""
    command = [sys.executable, "-m", "sapiens_pl.predict", f"data.images={images}", "boxes=whole_image"]
    command += [f"model.checkpoint={checkpoint}", "trainer.accelerator=cpu", f"trainer.devices={ranks}"]
    command += ["data.batch_size=1", "data.num_workers=0", f"hydra.run.dir={output}"]
    command += ["trainer.strategy=ddp"] if ranks > 1 else []
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    peak = peak_anonymous = 0
    while process.poll() is None:
        total, anonymous = memory_kb(process.pid)
        peak, peak_anonymous = max(peak, total), max(peak_anonymous, anonymous)
        time.sleep(0.1)
    if process.returncode:
        sys.exit(f"A run did not come to its end: exit code {process.returncode}.")
    return peak / GIB_IN_KB, peak_anonymous / GIB_IN_KB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the file")
    dtype = getattr(torch, parser.parse_args().dtype)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "images").mkdir()
        for number in range(2):
            cv2.imwrite(str(folder / "images" / f"{number}.png"), np.full((400, 300, 3), 90 * number, np.uint8))
        for name, shape in SHAPES.items():
            torch.manual_seed(0)
            checkpoint = folder / f"{name.replace(' ', '_')}.safetensors"
            save_network(SapiensPose(shape).to(dtype), checkpoint)
            print(f"{name}: a file of {checkpoint.stat().st_size / 2**30:.2f} GiB", flush=True)
            for ranks in (1, 2):
                total, anonymous = peak_of_run(checkpoint, folder / "images", folder / f"{name}{ranks}", ranks)
                print(f"  {ranks} ranks: {total:.2f} GiB in all, {anonymous:.2f} GiB without files", flush=True)


if __name__ == "__main__":
    main()
