"""Where the configuration files are, and what the models' say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig, OmegaConf


def config_folder() -> str:
    """`conf/` inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "conf"
    return str(inside if inside.is_dir() else package.parent / "conf")


def published_models() -> Iterator[tuple[str, DictConfig]]:
    """Name and file of each model that has its weights on the hub, small before large."""
    found = [(path.stem, OmegaConf.load(path)) for path in Path(config_folder(), "model").glob("*.yaml")]
    models = [(name, cfg) for name, cfg in found if isinstance(cfg, DictConfig) and cfg.get("size")]
    yield from sorted(models, key=lambda model: _order(*model))


def _order(name: str, cfg: DictConfig) -> tuple[str, int, float]:
    return name.partition("_")[0], cfg.keypoints, float(cfg.size.rstrip("b"))
