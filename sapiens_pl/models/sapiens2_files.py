"""Sapiens2 checkpoints into our own network: parameter names, and its shape from the weights.

The hub's folders hold the original's weights under the original's names (`backbone.blocks.N.attn.wq.weight`), in
`model.safetensors` as in the bare `*_pose.safetensors`; a folder may as well hold transformers' own names
(`model.model.layer.N.attention.q_proj.weight`), or what transformers 5.10 saved, a mixture (`backbone.model.layer.N`).
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor

from sapiens_pl.core.errors import CheckpointError
from sapiens_pl.models.sapiens2 import ROPE_DTYPE, Sapiens2Pose, Sapiens2Shape, rotary_periods
from sapiens_pl.models.sapiens2_config import (
    Sapiens2Config,
    check_config,
    norm_eps,
    read_config,
    read_input_hw,
    rope_base,
)

_LAST_LAYERS = ("decode_head.conv_pose.weight", "decode_head.predictor.weight")
_FOR_TRAINING = "mask_token"
_PERIODS = "backbone.rope_embed.periods"
_MOST_LAYERS = 1000
"""The published networks have up to 56; more would take minutes to build, whatever their weights are."""

_LAYER = re.compile(r"(?:backbone\.blocks|backbone\.model\.layer|model\.model\.layer)\.(\d{1,6})\.(.+)\.(\w+)")
_HEAD_LAYER = re.compile(r"decode_head\.(upsample|conv)_layers\.(\d{1,6})\.convolution\.(weight|bias)")
_LAYER_PARTS = {
    "norm1": "ln1",
    "norm2": "ln2",
    "attention.q_proj": "attn.wq",
    "attention.k_proj": "attn.wk",
    "attention.v_proj": "attn.wv",
    "attention.o_proj": "attn.proj",
    "attention.q_norm": "attn.q_norm",
    "attention.k_norm": "attn.k_norm",
    "layer_scale1": "attn.gamma",
    "mlp.down_proj": "ffn.w3",
}
_OTHERS = {
    "model.embeddings.cls_token": "backbone.cls_token",
    "model.embeddings.register_tokens": "backbone.storage_tokens",
    "model.embeddings.patch_embeddings.weight": "backbone.patch_embed.projection.weight",
    "model.embeddings.patch_embeddings.bias": "backbone.patch_embed.projection.bias",
    "model.norm.weight": "backbone.ln1.weight",
    "decode_head.predictor.weight": "decode_head.conv_pose.weight",
    "decode_head.predictor.bias": "decode_head.conv_pose.bias",
}


def is_sapiens2(tensors: dict[str, Tensor]) -> bool:
    """True if these are the weights of a Sapiens2 pose network."""
    return any(name in tensors for name in _LAST_LAYERS)


def load_sapiens2(
    checkpoint: Path, tensors: dict[str, Tensor], metadata: dict[str, str], input_hw: tuple[int, int] | None = None
) -> tuple[Sapiens2Pose, dict[str, Tensor]]:
    """An empty network on the meta device, and its weights under its own names.

    Raises:
        CheckpointError: a broken configuration, or weights of another network.
    """
    _check_halves(checkpoint, tensors)
    weights = _original_names(checkpoint, tensors)
    config = read_config(checkpoint, metadata)
    shape = _shape_of(checkpoint, weights, norm_eps(config), input_hw or read_input_hw(checkpoint, metadata))
    check_config(config, shape)
    weights[_PERIODS] = _periods(checkpoint, weights, config, shape.head_dim)
    with torch.device("meta"):
        return Sapiens2Pose(shape), weights


def _check_halves(checkpoint: Path, tensors: dict[str, Tensor]) -> None:
    """What is going to be joined, so copied, must be in the file: many tensors may be views of a few bytes."""
    halves = [tensor for name, tensor in tensors.items() if ".mlp.gate_proj." in name or ".mlp.up_proj." in name]
    storages = [tensor.untyped_storage() for tensor in halves]
    held = {storage.data_ptr(): storage.nbytes() for storage in storages}
    if sum(tensor.nbytes for tensor in halves) > sum(held.values()):
        raise CheckpointError(
            f"{checkpoint} is damaged: its tensors claim more values than the file has bytes for; download it again."
        )


def _original_names(checkpoint: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """transformers' names become the original's; what belongs to neither keeps its own. Views, but for the MLP's first
    layers: transformers has the gate and what it lets through in two, the original stacked in one.
    """
    weights: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.endswith(_FOR_TRAINING) or ".mlp.up_proj." in name:
            continue
        if ".mlp.gate_proj." in name:
            up = tensors.get(name.replace("gate_proj", "up_proj"))
            if up is None or up.shape != tensor.shape:
                raise CheckpointError(f"{checkpoint} lacks the up_proj that belongs to {name}; download it again.")
            name, tensor = name.replace("mlp.gate_proj", "ffn.w12"), torch.cat([tensor, up])
        name = _original_name(name)
        if name in weights:
            raise CheckpointError(f"{checkpoint} has {name} twice, under two names; give a published checkpoint.")
        weights[name] = tensor
    return weights


def _original_name(name: str) -> str:
    if layer := _LAYER.fullmatch(name):
        number, part, kind = layer.groups()
        kind = "weight" if kind == "lambda1" else kind
        return f"backbone.blocks.{number}.{_LAYER_PARTS.get(part, part)}.{kind}"
    if head := _HEAD_LAYER.fullmatch(name):  # the original counts the norms and activations between them
        kind = "deconv" if head[1] == "upsample" else "conv"
        return f"decode_head.{kind}_layers.{3 * int(head[2])}.{head[3]}"
    return _OTHERS.get(name, name)


def _shape_of(checkpoint: Path, weights: dict[str, Tensor], eps: float, input_hw: tuple[int, int]) -> Sapiens2Shape:
    layers = {found[1] for name in weights if (found := re.match(r"backbone\.blocks\.(\d+)\.", name))}
    try:
        embed_dim, head_dim = (
            weights["backbone.cls_token"].shape[2],
            len(weights["backbone.blocks.0.attn.q_norm.weight"]),
        )
        keys = [len(weights[f"backbone.blocks.{index}.attn.wk.weight"]) for index in range(len(layers))]
        shape = Sapiens2Shape(
            embed_dim=embed_dim,
            num_layers=len(layers),
            num_heads=embed_dim // head_dim,
            num_kv_heads=tuple(size // head_dim for size in keys),
            mlp_dim=weights["backbone.blocks.0.ffn.w3.weight"].shape[1],
            num_registers=weights["backbone.storage_tokens"].shape[1],
            head_dims=_channels(weights, "deconv", axis=1),
            head_conv_dims=_channels(weights, "conv", axis=0),
            num_keypoints=len(weights["decode_head.conv_pose.weight"]),
            input_hw=input_hw,
            norm_eps=eps,
        )
        sizes = embed_dim, shape.mlp_dim, shape.num_keypoints, *shape.head_dims, *shape.head_conv_dims
        fits = head_dim % 4 == embed_dim % head_dim == 0 < min(sizes) and len(layers) <= _MOST_LAYERS
        fits = fits and all(size and embed_dim % size == size % head_dim == 0 for size in keys)
    except (KeyError, IndexError, TypeError, ZeroDivisionError):
        fits = False
    if not fits:
        raise CheckpointError(
            f"{checkpoint} is no Sapiens2 pose network that can be built here (its layers are named or shaped "
            "otherwise); give one of the published pose checkpoints."
        )
    return shape


def _channels(weights: dict[str, Tensor], kind: str, axis: int) -> tuple[int, ...]:
    names = (f"decode_head.{kind}_layers.{3 * index}.weight" for index in range(len(weights)))
    return tuple(weights[name].shape[axis] for name in names if name in weights)


def _periods(checkpoint: Path, weights: dict[str, Tensor], config: Sapiens2Config, head_dim: int) -> Tensor:
    """The rotary periods that the file has, else those of the configuration's base."""
    if _PERIODS not in weights:
        return rotary_periods(rope_base(config, head_dim), head_dim)
    periods = weights[_PERIODS].to(ROPE_DTYPE)
    if periods.shape != (head_dim // 4,) or not (periods > 0).all() or not periods.isfinite().all():
        raise CheckpointError(f"{checkpoint} has rotary periods that make no sense; download it again.")
    return periods.clone()
