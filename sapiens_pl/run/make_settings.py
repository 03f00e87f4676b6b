"""Settings of `python -m sapiens_pl.make`: those given, and else those that the run had."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from sapiens_pl.core.configs import config_folder
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.products.chosen import DEFAULT_FORMATS
from sapiens_pl.records.listing import read_object, section
from sapiens_pl.run.added import refuse_unread
from sapiens_pl.run.overrides import unreadable_override
from sapiens_pl.run.own_configs import searchpath, with_own_products
from sapiens_pl.tracking.of_records import GROUPS


def make_settings(run_folder: Path, given: Sequence[str], config_dir: str | None = None) -> DictConfig:
    """As `conf/make.yaml` composes them.

    Args:
        run_folder: the run's, with its run.json.
        given: KEY=VALUE texts; the names of `output`'s settings may stand alone (`formats=[csv]`), and choices of
            `tracking` and `smoothing` are names of their files.
        config_dir: a folder with configuration files of one's own, whose products there are too.

    Raises:
        ConfigError: one cannot be read, or run.json is damaged.
        HydraException, OmegaConfBaseException: there is no such setting.
    """
    refused = unreadable_override(given) or next((_no_choice(text) for text in given if _is_choice(text)), None)
    if refused is not None:
        raise ConfigError(refused)
    overrides = [text if _is_whole(text) else _of_output(text) for text in given]
    keys = {text.partition("=")[0] for text in overrides}
    for group in GROUPS:
        if f"{group}=null" in given or f"{group}=" in given:
            raise ConfigError(f"{group} must be a choice; see conf/{group}/ for those there are.")
    recorded = section(read_object(run_folder / "run.json"), "config")
    choices = {group: _choice(group, section(recorded, group)) for group in GROUPS if group not in keys}
    with initialize_config_dir(config_folder(), version_base="1.3"):
        overrides = [f"{group}={name}" for group, name in choices.items() if name] + overrides
        overrides = with_own_products([*overrides, *([searchpath(config_dir)] if config_dir else [])])
        cfg = compose("make", overrides)
        refuse_unread(cfg, "make", overrides)
    for group in ("output", "data", *(group for group, name in choices.items() if name)):
        _fill_in(cfg, group, section(recorded, group), keys)
    if "output.formats" in keys and "output.overlay" not in keys:
        cfg.output.overlay = None  # only those that are named
    if cfg.output.formats is None:
        cfg.output.formats = DEFAULT_FORMATS
    return cfg


def _of_output(text: str) -> str:
    bare = text.lstrip("+~")
    return f"{text[: len(text) - len(bare)]}output.{bare}"


def _is_whole(text: str) -> bool:
    key = text.partition("=")[0]
    return "." in key or key in GROUPS


def _choice(group: str, recorded: dict) -> str | None:
    """Which file of the group the run had; None if it had none yet.

    Only classes named in `conf/` are built: a run's folder may come from anywhere.
    """
    target = None if "_target_" not in recorded else str(recorded["_target_"])
    files = sorted(Path(config_folder(), group).glob("*.yaml"))
    choices = {OmegaConf.load(file)._target_: file.stem for file in files}
    if target is not None and target not in choices:
        known = " or ".join(f"{group}={name}" for name in choices.values())
        raise ConfigError(f"{group} of the run is {target}, which is not in conf/{group}/; give {known}.")
    return choices.get(target)


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
