"""Runs of several processes that something else has started: torchrun, srun, or an engine that starts shards.

The tasks of torchrun or srun share the images of their job: all images, or its shard.
"""

from __future__ import annotations

import logging
import os

import lightning as L
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.plugins.environments import SLURMEnvironment
from omegaconf import DictConfig

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.run.engines import Share, share_of, told
from sapiens_pl.run.ranks import own_rank, said_by_all

log = logging.getLogger(__name__)


def fit_to_launcher(cfg: DictConfig) -> Share:
    """Tells the trainer about the processes that torchrun or srun has started, and makes sure that all use one folder.

    Returns:
        Which shard this job does; it is put into `cfg.data`, and logged if the environment has decided it.

    Raises:
        ConfigError: the trainer is to start other processes than there are, or the run folder has no name.
    """
    several = _by_torchrun(cfg) or _by_srun(cfg)
    if several and cfg.trainer.strategy == "auto":
        cfg.trainer.strategy = "ddp"
    share = share_of(cfg.data)
    cfg.data.num_shards, cfg.data.shard = share.num_shards, share.shard
    told_of_share = told(share) if share.taken_from is not None else ""
    if (several or share.num_shards > 1) and not _folder_has_a_name():
        raise ConfigError(
            "several processes work on this run, and the folder's default name (the time) would differ between them; "
            "name it, for instance hydra.run.dir=outputs/my_run (output.dir=outputs/my_run with -m). "
            f"{told_of_share}".strip()
        )
    if told_of_share and own_rank() == 0:
        log.warning(told_of_share)
    return share


def check_same_shard(cfg: DictConfig, trainer: L.Trainer) -> None:
    """Makes sure that the tasks of torchrun or srun share one shard: of two, each would do half.

    Raises:
        ConfigError: in all of them, if they have been given several.
    """
    shards = said_by_all(trainer, (cfg.data.num_shards, cfg.data.shard))
    if len(set(shards)) > 1:
        listed = ", ".join(f"{shard} of {num_shards}" for num_shards, shard in dict.fromkeys(shards))
        raise ConfigError(
            f"torchrun's or srun's tasks were given different shards ({listed}), but they share the images of one "
            "shard by themselves; give all of them the same data.num_shards and data.shard, or omit both."
        )


def _by_torchrun(cfg: DictConfig) -> bool:
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return False
    per_node = int(os.environ["LOCAL_WORLD_SIZE"])
    _agree(cfg, "devices", per_node, "torchrun's --nproc-per-node")
    _agree(cfg, "num_nodes", int(os.environ["WORLD_SIZE"]) // per_node, "torchrun's --nnodes")
    return True


def _by_srun(cfg: DictConfig) -> bool:
    tasks = int(os.environ.get("SLURM_NTASKS", 1))
    if tasks == 1 or not SLURMEnvironment.detect():
        return False
    if "SLURM_STEP_ID" not in os.environ:
        raise ConfigError(f"SLURM gives this job {tasks} tasks, but one process was started; put srun before python.")
    nodes = int(os.environ.get("SLURM_NNODES", 1))
    if tasks % nodes:
        raise ConfigError(f"srun started {tasks} tasks on {nodes} nodes; start as many on each (--ntasks-per-node).")
    _agree(cfg, "devices", tasks // nodes, "srun's --ntasks-per-node")
    _agree(cfg, "num_nodes", nodes, "srun's --nodes")
    return True


def _agree(cfg: DictConfig, key: str, number: int, option: str) -> None:
    given = cfg.trainer[key]
    if given not in ("auto", -1, number) and not (key == "num_nodes" and given == 1):
        raise ConfigError(f"trainer.{key}={given}, but {option} says {number}; remove trainer.{key}.")
    cfg.trainer[key] = number


def _folder_has_a_name() -> bool:
    if not HydraConfig.initialized():
        return True
    hydra = HydraConfig.get()
    named = [text.lstrip("+").partition("=")[0] for text in [*hydra.overrides.task, *hydra.overrides.hydra]]
    return "output.dir" in named or (hydra.mode != RunMode.MULTIRUN and "hydra.run.dir" in named)
