"""What does loading weights cost in time and host memory? `python benchmarks/loading.py [--size 0.3b]`

Random weights of a published Sapiens v1 shape (308 keypoints) in a safetensors file and in a TorchScript file; each is
loaded in a process of its own as a run on the CPU loads it, in float32 and in bfloat16, and every weight is read once.
Shown is how far the process's peak (resident memory, what is mapped from the file counted too) grew by that, over the
size of the checkpoint. Linux only.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from sapiens_pl.core.devices import GIB, host_peak_gib, start_afresh
from sapiens_pl.inference.module import PoseModule
from sapiens_pl.models.checkpoints import load_network, save_network
from sapiens_pl.models.sapiens import SapiensPose
from sapiens_pl.models.zoo import SAPIENS_SIZES, sapiens_shape

PRECISIONS = ("32-true", "bf16-true")


class _Holder(nn.Module):
    """Stands for the network in a trace: all of its parameters, next to none of its work."""

    def __init__(self, network: SapiensPose) -> None:
        super().__init__()
        self.backbone, self.head = network.backbone, network.head

    def forward(self, crops: Tensor) -> Tensor:
        return crops + self.backbone.ln1.bias[0]


def write_files(size: str, folder: Path) -> list[Path]:
    """A safetensors and a TorchScript file of the same random weights."""
    network = SapiensPose(sapiens_shape(size, 308)).requires_grad_(False)
    paths = [folder / "weights.safetensors", folder / "weights_torchscript.pt2"]
    save_network(network, paths[0])
    as_torchscript(network, paths[1])
    return paths


def as_torchscript(network: SapiensPose, path: Path) -> None:
    """Writes the weights as a traced file has them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(_Holder(network), torch.zeros(1)), str(path))


def load(path: Path, precision: str) -> tuple[float, float]:
    """Seconds, and GiB by which this process's peak grew."""
    load_network(Path(__file__).parents[1] / "sapiens_pl" / "demo" / "assets" / "demo_network.safetensors")  # imports
    start_afresh()
    before, begin = host_peak_gib(), time.perf_counter()
    module = PoseModule(load_network(path, dtype=None))
    module.place(torch.device("cpu"), precision)
    for weight in module.parameters():
        weight.amax()
    return time.perf_counter() - begin, host_peak_gib() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SAPIENS_SIZES, default="0.3b")
    parser.add_argument("--load", nargs=2, metavar=("FILE", "PRECISION"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        print(*load(Path(options.load[0]), options.load[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        for path in write_files(options.size, Path(folder)):
            gib = path.stat().st_size / GIB
            for precision in PRECISIONS:
                command = [sys.executable, __file__, "--load", str(path), precision]
                answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                seconds, grown = map(float, answer.split())
                print(
                    f"{path.name}, {gib:.2f} GiB, {precision}: {seconds:.1f} s, peak grew by {grown:.2f} GiB, "
                    f"{grown / gib:.2f} of the checkpoint",
                    flush=True,
                )


if __name__ == "__main__":
    main()
