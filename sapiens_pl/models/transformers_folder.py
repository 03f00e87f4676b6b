"""The files in a folder as transformers leaves it: settings, and weights in one part or several."""

from __future__ import annotations

from collections.abc import Iterable

CONFIG_FILE, PROCESSOR_FILE = SETTINGS_FILES = ("config.json", "preprocessor_config.json")
"""What transformers keeps beside the weights; the first makes a folder one of its own."""


def choose_transformers_weights(names: Iterable[str]) -> list[str]:
    """The names of the weights in a folder of transformers, all parts of them; none if one is missing."""
    names = sorted(names)
    if "model.safetensors" in names:
        return ["model.safetensors"]
    parts = [name for name in names if name.startswith("model-") and name.endswith(".safetensors")]
    expected = {f"model-{number:05d}-of-{len(parts):05d}.safetensors" for number in range(1, len(parts) + 1)}
    return parts if set(parts) == expected else []
