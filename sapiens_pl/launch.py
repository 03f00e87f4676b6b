"""Runs of several processes that something else has started: torchrun, SLURM, or shards of a job array."""

from __future__ import annotations

import os

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from sapiens_pl.errors import ConfigError


def fit_to_launcher(cfg: DictConfig) -> None:
    """Tells the trainer of torchrun's processes, and sees to it that all processes mean the same folder.

    Raises:
        ConfigError: the trainer is to start other processes than torchrun has, or the run folder has no name.
    """
    by_torchrun = "TORCHELASTIC_RUN_ID" in os.environ
    if by_torchrun:
        per_node = int(os.environ["LOCAL_WORLD_SIZE"])
        _agree(cfg, "devices", per_node, "--nproc-per-node")
        _agree(cfg, "num_nodes", int(os.environ["WORLD_SIZE"]) // per_node, "--nnodes")
        if cfg.trainer.strategy == "auto":
            cfg.trainer.strategy = "ddp"
    by_srun = "SLURM_PROCID" in os.environ and int(os.environ.get("SLURM_NTASKS", 1)) > 1
    if (by_torchrun or by_srun or cfg.data.num_shards > 1) and not _folder_has_a_name():
        raise ConfigError(
            "several processes work on this run, and the folder's default name (the time) would differ between them; "
            "name it, for instance hydra.run.dir=outputs/my_run."
        )


def _agree(cfg: DictConfig, key: str, number: int, option: str) -> None:
    given = cfg.trainer[key]
    if given not in ("auto", -1, number) and not (key == "num_nodes" and given == 1):
        raise ConfigError(f"trainer.{key}={given}, but torchrun's {option} says {number}; leave trainer.{key} away.")
    cfg.trainer[key] = number


def _folder_has_a_name() -> bool:
    if not HydraConfig.initialized():
        return True
    hydra = HydraConfig.get()
    named = [text.lstrip("+").partition("=")[0] for text in [*hydra.overrides.task, *hydra.overrides.hydra]]
    return "output.dir" in named or (hydra.mode != RunMode.MULTIRUN and "hydra.run.dir" in named)
