"""Settings that would pass for something else, or fail only later: looked at before anything large is loaded."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf

from sapiens_pl.errors import ConfigError


def check_switches(cfg: DictConfig) -> None:
    """Refuses what only looks like a yes or a no: any text would count as true."""
    outputs = ("output.overlay", "output.resume", "output.retry_failed", "output.overwrite")
    for key in ("model.flip_test", "model.compile", *outputs):
        value = OmegaConf.select(cfg, key)
        if not isinstance(value, bool) and not (key == "output.overlay" and value is None):
            raise ConfigError(f"{key}={value} must be true or false.")
