"""Sapiens2 checkpoints into transformers' network: parameter names, and a configuration from the weights' shapes.

The hub's folders hold the original's weights under the original's names (`backbone.blocks.N.attn.wq.weight`), in
`model.safetensors` as in the bare `*_pose.safetensors`; a folder may as well hold transformers' own names
(`model.model.layer.N.attention.q_proj.weight`), or what transformers 5.10 saved, a mixture (`backbone.model.layer.N`).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sapiens_pl.errors import CheckpointError
from sapiens_pl.models.sapiens2 import INPUT_HW, Sapiens2Pose, Sapiens2Shape, config_of, transformers_sapiens2
from sapiens_pl.models.tensors import CONFIG_FILE, PROCESSOR_FILE

CONFIG_KEY = "sapiens2_config"
"""Where our own converted files keep the configuration."""

_LAST_LAYERS = ("decode_head.conv_pose.weight", "decode_head.predictor.weight")
_FOR_TRAINING = ("mask_token", "rope_embed.periods")
_ROPE_PERIODS = "rope_embed.periods"

_LAYER_PARTS = {
    "ln1": "norm1",
    "ln2": "norm2",
    "attn.wq": "attention.q_proj",
    "attn.wk": "attention.k_proj",
    "attn.wv": "attention.v_proj",
    "attn.proj": "attention.o_proj",
    "attn.q_norm": "attention.q_norm",
    "attn.k_norm": "attention.k_norm",
    "ffn.w3": "mlp.down_proj",
}
_OTHERS = {
    "backbone.cls_token": "model.embeddings.cls_token",
    "backbone.storage_tokens": "model.embeddings.register_tokens",
    "backbone.ln1.weight": "model.norm.weight",
}


def is_sapiens2(tensors: dict[str, Tensor]) -> bool:
    """True if these are the weights of a Sapiens2 pose network."""
    return any(name in tensors for name in _LAST_LAYERS)


def load_sapiens2(
    checkpoint: Path, tensors: dict[str, Tensor], metadata: dict[str, str], input_hw: tuple[int, int] | None = None
) -> tuple[Sapiens2Pose, dict[str, Tensor]]:
    """An empty network on the meta device, and its weights under its own names.

    Raises:
        CheckpointError: no transformers, a broken configuration, or weights of another network.
    """
    try:
        weights = _rename(tensors)
        shape = _shape_of(weights, input_hw or _input_hw(checkpoint, metadata))
        config = _config(checkpoint, metadata) or config_of(shape, **_biases(weights), **_rope(tensors))
        with torch.device("meta"):
            return Sapiens2Pose(config, shape.input_hw), weights
    except CheckpointError:
        raise
    except Exception as error:  # transformers raises what it pleases at a configuration that makes no sense
        raise CheckpointError(
            f"{checkpoint} is no Sapiens2 pose network that can be built here ({_one_line(error)}); give one of the "
            "published pose checkpoints."
        ) from None


def _rename(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The original's names become transformers'; one of transformers' own stays. Views, no copies."""
    weights: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.endswith(_FOR_TRAINING):
            continue
        layer = re.fullmatch(r"backbone\.(?:blocks|model\.layer)\.(\d+)\.(.+)\.(weight|bias)", name)
        head = re.fullmatch(r"decode_head\.(deconv|conv)_layers\.(\d+)\.(weight|bias)", name)
        if layer and layer[2] == "ffn.w12":  # the gate and what it lets through, stacked
            gate, up = tensor.chunk(2)
            weights[f"model.model.layer.{layer[1]}.mlp.gate_proj.{layer[3]}"] = gate
            weights[f"model.model.layer.{layer[1]}.mlp.up_proj.{layer[3]}"] = up
        elif layer and layer[2] == "attn.gamma":
            weights[f"model.model.layer.{layer[1]}.layer_scale1.lambda1"] = tensor
        elif layer:
            weights[f"model.model.layer.{layer[1]}.{_LAYER_PARTS.get(layer[2], layer[2])}.{layer[3]}"] = tensor
        elif head:  # the original counts the norms and activations between the convolutions
            kind = "upsample" if head[1] == "deconv" else "conv"
            weights[f"decode_head.{kind}_layers.{int(head[2]) // 3}.convolution.{head[3]}"] = tensor
        else:
            name = _OTHERS.get(name, name).replace("decode_head.conv_pose.", "decode_head.predictor.")
            weights[name.replace("backbone.patch_embed.projection.", "model.embeddings.patch_embeddings.")] = tensor
    return weights


def _shape_of(weights: dict[str, Tensor], input_hw: tuple[int, int]) -> Sapiens2Shape:
    def size(name: str, axis: int = 0) -> int:
        return weights[name].shape[axis]

    def channels(kind: str, axis: int) -> tuple[int, ...]:
        names = [f"decode_head.{kind}_layers.{index}.convolution.weight" for index in range(len(weights))]
        return tuple(size(name, axis) for name in names if name in weights)

    layer = "model.model.layer.{}.attention.k_proj.weight"
    num_layers = sum(layer.format(index) in weights for index in range(len(weights)))
    dims_a_head = size("model.model.layer.0.attention.q_norm.weight")
    return Sapiens2Shape(
        embed_dim=size("model.embeddings.cls_token", 2),
        num_layers=num_layers,
        num_heads=size("model.embeddings.cls_token", 2) // dims_a_head,
        num_kv_heads=tuple(size(layer.format(index)) // dims_a_head for index in range(num_layers)),
        mlp_dim=size("model.model.layer.0.mlp.down_proj.weight", 1),
        num_registers=size("model.embeddings.register_tokens", 1),
        head_dims=channels("upsample", 1),
        head_conv_dims=channels("conv", 0),
        num_keypoints=size("decode_head.predictor.weight"),
        input_hw=input_hw,
    )


def _biases(weights: dict[str, Tensor]) -> dict[str, bool]:
    parts = ("query", "attention.q"), ("key", "attention.k"), ("value", "attention.v"), ("proj", "attention.o")
    layer = "model.model.layer.0"
    return {f"{part}_bias": f"{layer}.{name}_proj.bias" in weights for part, name in (*parts, ("mlp", "mlp.up"))}


def _rope(tensors: dict[str, Tensor]) -> dict[str, float]:
    """The rotary base, where the file still has its periods: base ** (0, 1/n, 2/n, ...) for n of them."""
    for name, periods in tensors.items():
        if name.endswith(_ROPE_PERIODS) and len(periods) > 1:
            return {"rope_theta": round(float(periods[1].double() ** len(periods)), 2)}
    return {}


def _config(checkpoint: Path, metadata: dict[str, str]) -> Any:
    """The configuration that stands beside or in the weights, None if there is none."""
    if CONFIG_KEY in metadata:
        return transformers_sapiens2().Sapiens2Config.from_dict(json.loads(metadata[CONFIG_KEY]))
    if (checkpoint / CONFIG_FILE).is_file():
        return transformers_sapiens2().Sapiens2Config.from_pretrained(str(checkpoint))
    return None


def _input_hw(checkpoint: Path, metadata: dict[str, str]) -> tuple[int, int]:
    """As our own files say, else as the folder's image processor has it, else the published one."""
    if "input_hw" in metadata:
        height, width = metadata["input_hw"].split(",")
        return int(height), int(width)
    processor = checkpoint / PROCESSOR_FILE
    if processor.is_file():
        size = json.loads(processor.read_text("utf-8")).get("size") or {}
        return int(size.get("height", INPUT_HW[0])), int(size.get("width", INPUT_HW[1]))
    return INPUT_HW


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}".rstrip(": ")
