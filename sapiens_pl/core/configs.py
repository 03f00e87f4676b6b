"""Where the configuration files are, and what those of the models say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

_options_with_parts = ConfigRepository.get_group_options


def config_folder() -> str:
    """`conf/` inside the installed package, or beside it in a checkout; everything in it can be composed then."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "conf"
    folder = inside if inside.is_dir() else package.parent / "conf"
    _compose_whole(folder / "products")
    setattr(ConfigRepository, "get_group_options", _options)  # noqa: B010
    return str(folder)


def _options(repository: ConfigRepository, *given: Any, **named: Any) -> list[str]:
    """What help, Tab and `glob(*)` offer: no file whose name begins with _, which others build on, is a choice."""
    return [name for name in _options_with_parts(repository, *given, **named) if not name.startswith("_")]


def _compose_whole(folder: Path) -> None:
    """Makes `products/_all` a config that has every file of the folder in its defaults, so that nothing need list them.

    It lies in Hydra's store of configs that are not files, which Hydra searches after `conf/`.
    """
    names = sorted(path.stem for path in folder.glob("*.yaml") if not path.name.startswith("."))
    ConfigStore.instance().store(group=folder.name, name="_all", node={"defaults": names})


def published_models() -> Iterator[tuple[str, DictConfig]]:
    """Name and file of each model that has its weights on the hub, small before large."""
    found = [(path.stem, OmegaConf.load(path)) for path in Path(config_folder(), "model").glob("*.yaml")]
    models = [(name, cfg) for name, cfg in found if isinstance(cfg, DictConfig) and cfg.get("size")]
    yield from sorted(models, key=lambda model: _order(*model))


def _order(name: str, cfg: DictConfig) -> tuple[str, int, float]:
    return name.partition("_")[0], cfg.keypoints, float(cfg.size.rstrip("b"))
