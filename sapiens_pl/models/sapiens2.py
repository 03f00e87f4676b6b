"""The Sapiens2 pose network: a vision transformer with register tokens, rotary positions and grouped keys and values,
under the heatmap head of v1.

Architecture after Rawal Khirodkar et al., "Sapiens2" (ICLR 2026, arXiv:2604.21681) and the published checkpoints,
whose parameter names this module reproduces so that they load directly.

Legend: B crops, K keypoints, C embedding, N tokens, P patches, D channels a head, H W crop px, h w heatmap px.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapiens_pl.core.geometry import SAPIENS2_CROPS, CropSettings
from sapiens_pl.models.pose_network import CheckpointNetwork
from sapiens_pl.models.sapiens import HEATMAP_STRIDE, HeatmapHead
from sapiens_pl.models.settings import PATCH_SIZE

INPUT_HW = (1024, 768)
"""Of every published pose checkpoint; the weights themselves fit any size."""

ROPE_BASE = 100.0
"""The longest rotary period in units of the shortest, of every published checkpoint."""
ROPE_DTYPE = torch.bfloat16
"""The published networks were trained with rotary periods, positions, queries and keys in it, whatever the rest had."""


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
    norm_eps: float = 1e-6

    @property
    def heatmap_hw(self) -> tuple[int, int]:
        return self.input_hw[0] // HEATMAP_STRIDE, self.input_hw[1] // HEATMAP_STRIDE

    @property
    def head_dim(self) -> int:
        return self.embed_dim // self.num_heads


def rotary_periods(base: float, head_dim: int) -> Tensor:
    """(D / 4,) bfloat16: `base` to the powers 0, 1/n, 2/n, ... of n periods.

    The powers are rounded to bfloat16 too, as when the published files were made: where n is not a power of two (0.8b,
    5b), others would come out.
    """
    count = head_dim // 4
    return base ** (torch.arange(count, dtype=ROPE_DTYPE) / count)


class _RMSNorm(nn.RMSNorm):
    """Computed in the weight's dtype: under autocast queries and keys have a narrower one."""

    def forward(self, tokens: Tensor) -> Tensor:
        return F.rms_norm(tokens.to(self.weight.dtype), self.normalized_shape, self.weight, self.eps)


class _Rotation(nn.Module):
    """Turns queries and keys by their patches' positions; all of it in bfloat16, whatever the network's dtype."""

    periods: Tensor

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.register_buffer("periods", rotary_periods(ROPE_BASE, head_dim))

    def forward(self, grid_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """(P, D) cosines and sines of every patch: its row's angles, its column's, and both again."""
        rows, columns = (self._angles(size) for size in grid_hw)
        shape = *grid_hw, len(self.periods)
        angles = torch.cat([rows[:, None].expand(shape), columns[None].expand(shape)], dim=2).flatten(0, 1).tile(2)
        return angles.cos(), angles.sin()

    def _angles(self, size: int) -> Tensor:
        """(size, D / 4) of the patches along one side, which are at the middles of equal parts of -1 to 1."""
        middles = _rounded(torch.arange(0.5, size, dtype=ROPE_DTYPE, device=self.periods.device).float() / size)
        return _rounded(2 * math.pi * (2 * middles - 1).float())[:, None] / self.periods

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> _Rotation:
        """Moves the periods; they are never converted."""
        periods = self.periods
        super()._apply(fn, recurse)
        self.periods = self.periods.to(ROPE_DTYPE) if periods.is_meta else periods.to(self.periods.device)
        return self


def _rounded(numbers: Tensor) -> Tensor:
    """Of float32: the compiler of PyTorch 2.15 rounds a Python number, such as pi, to bfloat16 before it is used."""
    return numbers.to(ROPE_DTYPE)


def _turned(tokens: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """(B, heads, N, D) in bfloat16 and turned; not the class token and the registers, which come first."""
    tokens = tokens.to(ROPE_DTYPE)
    first, patches = tokens.split([tokens.shape[2] - len(cosines), len(cosines)], dim=2)
    left, right = patches.chunk(2, dim=3)
    return torch.cat([first, patches * cosines + torch.cat([-right, left], dim=3) * sines], dim=2)


class _LayerScale(nn.Module):
    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(embed_dim))

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens * self.weight


class _Attention(nn.Module):
    def __init__(self, shape: Sapiens2Shape, num_kv_heads: int) -> None:
        super().__init__()
        self.heads_a_key, self.head_dim = shape.num_heads // num_kv_heads, shape.head_dim
        self.wq = nn.Linear(shape.embed_dim, shape.embed_dim)
        self.wk = nn.Linear(shape.embed_dim, num_kv_heads * shape.head_dim)
        self.wv = nn.Linear(shape.embed_dim, num_kv_heads * shape.head_dim)
        self.q_norm = _RMSNorm(shape.head_dim, eps=shape.norm_eps)
        self.k_norm = _RMSNorm(shape.head_dim, eps=shape.norm_eps)
        self.proj = nn.Linear(shape.embed_dim, shape.embed_dim)
        self.gamma = _LayerScale(shape.embed_dim)

    def forward(self, tokens: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        query, key, value = (self._by_head(layer(tokens)) for layer in (self.wq, self.wk, self.wv))
        query = _turned(self.q_norm(query), *turn).to(value.dtype)
        key = _turned(self.k_norm(key), *turn).to(value.dtype)
        # Repeated here, as some of SDPA's fast kernels need as many keys as queries.
        key, value = (states.repeat_interleave(self.heads_a_key, dim=1) for states in (key, value))
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.gamma(self.proj(mixed.transpose(1, 2).flatten(2)))

    def _by_head(self, states: Tensor) -> Tensor:
        """(B, N, heads * D) -> (B, heads, N, D)"""
        return states.unflatten(2, (-1, self.head_dim)).transpose(1, 2)


class _FeedForward(nn.Module):
    def __init__(self, embed_dim: int, mlp_dim: int) -> None:
        super().__init__()
        self.w12 = nn.Linear(embed_dim, 2 * mlp_dim)
        self.w3 = nn.Linear(mlp_dim, embed_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        gate, values = self.w12(tokens).chunk(2, dim=2)
        return self.w3(F.silu(gate) * values)


class _Block(nn.Module):
    def __init__(self, shape: Sapiens2Shape, num_kv_heads: int) -> None:
        super().__init__()
        self.ln1 = _RMSNorm(shape.embed_dim, eps=shape.norm_eps)
        self.attn = _Attention(shape, num_kv_heads)
        self.ln2 = _RMSNorm(shape.embed_dim, eps=shape.norm_eps)
        self.ffn = _FeedForward(shape.embed_dim, shape.mlp_dim)

    def forward(self, tokens: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        tokens = tokens + self.attn(self.ln1(tokens), turn)
        return tokens + self.ffn(self.ln2(tokens))


class _PatchEmbed(nn.Module):
    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(3, embed_dim, PATCH_SIZE, stride=PATCH_SIZE)

    def forward(self, crops: Tensor) -> Tensor:
        return self.projection(crops)


class _Backbone(nn.Module):
    def __init__(self, shape: Sapiens2Shape) -> None:
        super().__init__()
        self.patch_embed = _PatchEmbed(shape.embed_dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.embed_dim))
        self.storage_tokens = nn.Parameter(torch.zeros(1, shape.num_registers, shape.embed_dim))
        self.rope_embed = _Rotation(shape.head_dim)
        self.blocks = nn.ModuleList([_Block(shape, num_kv_heads) for num_kv_heads in shape.num_kv_heads])
        self.ln1 = _RMSNorm(shape.embed_dim, eps=shape.norm_eps)

    def forward(self, crops: Tensor) -> Tensor:
        patches = self.patch_embed(crops)
        grid_hw = patches.shape[2], patches.shape[3]
        first = torch.cat([self.cls_token, self.storage_tokens], dim=1).expand(len(crops), -1, -1)
        tokens, turn = torch.cat([first, patches.flatten(2).transpose(1, 2)], dim=1), self.rope_embed(grid_hw)
        for block in self.blocks:
            tokens = block(tokens, turn)
        return self.ln1(tokens)[:, first.shape[1] :].transpose(1, 2).unflatten(2, grid_hw)


class Sapiens2Pose(CheckpointNetwork):
    """The network of one Sapiens2 pose checkpoint.

    Args:
        shape: sizes of all layers; `models.sapiens2_files` reads them from a file's weights.
    """

    crop_settings: CropSettings = SAPIENS2_CROPS
    rounds_between_layers = True
    numerics = "rotation by stored periods in bfloat16, crops by OpenCV's warp"
    """Earlier versions rotated in float32 and cut crops differently; their results are not mixed with these."""
    shape: Sapiens2Shape

    def __init__(self, shape: Sapiens2Shape) -> None:
        super().__init__(shape)
        self.backbone = _Backbone(shape)
        self.decode_head = HeatmapHead(
            shape.embed_dim, shape.head_dims, shape.head_conv_dims, shape.num_keypoints, last="conv_pose"
        )

    def forward(self, crops: Tensor) -> Tensor:
        """Heatmaps of normalised crops.

        Args:
            crops: (B, 3, H, W) RGB, normalised, in the weights' dtype.

        Returns:
            (B, K, h, w) float32, whatever the precision of the layers before the last.
        """
        return self.decode_head(self.backbone(crops))
