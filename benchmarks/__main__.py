"""All benchmarks, or those named: `python -m benchmarks [stages pipeline ...] [--quick] [--output FOLDER]`.

stages, choices, pipeline, batch_sizes, precision, compiled, memory, records, tracking, video_reading, stream, gpu,
film. Each leaves `FOLDER/NAME.json` and `FOLDER/NAME.md`. `gpu` runs where CUDA is, `film` takes a quarter of an hour.
Each runs in a process of its own, one after the other.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import time
from pathlib import Path

import torch

from benchmarks.report import save
from sapiens_pl.core.logs import quieten_libraries

NAMES = ("stages", "choices", "pipeline", "batch_sizes", "precision", "compiled", "memory", "records", "tracking")
NAMES += ("video_reading", "stream")
ON_REQUEST = ("gpu", "film")
ON_CUDA = ("gpu", "batch_sizes", "precision", "compiled")
"""What a machine with a GPU is asked by default: the other tables are of its processor, and `gpu` has whole runs."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*NAMES, *ON_REQUEST, []], help="which; all that suit the machine")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it work?")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    names = args.names or (ON_CUDA if torch.cuda.is_available() else NAMES)
    if len(names) == 1:
        quieten_libraries()
        save(importlib.import_module(f"benchmarks.{names[0]}").run(args.quick), args.output)
        return
    failed = []
    for name in names:
        begin = time.perf_counter()
        command = [sys.executable, "-m", "benchmarks", name, "--output", str(args.output)]
        environment = os.environ | ({"OMP_NUM_THREADS": "1"} if name in ("stages", "choices") else {})
        if subprocess.run([*command, *(["--quick"] if args.quick else [])], env=environment).returncode:
            failed.append(name)
        print(f"{name}: {time.perf_counter() - begin:.0f} s", flush=True)
    if failed:
        sys.exit(f"These broke off: {', '.join(failed)}")


if __name__ == "__main__":
    main()
