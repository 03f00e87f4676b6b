"""Does a published network run here? `python -m benchmarks.forward_once [--size 0.3b]`

One forward pass of one crop through random weights of a published Sapiens v1 shape (308 keypoints), in float32 and with
bfloat16 weights, on one thread of the CPU; and how far the two heatmaps lie apart.
"""

from __future__ import annotations

import argparse
import time

import torch

from benchmarks.networks import flops_a_crop
from sapiens_pl.models.sapiens import SapiensPose
from sapiens_pl.models.zoo import SAPIENS_SIZES, sapiens_shape


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SAPIENS_SIZES, default="0.3b")
    shape = sapiens_shape(parser.parse_args().size, 308)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network, crops = SapiensPose(shape).eval().requires_grad_(False), torch.randn(1, 3, *shape.input_hw)
    heatmaps = []
    for dtype in (torch.float32, torch.bfloat16):
        network, crops = network.to(dtype), crops.to(dtype)
        begin = time.perf_counter()
        with torch.inference_mode():
            heatmaps.append(network(crops))
        seconds = time.perf_counter() - begin
        assert heatmaps[-1].dtype == torch.float32 and torch.isfinite(heatmaps[-1]).all()
        print(f"{dtype}: {seconds:.1f} s, {flops_a_crop(shape) / seconds / 1e9:.0f} GFLOP/s", flush=True)
    apart = (heatmaps[1] - heatmaps[0]).abs().mean() / heatmaps[0].std()
    print(f"mean difference of the heatmaps: {apart:.4f} of their standard deviation")


if __name__ == "__main__":
    main()
