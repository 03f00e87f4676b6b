"""Keys that a command line adds to the configuration with `+`: Hydra accepts any, even if nothing reads them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from sapiens_pl.core.configs import config_folder
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.run.meant import no_setting

_ANY_KEYWORD = inspect.Parameter.VAR_KEYWORD


def check_added(cfg: DictConfig) -> None:
    """Raises ConfigError for the first key that was added and that nothing reads; looks at the command's own job."""
    if not HydraConfig.initialized():
        return
    refuse_unread(cfg, str(HydraConfig.get().job.config_name), list(HydraConfig.get().overrides.task))


def refuse_unread(cfg: DictConfig, name: str, overrides: Sequence[str]) -> None:
    """Raises ConfigError for the first key that was added and that nothing reads.

    Args:
        cfg: as composed.
        name: of the file in `conf/` that it was composed from, which can be done again.
        overrides: with these.
    """
    added = [text for text in overrides if text.startswith("+") and not _is_choice(_key(text))]
    if not added:
        return
    before = compose(name, [text for text in overrides if text not in added])
    for key in map(_key, added):
        if not _is_read(key, cfg, before):
            raise ConfigError(no_setting(key, before))


def _key(override: str) -> str:
    return override.lstrip("+").partition("=")[0]


def _is_choice(key: str) -> bool:
    """Hydra's own settings, and groups, whose files may say what others set."""
    return key.startswith("hydra.") or "@" in key or Path(config_folder(), key).is_dir()


def _is_read(key: str, cfg: DictConfig, before: DictConfig) -> bool:
    if _holds(before, key) or f"{key}}}" in OmegaConf.to_yaml(cfg):  # there without it, or interpolated by others
        return True
    parts = key.split(".")
    for length in range(len(parts), 0, -1):
        node: Any = OmegaConf.select(cfg, ".".join(parts[:length]))
        if isinstance(node, DictConfig) and "_target_" in node:
            return length == len(parts) or _takes(str(node._target_), parts[length])
    return False


def _holds(cfg: DictConfig, key: str) -> bool:
    parent, _, name = key.rpartition(".")
    node: Any = OmegaConf.select(cfg, parent) if parent else cfg
    return isinstance(node, DictConfig) and name in node


def _takes(target: str, argument: str) -> bool:
    """Whether what builds a node has such an argument, or takes any."""
    try:
        built = get_object(target)
        if isinstance(built, type) and not _has_init(built):
            return False
        parameters: Sequence[inspect.Parameter] = list(inspect.signature(built).parameters.values())
    except (ImportError, ValueError, TypeError):  # building it will report what is wrong
        return True
    return any(one.name == argument or one.kind is _ANY_KEYWORD for one in parameters)


def _has_init(built: type) -> bool:
    """Whether any class says how it is built: what a protocol says of it stands for nothing."""
    classes = [each for each in built.__mro__ if each is not object and not vars(each).get("_is_protocol")]
    return any("__init__" in vars(each) for each in classes)
