"""What becomes of a run whose ranks are killed? `python benchmarks/faults.py [--ranks 2 4] [--step 6]`

Lightning starts the ranks on the CPU, and a step is made to take seconds, in which no signal is handled, as in a long
forward pass. SIGKILL and SIGTERM go to each rank (the first is the process that was started) at three moments: while
the others start up, in the middle, and near the end. At once the same command is given again, without the slow steps;
its results must be all there and the same bytes as those of a run that nothing happened to.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sapiens_pl.demo import CHECKPOINT
from sapiens_pl.demo.draw import random_scenes, write_scenes

SLOW_STEPS = """
import signal, sys, time
from sapiens_pl.inference.module import PoseModule
step, signals = PoseModule.predict_step, {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1}
def slow_step(self, batch, batch_idx=0):
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    time.sleep(SECONDS)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    return step(self, batch)
if SECONDS:
    PoseModule.predict_step = slow_step
from sapiens_pl.predict import main
main()
"""
MOMENTS = {"start-up": 0.0, "middle": 0.35, "near the end": 0.75}
"""The share of the results that are there by then."""


class Command:
    """One and the same command, as often as it is given."""

    def __init__(self, folder: Path, ranks: int, step: float, arguments: list[str]) -> None:
        self.output, self._log = folder / f"ranks{ranks}", folder / "log.txt"
        self._arguments, self._step = [*arguments, f"trainer.devices={ranks}"], step
        self._folder = folder

    def start(self, output: Path, step: float) -> subprocess.Popen:
        script = self._folder / ("slow.py" if step else "plain.py")
        script.write_text(SLOW_STEPS.replace("SECONDS", str(step)))
        with open(self._log, "w") as log:
            return subprocess.Popen(
                [sys.executable, str(script), *self._arguments, f"hydra.run.dir={output}"],
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=log,
                cwd=self._folder,
            )

    def said(self) -> str:
        """The line that says how it ended."""
        lines = [line for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        if any(line.startswith("Traceback") for line in lines):
            return "TRACEBACK"
        told = [line for line in lines if "broke off" in line or "not reached" in line or line.startswith("error:")]
        return told[-1] if told else ""


def results(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (output / "predictions").rglob("*.json")}


def pid_of(parent: int, rank: int) -> int | None:
    if rank == 0:
        return parent
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        if f"LOCAL_RANK={rank}\0" in Path(f"/proc/{child}/environ").read_bytes().decode(errors="replace"):
            return int(child)
    return None


def try_one(command: Command, output: Path, total: int, rank: int, number: int, share: float) -> tuple:
    """Exit code, results by then, sentence; the same of the command given again."""
    run = command.start(output, command._step)
    while run.poll() is None and (len(results(output)) < share * total or pid_of(run.pid, rank) is None):
        time.sleep(0.1)
    victim = pid_of(run.pid, rank)
    time.sleep(random.uniform(0, 1.5))
    os.kill(victim or run.pid, number)
    code = run.wait(600)
    done, said = len(results(output)), command.said()
    again = command.start(output, 0)
    return code, done, said, again.wait(600), len(results(output)), command.said()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--step", type=float, default=6.0, help="seconds")
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--detector", action="store_true", help="find the boxes first (boxes=detector)")
    args = parser.parse_args()
    random.seed(args.seed)
    wrong = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_scenes(folder, random_scenes(args.images, seed=args.seed))
        arguments = [f"data.images={folder / 'images'}", "trainer.accelerator=cpu", "data.num_workers=1"]
        arguments += [f"model.checkpoint={CHECKPOINT}", "output.overlay=false"]
        arguments += ["boxes=detector", "boxes.model=fcos_small"] if args.detector else ["boxes=json"]
        arguments += [] if args.detector else [f"boxes.file={folder / 'people.json'}"]
        for ranks in args.ranks:
            command = Command(folder, ranks, args.step, [*arguments, "data.batch_size=4"])
            command.start(folder / f"calm{ranks}", 0).wait()
            calm = results(folder / f"calm{ranks}")
            for rank in range(ranks):
                for number in (signal.SIGKILL, signal.SIGTERM):
                    for moment, share in MOMENTS.items():
                        output = folder / f"{ranks}-{rank}-{number}-{share}"
                        row = try_one(command, output, len(calm), rank, number, share)
                        same = results(output) == calm
                        wrong += row[3] != 0 or not same
                        print(
                            f"{ranks} ranks | rank {rank} | {number.name} | {moment} | exit {row[0]} | {row[1]} of "
                            f"{len(calm)} done | {row[2]} | again: exit {row[3]}, {row[4]} done, "
                            f"{'the same bytes' if same else 'OTHER BYTES'} {row[5]}",
                            flush=True,
                        )
    print(f"{wrong} situations were not put right by the same command.")


if __name__ == "__main__":
    main()
