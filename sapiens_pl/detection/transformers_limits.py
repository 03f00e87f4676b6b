"""What a transformers model's settings claim is believed only as far as its weights could fill it.

A configuration of a few bytes can describe a network that takes hours and gigabytes to build.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from sapiens_pl.models.transformers_folder import CONFIG_FILE, PROCESSOR_FILE

_LIMITS = {
    re.compile(r"layer|depth|block|stage|label|level"): 10_000,
    re.compile(r"image_size|eval_size|height|width|edge"): 20_000,
}
"""The largest number, in px where it is a size, by what the setting's name contains."""
_MAX_PARAMETERS = 5_000
"""The largest of the library's detectors have about a thousand."""
_MAX_SETTINGS_BYTES = 16 * 2**20
_WEIGHTS = (".safetensors", ".bin")


class ClaimError(ValueError):
    """The settings describe a network that their weights cannot fill."""


def check_settings(folder: Path) -> None:
    """Looks at the numbers in a folder's two settings files.

    Raises:
        ClaimError: one is beyond all networks, or a file is not JSON.
    """
    for file in (folder / CONFIG_FILE, folder / PROCESSOR_FILE):
        if file.is_file():
            if file.stat().st_size > _MAX_SETTINGS_BYTES:
                raise ClaimError(f"{file.name} is implausibly large")
            try:
                content = json.loads(file.read_text("utf-8"))
            except (ValueError, RecursionError) as error:
                raise ClaimError(f"{file.name} is not JSON: {error}") from None
            if not isinstance(content, dict):
                raise ClaimError(f"{file.name} holds no settings")
            _check_numbers(file.name, "", content)


def _check_numbers(file: str, key: str, value: Any) -> None:
    if isinstance(value, dict):
        for name, inside in value.items():
            _check_numbers(file, name if isinstance(inside, (int, float, list)) else key, inside)
    elif isinstance(value, list):
        for inside in value:
            _check_numbers(file, key, inside)
    elif isinstance(value, (int, float)):
        for pattern, limit in _LIMITS.items():
            if pattern.search(key) and not -limit <= value <= limit:
                raise ClaimError(f"{file} has {key[:40]}={value:.6g}, more than any network has")


@contextmanager
def believing_no_more_than(folder: Path) -> Iterator[None]:
    """Inside this block, a network cannot have more parameters than the folder's weights have bytes for.

    Raises:
        ClaimError: from within, as soon as there are too many.
    """
    size = sum(file.stat().st_size for file in folder.iterdir() if file.suffix in _WEIGHTS)
    values = parameters = 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal values, parameters
        parameters += 1
        values += 0 if parameter is None else parameter.numel()
        # The library registers each twice: without values, and with them.
        if parameters > 2 * _MAX_PARAMETERS or (size and values > 2 * size):
            raise ClaimError(f"{CONFIG_FILE} describes a network that its weights of {size} bytes cannot fill")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()
