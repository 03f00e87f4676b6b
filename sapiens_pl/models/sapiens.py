"""The Sapiens v1 pose network: a plain vision transformer under a deconvolution heatmap head.

Architecture after Khirodkar et al., "Sapiens: Foundation for Human Vision Models" (ECCV 2024) and
the published checkpoints, whose parameter names this module reproduces so that they load directly.

Legend: B crops, K keypoints, C embedding, N tokens, H W crop px, h w heatmap px.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapiens_pl.core.geometry import SAPIENS_CROPS, CropSettings
from sapiens_pl.models.pose_network import CheckpointNetwork
from sapiens_pl.models.settings import PATCH_SIZE

PATCH_PADDING = 2
LAYER_NORM_EPS = 1e-6
HEATMAP_STRIDE = 4
"""Crop px per heatmap px: patches of 16, enlarged twice by 2."""

_HEAD_VALUES = 80_000_000
"""How many values of the head's largest map are computed at a time: two crops of the published sizes. Measured on a
CPU (0.3b, 2 crops): 45% less memory in the head, no slower. On a GPU: not measured."""

PUBLISHED_HEADS = {1024: 16, 1280: 16, 1536: 24, 1920: 32}
"""Attention heads by embedding size (0.3b, 0.6b, 1b, 2b); a state dict does not tell them."""


class SapiensShape(NamedTuple):
    """Everything that fixes the network's layers. Sizes are (height, width) in crop px."""

    embed_dim: int
    num_layers: int
    num_heads: int
    mlp_dim: int
    head_dims: tuple[int, ...]
    head_conv_dims: tuple[int, ...]
    num_keypoints: int
    input_hw: tuple[int, int]

    @property
    def heatmap_hw(self) -> tuple[int, int]:
        return self.input_hw[0] // HEATMAP_STRIDE, self.input_hw[1] // HEATMAP_STRIDE


class _PatchEmbed(nn.Module):
    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(3, embed_dim, PATCH_SIZE, stride=PATCH_SIZE, padding=PATCH_PADDING)

    def forward(self, crops: Tensor) -> Tensor:
        return self.projection(crops).flatten(2).transpose(1, 2)


class _Attention(nn.Module):
    def __init__(self, embed_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.proj = nn.Linear(embed_dim, embed_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, count, dim = tokens.shape
        qkv = self.qkv(tokens).view(batch, count, 3, self.num_heads, dim // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).reshape(batch, count, dim))


class _FeedForward(nn.Module):
    def __init__(self, embed_dim: int, mlp_dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Sequential(nn.Linear(embed_dim, mlp_dim), nn.GELU()), nn.Linear(mlp_dim, embed_dim)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        return self.layers(tokens)


class _Block(nn.Module):
    def __init__(self, shape: SapiensShape) -> None:
        super().__init__()
        self.ln1 = nn.LayerNorm(shape.embed_dim, eps=LAYER_NORM_EPS)
        self.attn = _Attention(shape.embed_dim, shape.num_heads)
        self.ln2 = nn.LayerNorm(shape.embed_dim, eps=LAYER_NORM_EPS)
        self.ffn = _FeedForward(shape.embed_dim, shape.mlp_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.ln1(tokens))
        return tokens + self.ffn(self.ln2(tokens))


class _Backbone(nn.Module):
    def __init__(self, shape: SapiensShape) -> None:
        super().__init__()
        self.grid_hw = shape.input_hw[0] // PATCH_SIZE, shape.input_hw[1] // PATCH_SIZE
        self.patch_embed = _PatchEmbed(shape.embed_dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, self.grid_hw[0] * self.grid_hw[1], shape.embed_dim))
        self.layers = nn.ModuleList([_Block(shape) for _ in range(shape.num_layers)])
        self.ln1 = nn.LayerNorm(shape.embed_dim, eps=LAYER_NORM_EPS)

    def forward(self, crops: Tensor) -> Tensor:
        tokens = self.patch_embed(crops) + self.pos_embed
        for layer in self.layers:
            tokens = layer(tokens)
        return self.ln1(tokens).transpose(1, 2).unflatten(2, self.grid_hw)


class _InstanceNorm(nn.InstanceNorm2d):
    """Instance normalisation whose mean and deviation stay float32, also for half-precision features."""

    def forward(self, features: Tensor) -> Tensor:
        if features.dtype == torch.float32:
            return F.instance_norm(features, eps=self.eps)
        # The CPU's kernel keeps the statistics in the dtype of these two (without them, in the features'): three times
        # the error at the same speed.
        ones = torch.ones(self.num_features, device=features.device)
        return F.instance_norm(features, weight=ones, bias=torch.zeros_like(ones), eps=self.eps)


def _normed(layer: nn.Module, channels: int) -> list[nn.Module]:
    return [layer, _InstanceNorm(channels), nn.SiLU(inplace=True)]


class HeatmapHead(nn.Module):
    """Deconvolutions and 1x1 convolutions, each normalised, under one that makes the heatmaps; as in Sapiens2.

    Args:
        embed_dim: channels that come in.
        head_dims, head_conv_dims: channels of the deconvolutions and of the convolutions.
        num_keypoints: heatmaps that go out.
        last: the published name of the last layer.
    """

    def __init__(
        self,
        embed_dim: int,
        head_dims: tuple[int, ...],
        head_conv_dims: tuple[int, ...],
        num_keypoints: int,
        last: str = "final_layer",
    ) -> None:
        super().__init__()
        deconvs: list[nn.Module] = []
        channels = embed_dim
        for out in head_dims:
            deconvs += _normed(nn.ConvTranspose2d(channels, out, 4, stride=2, padding=1, bias=False), out)
            channels = out
        convs: list[nn.Module] = []
        for out in head_conv_dims:
            convs += _normed(nn.Conv2d(channels, out, 1), out)
            channels = out
        self.deconv_layers = nn.Sequential(*deconvs)
        self.conv_layers = nn.Sequential(*convs)
        self.add_module(last, nn.Conv2d(channels, num_keypoints, 1))
        self._last = last
        self.enlargement = 2 ** len(head_dims)
        self._most_channels = max((*head_dims[-1:], *head_conv_dims), default=embed_dim)

    @property
    def last_layer(self) -> nn.Conv2d:
        """The layer that makes the heatmaps, whatever its published name."""
        return getattr(self, self._last)

    def forward(self, features: Tensor) -> Tensor:
        at_a_time = max(1, _HEAD_VALUES // self.values_per_crop(features))
        if len(features) <= at_a_time:
            return self._heatmaps(features)
        # A few crops at a time: three maps of this size live at once, more than the whole trunk holds.
        batch, _, height, width = features.shape
        size = self.last_layer.out_channels, height * self.enlargement, width * self.enlargement
        heatmaps = torch.empty(batch, *size, device=features.device)
        for start in range(0, batch, at_a_time):
            heatmaps[start : start + at_a_time] = self._heatmaps(features[start : start + at_a_time])
        return heatmaps

    def values_per_crop(self, features: Tensor) -> int:
        """Of the largest map between the head's layers."""
        return features.shape[2] * features.shape[3] * self.enlargement**2 * self._most_channels

    def _heatmaps(self, features: Tensor) -> Tensor:
        features = self.conv_layers(self.deconv_layers(features))
        # A heatmap rounded to bfloat16 moves weak peaks by pixels, so the last layer stays float32.
        with torch.autocast(features.device.type, enabled=False):
            layer = self.last_layer
            bias = None if layer.bias is None else layer.bias.float()
            return F.conv2d(features.float(), layer.weight.float(), bias)


class SapiensPose(CheckpointNetwork):
    """The network of one Sapiens v1 pose checkpoint.

    Args:
        shape: sizes of all layers; `models.checkpoints` reads them from a file's weights.
    """

    crop_settings: CropSettings = SAPIENS_CROPS
    shape: SapiensShape

    def __init__(self, shape: SapiensShape) -> None:
        super().__init__(shape)
        self.backbone = _Backbone(shape)
        self.head = HeatmapHead(shape.embed_dim, shape.head_dims, shape.head_conv_dims, shape.num_keypoints)

    def forward(self, crops: Tensor) -> Tensor:
        """Heatmaps of normalised crops.

        Args:
            crops: (B, 3, H, W) RGB, normalised, in the weights' dtype.

        Returns:
            (B, K, h, w) float32, whatever the precision of the layers before the last.
        """
        return self.head(self.backbone(crops))
