"""Networks with random weights, to be timed.

Their heatmaps have a bias of 1: noise around zero would have every map blurred whole when it is decoded, which of a
trained network's maps few have to be.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.report import default_device
from sapiens_pl.models.sapiens import SapiensPose, SapiensShape
from sapiens_pl.models.sapiens2 import Sapiens2Pose, Sapiens2Shape


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
        network = Sapiens2Pose(shape).to(dtype).eval().requires_grad_(False)
    network.decode_head.last_layer.bias.fill_(1)
    return network


def transformers_network(shape: Sapiens2Shape) -> Any:
    """transformers' own network of that shape, to compare with."""
    from transformers import Sapiens2Config, Sapiens2ForPoseEstimation

    head = {"upsample_out_channels": list(shape.head_dims), "conv_out_channels": list(shape.head_conv_dims)}
    config = Sapiens2Config(
        hidden_size=shape.embed_dim,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads_per_layer=list(shape.num_kv_heads),
        intermediate_size=shape.mlp_dim,
        num_register_tokens=shape.num_registers,
        image_size=list(shape.input_hw),
        num_labels=shape.num_keypoints,
        head_config=head,
    )
    return Sapiens2ForPoseEstimation(config).eval()


def flops_a_crop(shape: SapiensShape | Sapiens2Shape) -> int:
    """Operations of one forward pass of one crop (a multiply-add is two), counted by torch without doing them."""
    kind = SapiensPose if isinstance(shape, SapiensShape) else Sapiens2Pose
    with (
        torch.inference_mode(),
        FakeTensorMode(),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        kind(shape).eval()(torch.empty(1, 3, *shape.input_hw))
    return counter.get_total_flops()


def crops_for(network: Any, count: int) -> torch.Tensor:
    """(count, 3, H, W) uint8 noise on the device, in the loader's layout."""
    height, width = network.shape.input_hw
    device = next(network.parameters()).device
    return torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8, device=device).permute(0, 3, 1, 2)
