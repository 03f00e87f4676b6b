"""The Sapiens2 pose network: transformers' modules (an optional extra), behind the interface of v1.

Rawal Khirodkar et al., "Sapiens2" (ICLR 2026, arXiv:2604.21681).

Legend: B crops, K keypoints, C embedding, N tokens, H W crop px, h w heatmap px.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapiens_pl.errors import CheckpointError
from sapiens_pl.geometry import SAPIENS2_CROPS, CropSettings
from sapiens_pl.models.sapiens import HEATMAP_STRIDE, PATCH_SIZE
from sapiens_pl.models.watch import WeightsWatch

INPUT_HW = (1024, 768)
"""Of every published pose checkpoint; the weights themselves fit any size."""


class Sapiens2Shape(NamedTuple):
    """Everything that fixes the network's layers. Sizes are (height, width) in crop px.

    `num_kv_heads` has a number for each layer: those in the middle share keys and values between heads.
    """

    embed_dim: int
    num_layers: int
    num_heads: int
    num_kv_heads: tuple[int, ...]
    mlp_dim: int
    num_registers: int
    head_dims: tuple[int, ...]
    head_conv_dims: tuple[int, ...]
    num_keypoints: int
    input_hw: tuple[int, int]

    @property
    def heatmap_hw(self) -> tuple[int, int]:
        return self.input_hw[0] // HEATMAP_STRIDE, self.input_hw[1] // HEATMAP_STRIDE


class Sapiens2Pose(nn.Module):
    """The network of one Sapiens2 pose checkpoint.

    Args:
        config: transformers' `Sapiens2Config`; its weights are made where torch's default device is.
        input_hw: height and width of the crops, px.
    """

    crop_settings: CropSettings = SAPIENS2_CROPS
    watch: WeightsWatch | None = None
    """Over the file that the weights may be a memory map of."""

    def __init__(self, config: Any, input_hw: tuple[int, int] = INPUT_HW) -> None:
        super().__init__()
        self.shape = shape_of(config, input_hw)
        self.config = config
        whole = transformers_sapiens2().Sapiens2ForPoseEstimation(config)
        self.model, self.decode_head = whole.model, whole.decode_head  # so that names are transformers'
        self._renew_rope(torch.device("cpu"))

    def forward(self, crops: Tensor) -> Tensor:
        """Heatmaps of normalised crops.

        Args:
            crops: (B, 3, H, W) RGB, normalised, in the weights' dtype.

        Returns:
            (B, K, h, w) float32, whatever the precision of the layers before the last.
        """
        tokens = self.model(crops).last_hidden_state[:, 1 + self.shape.num_registers :]
        features = tokens.transpose(1, 2).unflatten(2, (crops.shape[2] // PATCH_SIZE, crops.shape[3] // PATCH_SIZE))
        head = self.decode_head
        for layer in (*head.upsample_layers, *head.conv_layers):
            features = layer(features)
        # A heatmap rounded to bfloat16 moves weak peaks by pixels, so the last layer stays float32.
        with torch.autocast(features.device.type, enabled=False):
            last = head.predictor
            return F.conv2d(features.float(), last.weight.float(), last.bias.float())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Sapiens2Pose:
        """Moves and converts the weights; the rotary frequencies only move: transformers has them in float32."""
        super()._apply(fn, recurse)
        self._renew_rope(self.decode_head.predictor.weight.device)
        return self

    def _renew_rope(self, device: torch.device) -> None:
        """No file holds the rotary frequencies; they follow from the configuration."""
        with device:
            rope = type(self.model.rope_embeddings)(self.config)
        self.model.rope_embeddings = rope.train(self.training)  # in training it would move the patches at random


def shape_of(config: Any, input_hw: tuple[int, int]) -> Sapiens2Shape:
    """The sizes of all layers that transformers' configuration asks for."""
    head = config.head_config
    return Sapiens2Shape(
        embed_dim=config.hidden_size,
        num_layers=config.num_hidden_layers,
        num_heads=config.num_attention_heads,
        num_kv_heads=tuple(config.num_key_value_heads_per_layer),
        mlp_dim=config.intermediate_size,
        num_registers=config.num_register_tokens,
        head_dims=tuple(head.upsample_out_channels),
        head_conv_dims=tuple(head.conv_out_channels or ()),
        num_keypoints=config.num_labels,
        input_hw=input_hw,
    )


def config_of(shape: Sapiens2Shape, **others: Any) -> Any:
    """transformers' configuration of a network of that shape; `others` are its other settings."""
    return transformers_sapiens2().Sapiens2Config(
        hidden_size=shape.embed_dim,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads_per_layer=list(shape.num_kv_heads),
        intermediate_size=shape.mlp_dim,
        num_register_tokens=shape.num_registers,
        image_size=list(shape.input_hw),
        num_labels=shape.num_keypoints,
        head_config={"upsample_out_channels": list(shape.head_dims), "conv_out_channels": list(shape.head_conv_dims)},
        **others,
    )


def transformers_sapiens2() -> Any:
    """The part of transformers that knows Sapiens2.

    Raises:
        CheckpointError: it is not installed, or too old.
    """
    try:
        from transformers import Sapiens2Config, Sapiens2ForPoseEstimation  # noqa: F401
    except ImportError as error:
        raise CheckpointError(
            f"Sapiens2 needs a transformers that has it ({error}); pip install 'sapiens_pl[sapiens2]'."
        ) from None
    import transformers

    return transformers
