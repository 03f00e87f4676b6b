"""Networks with random weights, to be timed.

Their heatmaps have a bias of 1: noise around zero would have every map blurred whole when it is decoded, which of a
trained network's maps few have to be.
"""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.report import default_device
from sapiens_pl.models.sapiens import SapiensPose, SapiensShape
from sapiens_pl.models.sapiens2 import Sapiens2Pose, Sapiens2Shape, config_of


def tiny_shape(num_keypoints: int = 17) -> SapiensShape:
    """Of Sapiens' architecture, at next to no cost: to see that a benchmark works."""
    return SapiensShape(32, 2, 2, 64, (16, 16), (16,), num_keypoints, (64, 48))


def build(shape: SapiensShape, dtype: torch.dtype = torch.float32) -> SapiensPose:
    """A v1 network made on the device."""
    torch.manual_seed(0)
    with default_device():
        network = SapiensPose(shape).to(dtype).eval().requires_grad_(False)
    network.head.final_layer.bias.fill_(1)
    return network


def tiny_sapiens2_shape() -> Sapiens2Shape:
    return Sapiens2Shape(32, 2, 2, (2, 2), 64, 2, (16, 16), (16,), 17, (64, 48))


def build_sapiens2(shape: Sapiens2Shape, dtype: torch.dtype = torch.float32) -> Sapiens2Pose:
    """A Sapiens2 network made on the device."""
    torch.manual_seed(0)
    with default_device():
        network = Sapiens2Pose(config_of(shape), shape.input_hw)
    network = network.to(default_device(), dtype).eval().requires_grad_(False)
    network.decode_head.predictor.bias.fill_(1)
    return network


def crops_for(network: Any, count: int) -> torch.Tensor:
    """(count, 3, H, W) uint8 noise on the device, in the loader's layout."""
    height, width = network.shape.input_hw
    device = next(network.parameters()).device
    return torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8, device=device).permute(0, 3, 1, 2)
