"""Settings of `python -m sapiens_pl.make`: those given, and else those that the run had."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, open_dict

from sapiens_pl.core.configs import config_folder
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.records.listing import read_object, section
from sapiens_pl.run.overrides import unreadable_override

_DEFAULT_FORMATS = ["json"]


def make_settings(run_folder: Path, given: Sequence[str]) -> DictConfig:
    """As `conf/make.yaml` composes them.

    Args:
        run_folder: the run's, with its run.json.
        given: KEY=VALUE texts; the names of `output`'s settings may stand alone (`formats=[csv]`).

    Raises:
        ConfigError: one cannot be read, or run.json is damaged.
        HydraException, OmegaConfBaseException: there is no such setting.
    """
    refused = unreadable_override(given) or next((_no_choice(text) for text in given if _is_choice(text)), None)
    if refused is not None:
        raise ConfigError(refused)
    overrides = [text if "." in text.partition("=")[0] else f"output.{text}" for text in given]
    with initialize_config_dir(config_folder(), version_base="1.3"):
        cfg = compose("make", overrides=overrides)
    keys = {text.partition("=")[0] for text in overrides}
    recorded = section(read_object(run_folder / "run.json"), "config")
    for group in ("output", "data"):
        _fill_in(cfg, group, section(recorded, group), keys)
    if "output.formats" in keys and "output.overlay" not in keys:
        cfg.output.overlay = None  # only those that are named
    if cfg.output.formats is None:
        cfg.output.formats = _DEFAULT_FORMATS
    return cfg


def _fill_in(cfg: DictConfig, group: str, recorded: dict, keys: set[str]) -> None:
    with open_dict(cfg):
        for key in cfg[group]:
            if key in recorded and f"{group}.{key}" not in keys:
                cfg[group][key] = recorded[key]


def _is_choice(text: str) -> bool:
    return OverridesParser.create().parse_override(text).is_sweep_override()


def _no_choice(text: str) -> str:
    key, _, value = text.partition("=")
    return f"{text} is a choice of values, and here is one run; if it is a list, write '{key}=[{value}]'."
