"""The maximum of a whole blurred map, on CUDA, only for the maps that need it (a Triton kernel).

Few maps of a trained network do, but asking the device which would wait for it: here each map has a program of
its own, which ends at once where it has nothing to do.

Legend: M maps, h w heatmap px.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _largest_blurred(
    maps,
    kernel,
    weak,
    maxima,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    RADIUS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    index = tl.program_id(0).to(tl.int64)
    if tl.load(weak + index) != 0:
        heatmap = maps + index * HEIGHT * WIDTH
        largest = tl.full((ROWS, COLUMNS), float("-inf"), tl.float32)
        for top in range(0, HEIGHT, ROWS):
            for left in range(0, WIDTH, COLUMNS):
                y = top + tl.arange(0, ROWS)[:, None]
                x = left + tl.arange(0, COLUMNS)[None, :]
                blurred = tl.zeros((ROWS, COLUMNS), tl.float32)
                for down in range(-RADIUS, RADIUS + 1):
                    row_inside = (y + down >= 0) & (y + down < HEIGHT)
                    places = heatmap + (y + down) * WIDTH + x
                    across = tl.zeros((ROWS, COLUMNS), tl.float32)
                    for right in tl.static_range(-RADIUS, RADIUS + 1):
                        inside = row_inside & (x + right >= 0) & (x + right < WIDTH)
                        across += tl.load(places + right, mask=inside, other=0.0) * tl.load(kernel + RADIUS + right)
                    blurred += across * tl.load(kernel + RADIUS + down)
                inside = (y < HEIGHT) & (x < WIDTH)
                largest = tl.maximum(largest, tl.where(inside, blurred, float("-inf")))
        tl.store(maxima + index, tl.max(largest))


def largest_where_weak(maps: Tensor, weak: Tensor, kernel: Tensor) -> Tensor:
    """Blurs, with zeros around, and takes the maximum.

    Args:
        maps: (M, h, w) float32.
        weak: (M,) bool.
        kernel: (n,) float32, n odd: the blur along either axis.

    Returns:
        (M,) float32; what is not weak has 1.
    """
    maps, maxima = maps.contiguous(), torch.ones(len(maps), device=maps.device)
    sizes = {"HEIGHT": maps.shape[1], "WIDTH": maps.shape[2], "RADIUS": len(kernel) // 2, "ROWS": 8, "COLUMNS": 64}
    with torch.cuda.device_of(maps):
        _largest_blurred[(len(maps),)](maps, kernel, weak.to(torch.uint8), maxima, **sizes)
    return maxima
