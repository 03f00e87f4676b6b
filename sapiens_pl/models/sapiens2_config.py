"""What stands beside Sapiens2's weights: a folder's `config.json` and image processor, our own files' metadata.

The weights themselves tell every size. The configuration gives only what they do not tell, and must agree with them
in all else: no size is taken from it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from sapiens_pl.core.errors import CheckpointError
from sapiens_pl.core.wording import shown
from sapiens_pl.models.sapiens2 import INPUT_HW, ROPE_BASE, Sapiens2Shape, rotary_periods
from sapiens_pl.models.settings import PATCH_SIZE
from sapiens_pl.models.transformers_folder import CONFIG_FILE, PROCESSOR_FILE

CONFIG_KEY = "sapiens2_config"
"""Where our own converted files keep what the weights do not tell, under transformers' names."""

_LARGEST_FILE = 10_000_000
"""Bytes of JSON; the published folders' have some ten thousand."""
_SHOWN = 80
"""How many characters of a file's text are quoted in a sentence."""
_LONGEST_SIDE = 16_384
"""Crop px: with it as both sides attention would have a million tokens, far more than any device can hold."""


class Sapiens2Config(NamedTuple):
    """A configuration under transformers' names, and the file that it is from; empty where there is none."""

    file: Path
    values: dict[str, Any]


def read_config(checkpoint: Path, metadata: dict[str, str]) -> Sapiens2Config:
    """The configuration beside or in the weights.

    Raises:
        CheckpointError: it is not a JSON object.
    """
    if CONFIG_KEY in metadata:
        return Sapiens2Config(checkpoint, _object(checkpoint, metadata[CONFIG_KEY]))
    file = checkpoint / CONFIG_FILE
    return Sapiens2Config(file, _object(file, _text(file))) if file.is_file() else Sapiens2Config(checkpoint, {})


def read_input_hw(checkpoint: Path, metadata: dict[str, str]) -> tuple[int, int]:
    """As our own files say, else as the folder's image processor has it, else the published one.

    Raises:
        CheckpointError: two sizes that no crop can have, or what is not a size.
    """
    given: Any = None
    sides: list[Any] = []
    file = checkpoint / PROCESSOR_FILE
    if "input_hw" in metadata:
        file, given = checkpoint, metadata["input_hw"]
        sides = [int(side) for side in given.split(",") if side.isdecimal() and len(side) < 9]
    elif file.is_file():
        given = _object(file, _text(file)).get("size")
        sides = [given.get("height"), given.get("width")] if isinstance(given, dict) else []
    if given is None:
        return INPUT_HW
    if len(sides) != 2 or not all(_is_side(side) for side in sides):
        raise CheckpointError(
            f"{file} gives the crops' size as {shown(given)}, which must be a height and a width in px, multiples of "
            f"{PATCH_SIZE} up to {_LONGEST_SIDE}; correct it or set model.input_hw=[{INPUT_HW[0]},{INPUT_HW[1]}]."
        )
    return sides[0], sides[1]


def norm_eps(config: Sapiens2Config) -> float:
    """What RMSNorm adds to the variance."""
    return _number(config, "rms_norm_eps", 1e-6, 1e-12, 1.0)


def rope_base(config: Sapiens2Config, head_dim: int) -> float:
    """The base of the rotary periods.

    Earlier versions of this project wrote into their files what the second period gives, which had been rounded to
    bfloat16: 102.94 for 100, 98.25 or 98.76, by the number of periods.

    Raises:
        CheckpointError: not a positive number, or one that was derived in this way from an unpublished base.
    """
    base = _number(config, "rope_theta", ROPE_BASE, 1.0, 1e30)
    if base == _base_of_rounded(ROPE_BASE, head_dim):
        return ROPE_BASE
    if base != int(base) and base == _base_of_rounded(base, head_dim):
        raise CheckpointError(
            f"{config.file} has the rotary base {base}, which an earlier version derived from rounded periods; convert "
            "the original checkpoint again."
        )
    return base


def check_config(config: Sapiens2Config, shape: Sapiens2Shape) -> None:
    """Compares what the configuration says with what the weights are.

    Raises:
        CheckpointError: they are of two networks, or it asks for layers that no Sapiens2 pose network has.
    """
    built: dict[str, list[Any]] = {
        "hidden_size": [shape.embed_dim],
        "num_hidden_layers": [shape.num_layers],
        "num_attention_heads": [shape.num_heads],
        "num_key_value_heads_per_layer": [list(shape.num_kv_heads)],
        "intermediate_size": [shape.mlp_dim],
        "num_register_tokens": [shape.num_registers],
        "num_labels": [shape.num_keypoints],
        "patch_size": [PATCH_SIZE, [PATCH_SIZE] * 2],
        "num_channels": [3],
        "hidden_act": ["silu"],
        "use_gated_mlp": [True],
        "use_qk_norm": [True],
    }
    built_head: dict[str, list[Any]] = {
        "upsample_out_channels": [list(shape.head_dims)],
        "conv_out_channels": [list(shape.head_conv_dims)],
        "use_pixel_shuffle": [False],
    }
    head = config.values.get("head_config") or {}
    if not isinstance(head, dict):
        raise CheckpointError(f"{config.file} gives head_config={shown(head)}, no object; download it again.")
    for values, expected in ((config.values, built), (head, built_head)):
        for key, choices in expected.items():
            if values.get(key) is not None and not any(_same(values[key], choice) for choice in choices):
                raise CheckpointError(
                    f"{config.file} gives {key}={shown(values[key])}, but the weights are those of a network with "
                    f"{shown(choices[0])}; download both again."
                )


def _base_of_rounded(base: float, head_dim: int) -> float:
    periods = rotary_periods(base, head_dim)
    return round(float(periods[1]) ** len(periods), 2) if len(periods) > 1 else base


def _number(config: Sapiens2Config, key: str, default: float, least: float, most: float) -> float:
    value = config.values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise CheckpointError(
            f"{config.file} gives {key}={shown(value)}, which must be a number of {least:g} to {most:g}; "
            "download it again."
        )
    return float(value)


def _is_side(side: Any) -> bool:
    return type(side) is int and 0 < side <= _LONGEST_SIDE and side % PATCH_SIZE == 0


def _same(value: Any, expected: Any) -> bool:
    return type(value) is type(expected) and value == expected


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > _LARGEST_FILE:
            raise CheckpointError(f"{file} is larger than any configuration; download it again.")
        return file.read_text("utf-8")
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read ({error.strerror}); fix that and run again.") from None
    except UnicodeDecodeError:
        raise CheckpointError(f"{file} is damaged: it is not UTF-8 text; download it again.") from None


def _object(file: Path, text: str) -> dict[str, Any]:
    """The one JSON object of a configuration."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:  # RecursionError: brackets nested without end
        raise CheckpointError(f"{file} is damaged: no JSON ({str(error)[:_SHOWN]}); download it again.") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{file} is damaged: {shown(values)} is not a JSON object; download it again.")
    return values
