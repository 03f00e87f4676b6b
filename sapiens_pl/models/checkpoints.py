"""Checkpoint files of every published kind into our own network: weights only, all or nothing."""

from __future__ import annotations

import hashlib
import math
import re
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sapiens_pl.errors import CheckpointError, ConfigError
from sapiens_pl.models.archive import BrokenArchiveError, read_archive
from sapiens_pl.models.sapiens import PATCH_SIZE, PUBLISHED_HEADS, SapiensPose, SapiensShape

_LAST_LAYER = "head.final_layer.weight"
_BESIDE_WEIGHTS = ("data_preprocessor.",)
"""What a trainer or an export stores beside the network: the pixels' mean and standard deviation."""


def load_network(
    checkpoint: str | Path,
    num_heads: int | None = None,
    input_hw: tuple[int, int] | list[int] | None = None,
    dtype: torch.dtype | None = torch.float32,
) -> SapiensPose:
    """Builds the network that a Sapiens v1 pose checkpoint belongs to.

    The kind of file is found out by looking at it; no code from it runs. Weights that keep the file's dtype are
    a memory map of it: read when they are used, and shared by the processes of one machine.

    Args:
        checkpoint: a `.pth`, TorchScript, exported-program or safetensors file.
        num_heads: attention heads, where neither the file nor a published embedding size tells.
        input_hw: height and width of the crops, where they are not 4:3.
        dtype: of the weights; None for the file's own.

    Raises:
        CheckpointError: the file is missing, damaged or of another network; the sentence says
            which file, what is wrong and what to do.
        ConfigError: `num_heads` or `input_hw` is of another kind.
    """
    if num_heads is not None and not isinstance(num_heads, int):
        raise ConfigError(f"model.num_heads={num_heads} must be a whole number.")
    if input_hw is not None and (isinstance(input_hw, (int, str)) or [type(side) for side in input_hw] != [int, int]):
        raise ConfigError(f"model.input_hw={input_hw} must be two whole numbers, [height,width].")
    path = Path(checkpoint).expanduser()
    weights, metadata = _read_weights(path)
    if "num_heads" in metadata and num_heads is None:
        num_heads = _positive_int(path, metadata["num_heads"])
    shape = _shape_of(path, weights, num_heads, tuple(input_hw) if input_hw else None)
    with torch.device("meta"):
        network = SapiensPose(shape)
    _check_names_and_shapes(path, network, weights)
    network.load_state_dict({name: weight.to(dtype or weight.dtype) for name, weight in weights.items()}, assign=True)
    return network.eval().requires_grad_(False)


def save_network(network: SapiensPose, path: Path) -> None:
    """Writes a network as safetensors, with the number of heads in the metadata."""
    weights = {name: weight.detach().cpu().contiguous() for name, weight in network.state_dict().items()}
    save_file(weights, path, metadata={"num_heads": str(network.shape.num_heads), "model": "sapiens-v1-pose"})


def file_sha256(path: str | Path) -> str:
    """The file's SHA-256, hexadecimal."""
    digest = hashlib.sha256()
    with open(Path(path).expanduser(), "rb") as file:
        while chunk := file.read(1 << 24):
            digest.update(chunk)
    return digest.hexdigest()


def _read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        if not path.is_file():
            raise CheckpointError(
                f"model.checkpoint={path} is not a file; give the path of a downloaded Sapiens pose checkpoint."
            )
        with open(path, "rb") as file:
            start = file.read(16)
    except OSError as error:
        raise CheckpointError(f"model.checkpoint={path} cannot be read ({error.strerror}).") from None
    try:
        if start.startswith(b"PK\x03\x04"):
            return _state_dict(path, read_archive(path)), {}
        if start[8:9] == b"{":
            return _read_safetensors(path)
    except (BrokenArchiveError, SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or incomplete: {error}; download it again.") from None
    raise CheckpointError(
        f"{path} is neither a PyTorch archive nor a safetensors file (is the download complete, "
        "or is it a web page or a Git LFS pointer?); download the checkpoint again."
    )


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, "pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
        return _state_dict(path, weights), file.metadata() or {}


def _state_dict(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The network's own weights among all tensors of a file, under their plain names."""
    prefix = "state_dict." if any(name.startswith("state_dict.") for name in tensors) else ""
    inside = {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    weights = {
        re.sub(r"^(module|_orig_mod)\.", "", name): tensor
        for name, tensor in inside.items()
        if not name.startswith(_BESIDE_WEIGHTS)
    }
    if _LAST_LAYER not in weights or "backbone.pos_embed" not in weights:
        raise CheckpointError(
            f"{path} holds no Sapiens v1 pose network ({_describe(weights)}); give a pose checkpoint "
            "(17, 133 or 308 keypoints), not the pretrained backbone or another task's."
        )
    return weights


def _describe(weights: dict[str, Tensor]) -> str:
    if not weights:
        return "no tensors at all"
    return f"{len(weights)} tensors, the first called {next(iter(weights))!r}"


def _shape_of(
    path: Path, weights: dict[str, Tensor], num_heads: int | None, input_hw: tuple[int, ...] | None
) -> SapiensShape:
    try:
        embed_dim = weights["backbone.pos_embed"].shape[2]
        num_tokens = weights["backbone.pos_embed"].shape[1]
        mlp_dim = weights["backbone.layers.0.ffn.layers.0.0.weight"].shape[0]
        shape = SapiensShape(
            embed_dim=embed_dim,
            num_layers=_count(weights, r"backbone\.layers\.(\d+)\."),
            num_heads=_heads(path, embed_dim, num_heads),
            mlp_dim=mlp_dim,
            head_dims=_channels(weights, "head.deconv_layers", axis=1),
            head_conv_dims=_channels(weights, "head.conv_layers", axis=0),
            num_keypoints=weights[_LAST_LAYER].shape[0],
            input_hw=_input_hw(path, num_tokens, input_hw),
        )
    except (KeyError, IndexError):
        raise CheckpointError(
            f"{path} is no Sapiens v1 pose network that can be built here (its layers are named or "
            "shaped otherwise); give one of the published pose checkpoints."
        ) from None
    return shape


def _count(weights: dict[str, Tensor], pattern: str) -> int:
    return 1 + max((int(found[1]) for name in weights if (found := re.match(pattern, name))), default=-1)


def _channels(weights: dict[str, Tensor], prefix: str, axis: int) -> tuple[int, ...]:
    found = {
        int(name[len(prefix) + 1 :].split(".")[0]): tensor.shape[axis]
        for name, tensor in weights.items()
        if re.fullmatch(re.escape(prefix) + r"\.\d+\.weight", name)
    }
    return tuple(found[index] for index in sorted(found))


def _heads(path: Path, embed_dim: int, num_heads: int | None) -> int:
    heads = num_heads or PUBLISHED_HEADS.get(embed_dim)
    if heads is None:
        raise CheckpointError(
            f"{path} has an embedding of {embed_dim}, which is no published size, and does not say how "
            "many attention heads it has; set model.num_heads."
        )
    if heads < 1 or embed_dim % heads:
        raise CheckpointError(
            f"model.num_heads={heads} does not divide the embedding of {embed_dim} in {path}; correct it."
        )
    return heads


def _positive_int(path: Path, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise CheckpointError(f"{path} gives num_heads={text!r} in its metadata; set model.num_heads.")
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
            "leave it out or correct it."
        )
    return height, width


def _check_names_and_shapes(path: Path, network: SapiensPose, weights: dict[str, Tensor]) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    problems = [f"lacks {name}" for name in expected if name not in weights]
    problems += [f"adds {name}" for name in weights if name not in expected]
    problems += [
        f"has {name} of shape {tuple(weights[name].shape)} instead of {shape}"
        for name, shape in expected.items()
        if name in weights and tuple(weights[name].shape) != shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(
            f"{path} does not fit a Sapiens v1 pose network: it {', '.join(problems[:3])}{more}; nothing was "
            "loaded, give a complete pose checkpoint."
        )
