"""Sapiens v1 checkpoints into our own network: parameter names, and its shape from the weights."""

from __future__ import annotations

import math
import re
from pathlib import Path

import torch
from torch import Tensor

from sapiens_pl.core.errors import CheckpointError
from sapiens_pl.models.sapiens import PUBLISHED_HEADS, SapiensPose, SapiensShape
from sapiens_pl.models.settings import PATCH_SIZE

_LAST_LAYER = "head.final_layer.weight"
_BESIDE_WEIGHTS = ("data_preprocessor.",)
"""What a trainer or an export stores beside the network: the pixels' mean and standard deviation."""
_MAX_LAYERS = 256
"""The largest published network has 48."""


def load_sapiens(
    checkpoint: Path,
    tensors: dict[str, Tensor],
    metadata: dict[str, str],
    num_heads: int | None = None,
    input_hw: tuple[int, int] | None = None,
) -> tuple[SapiensPose, dict[str, Tensor]]:
    """An empty network on the meta device, and its weights under its own names.

    Raises:
        CheckpointError: another network's weights, or sizes that do not fit.
    """
    weights = _state_dict(checkpoint, tensors)
    if num_heads is None and "num_heads" in metadata:
        num_heads = _positive_int(checkpoint, metadata["num_heads"])
    if input_hw is None and "input_hw" in metadata:
        height, width = (_positive_int(checkpoint, side) for side in metadata["input_hw"].split(","))
        input_hw = height, width
    shape = _shape_of(checkpoint, weights, num_heads, input_hw)
    with torch.device("meta"):
        return SapiensPose(shape), weights


def _state_dict(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The network's own weights among all tensors of a file, under their plain names."""
    weights = {name: tensor for name, tensor in tensors.items() if not name.startswith(_BESIDE_WEIGHTS)}
    if _LAST_LAYER not in weights or "backbone.pos_embed" not in weights:
        raise CheckpointError(
            f"{path} holds no Sapiens pose network ({_describe(weights)}); give a pose checkpoint "
            "(17, 133 or 308 keypoints), not the pretrained backbone or another task's."
        )
    return weights


def _describe(weights: dict[str, Tensor]) -> str:
    if not weights:
        return "no tensors at all"
    return f"{len(weights)} tensors, the first called {next(iter(weights))[:80]!r}"


def _shape_of(
    path: Path, weights: dict[str, Tensor], num_heads: int | None, input_hw: tuple[int, ...] | None
) -> SapiensShape:
    try:
        embed_dim = weights["backbone.pos_embed"].shape[2]
        num_tokens = weights["backbone.pos_embed"].shape[1]
        mlp_dim = weights["backbone.layers.0.ffn.layers.0.0.weight"].shape[0]
        shape = SapiensShape(
            embed_dim=embed_dim,
            num_layers=_count_layers(weights),
            num_heads=_heads(path, embed_dim, num_heads),
            mlp_dim=mlp_dim,
            head_dims=_channels(weights, "head.deconv_layers", axis=1),
            head_conv_dims=_channels(weights, "head.conv_layers", axis=0),
            num_keypoints=weights[_LAST_LAYER].shape[0],
            input_hw=_input_hw(path, num_tokens, input_hw),
        )
        if min(embed_dim, num_tokens, mlp_dim, shape.num_keypoints, *shape.head_dims, *shape.head_conv_dims) < 1:
            raise IndexError
    except (KeyError, IndexError):
        raise CheckpointError(
            f"{path} is no Sapiens v1 pose network that can be built here (its layers are named or "
            "shaped otherwise); give one of the published pose checkpoints."
        ) from None
    return shape


def _count_layers(weights: dict[str, Tensor]) -> int:
    """How many layers the names tell of, whatever their numbers: `layers.300000` alone is one."""
    names = (re.match(r"backbone\.layers\.(\d{1,9})\.", name) for name in weights)
    return min(len({name[1] for name in names if name}), _MAX_LAYERS)


def _channels(weights: dict[str, Tensor], prefix: str, axis: int) -> tuple[int, ...]:
    found = {
        int(name[len(prefix) + 1 :].split(".")[0]): tensor.shape[axis]
        for name, tensor in weights.items()
        if re.fullmatch(re.escape(prefix) + r"\.\d{1,3}\.weight", name)
    }
    return tuple(found[index] for index in sorted(found))


def _heads(path: Path, embed_dim: int, num_heads: int | None) -> int:
    heads = PUBLISHED_HEADS.get(embed_dim) if num_heads is None else num_heads
    if heads is None:
        raise CheckpointError(
            f"{path} has an embedding of {embed_dim}, which is not a published size, and does not say how "
            "many attention heads it has; set model.num_heads (of convert --num-heads)."
        )
    if heads < 1 or embed_dim % heads:
        raise CheckpointError(
            f"model.num_heads={heads} does not divide the embedding of {embed_dim} in {path}; correct it."
        )
    return heads


def _positive_int(path: Path, text: str) -> int:
    if not re.fullmatch(r"0*[1-9][0-9]{0,5}", text):
        raise CheckpointError(
            f"{path} gives num_heads={text[:20]!r} in its metadata; set model.num_heads (of convert --num-heads)."
        )
    return int(text)


def _input_hw(path: Path, num_tokens: int, given: tuple[int, ...] | None) -> tuple[int, int]:
    """From the number of 16 px patches, which stand 4 high for 3 wide in every published network."""
    unit = math.isqrt(num_tokens // 12)
    if given is None and 12 * unit * unit != num_tokens:
        raise CheckpointError(
            f"{path} has {num_tokens} position embeddings, which is no 4:3 input; set model.input_hw=[height,width]."
        )
    height, width = given if given is not None else (4 * unit * PATCH_SIZE, 3 * unit * PATCH_SIZE)
    if height % PATCH_SIZE or width % PATCH_SIZE or (height // PATCH_SIZE) * (width // PATCH_SIZE) != num_tokens:
        raise CheckpointError(
            f"model.input_hw=[{height},{width}] does not fit the {num_tokens} patches of 16 px in {path}; "
            "omit it or correct it."
        )
    return height, width
