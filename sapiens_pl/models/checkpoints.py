"""Checkpoints of either generation into a network: weights only, all or nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sapiens_pl.core.errors import CheckpointError, ConfigError, SapiensError
from sapiens_pl.core.geometry import CropSettings
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.local_copies import local_copy
from sapiens_pl.core.remote import is_url
from sapiens_pl.core.settings import check
from sapiens_pl.models.keypoint_sets import metadata_of, set_of_network
from sapiens_pl.models.sapiens import SapiensPose
from sapiens_pl.models.sapiens2 import Sapiens2Pose
from sapiens_pl.models.sapiens2_config import CONFIG_KEY
from sapiens_pl.models.sapiens2_files import is_sapiens2, load_sapiens2
from sapiens_pl.models.sapiens_files import load_sapiens
from sapiens_pl.models.settings import CROP, NETWORK
from sapiens_pl.models.tensors import read_tensors, weights_files
from sapiens_pl.models.watch import WeightsWatch
from sapiens_pl.models.wrapping import unwrap

SapiensNetwork = SapiensPose | Sapiens2Pose
_LAST_LAYERS = ("head.final_layer.weight", "decode_head.conv_pose.weight", "decode_head.predictor.weight")
"""Of Sapiens v1 and, by the original's name and transformers', of Sapiens2."""

_SHOWN = 60
"""How many characters of a file's text are quoted in a sentence."""


def load_network(
    checkpoint: str | Path,
    num_heads: int | None = None,
    input_hw: tuple[int, int] | list[int] | None = None,
    dtype: torch.dtype | None = torch.float32,
    num_keypoints: int | None = None,
    crop: CropSettings | None = None,
    keypoint_set: str | Path | KeypointSet | None = None,
    generation: str | None = None,
) -> SapiensNetwork:
    """Builds the network that a Sapiens or Sapiens2 pose checkpoint belongs to.

    The kind of file is found from its content; no code from it runs. Weights that keep the file's dtype are
    a memory map of it: read when they are used, and shared by the processes of one machine.

    Args:
        checkpoint: a `.pth`, TorchScript, exported-program or safetensors file, or the folder of one; or a folder of
            transformers'.
        num_heads: attention heads, if neither the file nor a published embedding size tells them.
        input_hw: height and width of the crops, if the file does not tell them.
        dtype: of the weights; None for the file's own.
        num_keypoints: the number that the network must have; None takes any.
        crop: how its crops are cut and normalised; None for what its generation was trained with.
        keypoint_set: what its keypoints are: a set, the name of one of ours, or the path of a YAML; None for the one
            that the file's metadata names, else ours of that number, else numbers for names.
        generation: `sapiens2` if the checkpoint must be one of Sapiens2; None takes either.

    Raises:
        CheckpointError: the file is missing, damaged or of another network; the sentence says
            which file, what is wrong and what to do.
        ConfigError: `num_heads`, `input_hw` or `crop` is of another kind.
    """
    size = _check_settings(num_heads, input_hw, crop)
    path = expanded(checkpoint, "model.checkpoint")
    try:
        network, weights, metadata = _build(path, num_heads, size)
    except SapiensError:
        raise
    except OSError as error:
        raise CheckpointError(
            f"model.checkpoint={path} cannot be read ({error.strerror}); fix that and run again."
        ) from None
    except Exception as error:  # a file may claim anything
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:100]}".rstrip(": ")
        raise CheckpointError(
            f"{path} describes no network that can be built here ({said}); download it again, or give another "
            "checkpoint."
        ) from None
    if generation == "sapiens2" and not isinstance(network, Sapiens2Pose):
        raise CheckpointError(
            f"{path} holds Sapiens v1, and model=sapiens2 cuts crops as Sapiens2 was trained; choose model=sapiens, "
            "which takes either."
        )
    if num_keypoints not in (None, network.shape.num_keypoints):
        raise CheckpointError(
            f"{path} has {network.shape.num_keypoints} keypoints, but model.keypoints={num_keypoints}; give the "
            "checkpoint that this model names, or model=sapiens, which takes any."
        )
    network.keypoint_set = set_of_network(str(path), network.shape.num_keypoints, keypoint_set, metadata)
    if dtype is not None:
        # One by one, so that each map goes when its converted copy has come. Buffers keep the dtype that they need.
        for name, _ in network.named_parameters():
            weights[name] = weights[name].to(dtype)
    network.load_state_dict(weights, assign=True)
    if crop is not None:
        network.crop_settings = crop
    return network.eval().requires_grad_(False)


def expanded(path: str | Path, name: str) -> Path:
    """The path with the home folder in place of `~`; of a URL that of its copy on this machine.

    Raises:
        CheckpointError: it cannot be a path.
        ConfigError: what lies behind the URL cannot be fetched.
    """
    if is_url(path):
        return local_copy(str(path))
    try:
        if "\0" not in str(path):
            return Path(path).expanduser()
    except (TypeError, RuntimeError):  # ~NAME without such a user
        pass
    raise CheckpointError(f"{name} {str(path)[:_SHOWN]!r} is not a path; give that of a file.")


def _build(
    path: Path, num_heads: int | None, input_hw: tuple[int, int] | None
) -> tuple[SapiensNetwork, dict[str, Tensor], dict[str, str]]:
    """The network on the meta device, its weights, which fit it, and what their file says beside them."""
    files = weights_files(path)
    watch = WeightsWatch(path, [file for file in files if file.is_file()])
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    for file in files:
        found, metadata = read_tensors(file)
        tensors |= found
    tensors = unwrap(path, tensors, _LAST_LAYERS)
    network: SapiensNetwork
    if is_sapiens2(tensors):
        if num_heads is not None:
            raise ConfigError(f"model.num_heads={num_heads} is known for a Sapiens2 checkpoint; omit it.")
        network, weights = load_sapiens2(path, tensors, metadata, input_hw)
    else:
        network, weights = load_sapiens(path, tensors, metadata, num_heads, input_hw)
    _check_names_and_shapes(path, network, weights)
    if sum(weight.nbytes for weight in weights.values()) > sum(file.stat().st_size for file in files):
        raise CheckpointError(
            f"{path} is damaged: its tensors claim more values than the file has bytes for; download it again."
        )
    network.watch = watch
    return network, weights, metadata


def save_network(network: SapiensNetwork, path: Path, **metadata: str) -> None:
    """Writes a network as safetensors, with everything in the metadata that its weights do not tell."""
    weights: dict[str, Tensor] = {}
    storages = set()
    for name, weight in network.state_dict().items():
        weight = weight.detach().cpu().contiguous()
        storage = weight.untyped_storage().data_ptr()
        weights[name] = weight.clone() if storage in storages else weight  # safetensors shares none
        storages.add(storage)
    save_file(weights, path, metadata=network_metadata(network) | metadata)


def network_metadata(network: SapiensNetwork) -> dict[str, str]:
    """What `load_network` needs besides the weights; of a keypoint set that is not one of ours, all of it."""
    shape = network.shape
    metadata = {
        "model": "sapiens-v1-pose",
        "num_heads": str(shape.num_heads),
        "input_hw": f"{shape.input_hw[0]},{shape.input_hw[1]}",
        "num_keypoints": str(shape.num_keypoints),
    } | metadata_of(network.keypoint_set)
    if isinstance(network, Sapiens2Pose):
        metadata |= {"model": "sapiens2-pose", CONFIG_KEY: json.dumps({"rms_norm_eps": network.shape.norm_eps})}
    return metadata


def _check_settings(num_heads: Any, input_hw: Any, crop: CropSettings | None) -> tuple[int, int] | None:
    check(NETWORK, {"num_heads": num_heads, "input_hw": input_hw})
    if crop is not None:
        check(CROP, crop._asdict())
    return None if input_hw is None else (input_hw[0], input_hw[1])


def _check_names_and_shapes(path: Path, network: nn.Module, weights: dict[str, Tensor]) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    problems = [f"lacks {name}" for name in expected if name not in weights]
    problems += [f"adds {name[:_SHOWN]}" for name in weights if name not in expected]
    problems += [
        f"has {name} of shape {str(tuple(weights[name].shape))[:_SHOWN]} instead of {shape}"
        for name, shape in expected.items()
        if name in weights and tuple(weights[name].shape) != shape
    ]
    whole = [name for name in expected if name in weights and not weights[name].is_floating_point()]
    problems += [f"has {name} of whole numbers" for name in whole]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        kind = "Sapiens2" if isinstance(network, Sapiens2Pose) else "Sapiens v1"
        raise CheckpointError(
            f"{path} does not fit a {kind} pose network: it {', '.join(problems[:3])}{more}; nothing was "
            "loaded, give a complete pose checkpoint."
        )
