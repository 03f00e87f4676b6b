"""All uses of Lightning's internals: what a newer Lightning may break is in this file.

Lightning's own ranks meet in a process group, wait for each other, and are all killed when one has died. Poses do not
need that: no rank waits for another's data. So the ranks that Lightning starts on one machine never meet here
(`IndependentRanks`), and those that torchrun or srun has started meet once, and do not wait afterwards
(`go_on_from`). What the ranks have to agree on lies in the run's folder (`run.processes`).

The classes used are private in part; they are the same in Lightning 2.5.0 to 2.6.6. `tests/run/test_ranks.py` has a
test for each touch, named after what breaks without it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy, ParallelStrategy
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.data.handed_in import Place

RUN_ID = "SAPIENS_PL_RUN"
"""The variable by which a rank knows that the first one has started it, and for which run."""


def own_rank() -> int:
    """This process's number among all of the run, before any trainer is built.

    Lightning finds it when it is imported, however the process was started.
    """
    return getattr(rank_zero_only, "rank", 0) or 0


class IndependentRanks(DDPStrategy):
    """Several processes and devices of one machine without a process group."""

    def _configure_launcher(self) -> None:
        assert self.cluster_environment is not None
        self._launcher = RankLauncher(self.cluster_environment, self.num_processes, self.num_nodes)

    def setup_distributed(self) -> None:
        self.set_world_ranks()  # and no process group: a rank would wait there for the others

    def setup(self, trainer: L.Trainer) -> None:
        ParallelStrategy.setup(self, trainer)  # without DDP's exchange of weights: all have read the same file

    def _setup_model(self, model: nn.Module) -> nn.Module:  # type: ignore[override]
        return model  # DDP would wrap it, for gradients that are not computed


class RankLauncher(_SubprocessScriptLauncher):
    """Lightning's launcher without its watch, which kills all ranks when one has died."""

    def launch(self, function: Any, *args: Any, trainer: L.Trainer | None = None, **kwargs: Any) -> Any:
        if not self.cluster_environment.creates_processes_externally:
            self._call_children_scripts()
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(max(1, torch.get_num_threads() // self.num_processes))
        return function(*args, **kwargs)


def build_trainer(cfg: DictConfig, callbacks: list[L.Callback], **own: Any) -> L.Trainer:
    """The configured trainer; where it would start ranks itself, on one machine, they are independent.

    Raises:
        ConfigError: a sweep's job is to have several devices.
    """
    own = {"enable_progress_bar": False} | own  # `run.progress` has the bar; Lightning would add its own
    sweeps = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    if sweeps and cfg.trainer.devices in ("auto", -1, "-1"):
        own = {"devices": 1} | own
    trainer = instantiate(cfg.trainer, _convert_="all", **own)
    if trainer.world_size > 1 and trainer.num_nodes == 1 and _starts_ranks(trainer.strategy):
        if sweeps:
            raise ConfigError(
                f"trainer.devices={trainer.num_devices} with -m: the jobs of a sweep run in one process each; set "
                "trainer.devices=1, or start the runs one by one without -m."
            )
        own = own | {"strategy": {"_target_": "sapiens_pl.run.ranks.IndependentRanks"}}
    return instantiate(cfg.trainer, callbacks=callbacks, _convert_="all", **own)


def _starts_ranks(strategy: Any) -> bool:
    ours = type(strategy) is DDPStrategy and type(strategy.launcher) is _SubprocessScriptLauncher
    environment = strategy.cluster_environment if ours else None
    if not isinstance(environment, LightningEnvironment):
        return False
    return not environment.creates_processes_externally or RUN_ID in os.environ


def are_independent(trainer: L.Trainer) -> bool:
    """True if the trainer's ranks never meet."""
    return isinstance(trainer.strategy, IndependentRanks)


def ranks_started_by(trainer: L.Trainer) -> Callable[[], list[subprocess.Popen]]:
    """Returns the other ranks, once this process has started them for that trainer; keeps nothing else of it."""
    launcher = trainer.strategy.launcher
    return lambda: list(getattr(launcher, "procs", []))


def forget_started_ranks() -> None:
    """A next run in this process starts ranks of its own: Lightning takes `LOCAL_RANK` for a launcher's."""
    os.environ.pop("LOCAL_RANK", None)


def as_first_rank_finds(trainer: L.Trainer, look: Callable[[], bool]) -> bool:
    """What `look` gives in the first rank, in all ranks alike, before any trainer works; False if that is not known.

    Ranks that torchrun or srun has started meet here, as they would when the trainer begins. Those that Lightning
    starts are not there yet: if the first one finds that there is nothing to do, they never are.
    """
    strategy: Any = trainer.strategy
    if trainer.world_size == 1:
        return look()
    if are_independent(trainer):
        return trainer.global_rank == 0 and look()
    if not _meet_anyway(trainer):
        return False
    strategy.setup_environment()
    return strategy.broadcast(look() if trainer.global_rank == 0 else False)


def said_by_all(trainer: L.Trainer, own: Any) -> list[Any]:
    """The values of all ranks that torchrun or srun has started; for others, only this one's.

    Args:
        own: a value that can be pickled.
    """
    strategy: Any = trainer.strategy
    if trainer.world_size == 1 or not _meet_anyway(trainer):
        return [own]
    strategy.setup_environment()
    said: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(said, own)
    return said


def _meet_anyway(trainer: L.Trainer) -> bool:
    strategy: Any = trainer.strategy
    return not are_independent(trainer) and strategy.cluster_environment.creates_processes_externally


def go_on_from(trainer: L.Trainer) -> None:
    """Lets a second trainer begin as soon as its rank is ready; the first one's ranks have met already.

    Before a loop Lightning lets all ranks wait for each other, and gives up after half an hour; but each does its own
    share of both loops, and nothing that they tell each other there is needed.
    """
    strategy: Any = trainer.strategy
    if trainer.world_size > 1:
        strategy.barrier = lambda *names, **options: None
        strategy.broadcast = strategy.reduce = lambda own, *given, **options: own


def meet_once(trainer: L.Trainer) -> None:
    """Lets ranks that torchrun or srun has started wait for each other here, before uneven work, and nowhere later."""
    if trainer.world_size > 1 and _meet_anyway(trainer):
        trainer.strategy.setup_environment()
        trainer.strategy.barrier("before uneven work")
        go_on_from(trainer)


def keep_weights_apart(module: L.LightningModule) -> L.LightningModule:
    """Keeps DDP from sending the first rank's weights to all others: each has read, or mapped, the same file."""
    names = [name for name, _ in (*module.named_parameters(), *module.named_buffers())]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, names)
    return module


def place_of(trainer: L.Trainer) -> Place:
    """Which of all processes this one is, as its trainer knows."""
    return Place(trainer.global_rank, trainer.world_size, trainer.num_devices, trainer.strategy.root_device)
