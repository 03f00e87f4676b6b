"""Sapiens2 as files of all kinds, and transformers' network of the same weights."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from sapiens_pl.models.sapiens2 import Sapiens2Pose, Sapiens2Shape

SMALL = Sapiens2Shape(64, 3, 4, (4, 2, 4), 128, 8, (32, 32), (32, 16, 16), 17, (1024, 768))
"""Keys and values shared in the middle, as in the published networks."""

_TRANSFORMERS = [
    (r"backbone\.blocks\.(\d+)\.ln(\d)", r"model.model.layer.\1.norm\2"),
    (r"backbone\.blocks\.(\d+)\.attn\.gamma\.weight", r"model.model.layer.\1.layer_scale1.lambda1"),
    (r"backbone\.blocks\.(\d+)\.attn\.w([qkv])", r"model.model.layer.\1.attention.\2_proj"),
    (r"backbone\.blocks\.(\d+)\.attn\.proj", r"model.model.layer.\1.attention.o_proj"),
    (r"backbone\.blocks\.(\d+)\.attn", r"model.model.layer.\1.attention"),
    (r"backbone\.blocks\.(\d+)\.ffn\.w3", r"model.model.layer.\1.mlp.down_proj"),
    (r"backbone\.cls_token", "model.embeddings.cls_token"),
    (r"backbone\.storage_tokens", "model.embeddings.register_tokens"),
    (r"backbone\.patch_embed\.projection", "model.embeddings.patch_embeddings"),
    (r"backbone\.ln1", "model.norm"),
    (r"decode_head\.conv_pose", "decode_head.predictor"),
    (r"decode_head\.deconv_layers\.(0|3)", r"decode_head.upsample_layers.\1.convolution"),
    (r"decode_head\.conv_layers\.(0|3|6)\.", r"decode_head.conv_layers.\1.convolution."),
]


def as_transformers(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The original's names as transformers has them; it keeps no rotary periods, and the MLP's first layer in two."""
    renamed = {}
    for name, weight in weights.items():
        for pattern, replacement in _TRANSFORMERS:
            name = re.sub(f"^{pattern}", replacement, name)
        name = re.sub(r"(?<=_layers\.)[36](?=\.convolution)", lambda found: str(int(found[0]) // 3), name)
        if layer := re.fullmatch(r"backbone\.blocks\.(\d+)\.ffn\.w12\.(\w+)", name):
            for half, part in zip(weight.chunk(2), ("gate", "up")):
                renamed[f"model.model.layer.{layer[1]}.mlp.{part}_proj.{layer[2]}"] = half.clone()
        elif not name.endswith("periods"):
            renamed[name] = weight
    return renamed


def as_mixture(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What transformers 5.10 saved."""
    return {name.replace("backbone.blocks.", "backbone.model.layer."): weight for name, weight in weights.items()}


def without_periods(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: weight for name, weight in weights.items() if not name.endswith("periods")}


def small_network(shape: Sapiens2Shape = SMALL) -> Sapiens2Pose:
    """Random weights; no bias and no scale at its neutral value."""
    torch.manual_seed(0)
    network = Sapiens2Pose(shape).eval().requires_grad_(False)
    for name, weight in network.named_parameters():
        neutral = 1.0 if weight.dim() == 1 and "bias" not in name else 0.0
        weight.copy_(neutral + 0.1 * torch.randn_like(weight))
    return network


def config_of(shape: Sapiens2Shape) -> dict:
    """transformers' configuration of that shape, in JSON's types."""
    return {
        "model_type": "sapiens2",
        "hidden_size": shape.embed_dim,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_heads,
        "num_key_value_heads_per_layer": list(shape.num_kv_heads),
        "intermediate_size": shape.mlp_dim,
        "num_register_tokens": shape.num_registers,
        "image_size": list(shape.input_hw),
        "patch_size": 16,
        "num_channels": 3,
        "hidden_act": "silu",
        "use_gated_mlp": True,
        "use_qk_norm": True,
        "rms_norm_eps": shape.norm_eps,
        "rope_theta": 100.0,
        "id2label": {str(index): f"LABEL_{index}" for index in range(shape.num_keypoints)},
        "label2id": {f"LABEL_{index}": index for index in range(shape.num_keypoints)},
        "head_config": {
            "upsample_out_channels": list(shape.head_dims),
            "conv_out_channels": list(shape.head_conv_dims),
            "use_pixel_shuffle": None,
        },
    }


def write_folder(folder: Path, weights: dict[str, torch.Tensor], shape: Sapiens2Shape, **settings: object) -> Path:
    """A folder as the hub has it, with other settings in its configuration."""
    folder.mkdir()
    save_file(weights, folder / "model.safetensors")
    height, width = shape.input_hw
    (folder / "config.json").write_text(json.dumps(config_of(shape) | settings))
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": {"height": height, "width": width}}))
    return folder


def transformers_network(weights: dict[str, torch.Tensor], shape: Sapiens2Shape):
    """transformers' own network of the same weights."""
    from transformers import Sapiens2Config, Sapiens2ForPoseEstimation

    network = Sapiens2ForPoseEstimation(Sapiens2Config(**config_of(shape))).eval().requires_grad_(False)
    network.load_state_dict(as_transformers(weights))
    return network


def read(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path)
