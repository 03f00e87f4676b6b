"""Settings as the command composes them, much sooner: what is the same for many tests is composed once."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from sapiens_pl.core.configs import config_folder


def composed(name: str, overrides: Sequence[str]) -> DictConfig:
    """A configuration of one's own.

    Args:
        name: "predict" or "make".
        overrides: as on the command line. Values are put in afterwards, as Hydra does it.
    """
    values = [text for text in overrides if _is_value(text)]
    cfg = copy.deepcopy(_composed(name, tuple(text for text in overrides if text not in values)))
    for override in OverridesParser.create().parse_overrides(values):
        added = override.is_add() or override.is_force_add()
        OmegaConf.update(cfg, override.key_or_group, override.value(), merge=True, force_add=added)
    return cfg


def _is_value(text: str) -> bool:
    """Not the choice of a group, which has no point in its name, nor a setting of Hydra's own."""
    key = text.lstrip("+").partition("=")[0]
    is_choice = "." not in key and (Path(config_folder(), key).is_dir() or text[0] != "+")
    return key[:1].isalpha() and "@" not in key and not key.startswith("hydra.") and not is_choice


@cache
def _composed(name: str, overrides: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(config_folder(), version_base="1.3"):
        return compose(name, list(overrides))
