"""Settings that would pass for something else, or fail only later: looked at before anything large is loaded."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.data.packing import check_shard
from sapiens_pl.pictures.folder import check_images
from sapiens_pl.run.overrides import no_text

_GROUPS = ("data", "boxes", "model", "trainer", "output")
_TEXTS = (
    "data.images",
    "boxes.file",
    "boxes.images_file",
    "boxes.model",
    "boxes.weights",
    "model.checkpoint",
    "annotations",
    "output.dir",
)
_ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps", "tpu")
_PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true", "32", "16", "64", "bf16")
_TRAINER_SWITCHES = ("enable_progress_bar", "enable_checkpointing", "enable_model_summary", "use_distributed_sampler")


def check_settings(cfg: DictConfig) -> None:
    """Raises ConfigError for the first setting that cannot be meant."""
    for group in _GROUPS:
        if not isinstance(cfg.get(group), DictConfig):
            raise ConfigError(f"{group}={cfg.get(group)} is no choice; see conf/{group}/ for those there are.")
    for key in _TEXTS:
        value = OmegaConf.select(cfg, key)
        if value is not None and not isinstance(value, str):
            raise ConfigError(f"{no_text(key, value)}.")
    if cfg.output.dir is None:
        raise ConfigError("output.dir=null names no folder; give output.dir=FOLDER, or omit it.")
    check_switches(cfg)
    check_trainer(cfg.trainer)
    check_shard(cfg.data.num_shards, cfg.data.shard)
    if cfg.data.images is not None:
        check_images(cfg.data.images)


def check_trainer(trainer: DictConfig) -> None:
    """Raises ConfigError for what Lightning would refuse in words of its own, or take for something else."""
    devices, nodes = trainer.get("devices", "auto"), trainer.get("num_nodes", 1)
    if not _are_devices(devices):
        raise ConfigError(
            f"trainer.devices={devices} must be a number of devices of at least 1, a list of their numbers such as "
            "[0,1], -1 or auto for all."
        )
    if trainer.get("accelerator", "auto") not in _ACCELERATORS:
        raise ConfigError(
            f"trainer.accelerator={trainer.accelerator} must be one of {', '.join(_ACCELERATORS)}; which of several "
            "devices says trainer.devices=[0]."
        )
    if str(trainer.get("precision", "32-true")) not in _PRECISIONS:
        raise ConfigError(f"trainer.precision={trainer.precision} must be one of {', '.join(_PRECISIONS[:6])}.")
    if not _is_whole(nodes) or nodes < 1:
        raise ConfigError(f"trainer.num_nodes={nodes} must be a whole number of at least 1.")
    for key in _TRAINER_SWITCHES:
        if not isinstance(trainer.get(key, False), bool):
            raise ConfigError(f"trainer.{key}={trainer[key]} must be true or false.")
    if isinstance(trainer.get("logger"), str | int) and not isinstance(trainer.logger, bool):
        raise ConfigError(f"trainer.logger={trainer.logger} must be true, false, or a _target_ with its settings.")


def _are_devices(devices: Any) -> bool:
    if isinstance(devices, str):
        return devices == "auto" or all(part.strip().isdecimal() for part in devices.split(",") if part.strip() != "-1")
    if isinstance(devices, ListConfig | list):
        return len(devices) > 0 and all(_is_whole(number) and number >= 0 for number in devices)
    return _is_whole(devices) and (devices >= 1 or devices == -1)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def check_switches(cfg: DictConfig) -> None:
    """Refuses what only looks like a yes or a no: any text would count as true."""
    outputs = ("output.overlay", "output.resume", "output.retry_failed", "output.overwrite")
    for key in ("model.flip_test", "model.compile", *outputs):
        value = OmegaConf.select(cfg, key)
        if not isinstance(value, bool) and not (key == "output.overlay" and value is None):
            raise ConfigError(f"{key}={value} must be true or false.")
