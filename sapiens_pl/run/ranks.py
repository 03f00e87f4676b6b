"""Ranks that Lightning starts on one machine: each does its share, whatever becomes of the others.

Lightning's own ranks meet in a process group and are all killed when one has died. Poses need no such thing: nobody
waits for another's data. So here the ranks never meet. What they have to agree on, the list of what is left to do, the
first one leaves in the run's folder; who has died is seen when the first one waits for the others at its end.

The classes of Lightning that this file builds on are private in part; they are the same in 2.5.0 to 2.6.6.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import secrets
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy, ParallelStrategy
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from omegaconf import DictConfig

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.structures import ImageTask
from sapiens_pl.data.datamodule import ImageDataModule
from sapiens_pl.records.run_folder import RunFolder

log = logging.getLogger(__name__)

_RUN_ID = "SAPIENS_PL_RUN"
_BETWEEN_LOOKS_SECONDS = 1.0
_BETWEEN_TRIES_SECONDS = 0.1


class IndependentRanks(DDPStrategy):
    """Several processes and devices of one machine without a process group."""

    def _configure_launcher(self) -> None:
        assert self.cluster_environment is not None
        self._launcher = RankLauncher(self.cluster_environment, self.num_processes, self.num_nodes)

    def setup_distributed(self) -> None:
        self.set_world_ranks()

    def setup(self, trainer: L.Trainer) -> None:
        ParallelStrategy.setup(self, trainer)  # without DDP's exchange of weights: all have read the same file

    def _setup_model(self, model: Any) -> Any:
        return model


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
    return not environment.creates_processes_externally or _RUN_ID in os.environ


class Ranks:
    """What the processes of one run know of each other, through its folder.

    Args:
        folder: the run's.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._id = os.environ.get(_RUN_ID) if folder.rank else None  # set: the first rank has started this one
        self._launchers: list[Any] = []
        self._independent = False
        self._end = threading.Event()
        self.data: ImageDataModule | None = None
        """What deals the images."""
        self.agreed = False
        """True once it is known what is left to do, and the ranks can do without the first one."""

    @property
    def is_started(self) -> bool:
        """True in a rank that the first one has started."""
        return self._folder.rank != 0 and self._id is not None

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """In the first rank, which has the folder's lock: a new run begins. In the others: they take part in one."""
        if self._folder.rank == 0:
            self._id = f"{os.getpid()}-{secrets.token_hex(8)}"
            self._folder.members.take_over(self._id, alone=self._folder.lock.only_one)
            os.environ[_RUN_ID] = self._id
        elif self.is_started:
            self._join()
        try:
            yield
        finally:
            self._end.set()
            if self._folder.rank == 0:
                del os.environ[_RUN_ID]
                if self.processes():  # a next run in this process starts its own
                    os.environ.pop("LOCAL_RANK", None)

    def trained_by(self, trainer: L.Trainer) -> None:
        """Is told of each trainer of the run, before it works."""
        if self._folder.rank == 0 and self._id is not None:
            self._folder.members.take_over(self._id)  # once more: the folder may have been emptied since
        self._launchers.append(trainer.strategy.launcher)
        self._independent = isinstance(trainer.strategy, IndependentRanks)

    def shares(self) -> list[list[str]]:
        """The names of every rank's images, once they are dealt."""
        return self.data.shares if self.data is not None else []

    def tasks(self) -> list[ImageTask]:
        """The images, with their boxes, that this process knows."""
        return self.data.tasks if self.data is not None else []

    def processes(self) -> list[subprocess.Popen]:
        """The ranks that this process has started."""
        return next((procs for launcher in self._launchers if (procs := getattr(launcher, "procs", []))), [])

    def agree(self, names: list[str]) -> list[str]:
        """What is left to do as the first rank sees it: the others may have started later, and see its results.

        Args:
            names: the images that this process finds left.
        """
        self.agreed = True
        if not self._independent:
            if self._folder.rank and self._id is None:
                self._join()
            return names
        if self._folder.rank == 0:
            self._folder.write(self._folder.plan_file, json.dumps({"run": self._id, "names": names}).encode())
            return names
        while (plan := self._read_plan()) is None:
            if self._is_orphan():
                self._leave()
            time.sleep(_BETWEEN_TRIES_SECONDS)
        return plan

    def wait(self) -> list[int]:
        """The exit codes of the ranks that this one has started, when all have ended."""
        return [process.wait() for process in self.processes()]

    def end_or_wait(self) -> list[int]:
        """For a first rank that cannot go on: the others finish their shares, if they know them."""
        if not self.agreed:
            for process in self.processes():
                process.kill()
        return self.wait()

    def _join(self) -> None:
        self._folder.members.join(self._id)
        threading.Thread(target=self._watch, name="run watch", daemon=True).start()

    def _watch(self) -> None:
        """Ends this process when another run has begun in the folder."""
        while not self._end.wait(_BETWEEN_LOOKS_SECONDS):
            with suppress(OSError):  # the folder is gone; whoever writes there next will say so
                if self._folder.members.is_over():
                    self._leave()

    def _leave(self) -> None:
        for child in multiprocessing.active_children():
            child.kill()
        self._folder.close()
        os._exit(1)

    def _is_orphan(self) -> bool:
        return self._id is not None and os.getppid() != int(self._id.partition("-")[0])

    def _read_plan(self) -> list[str] | None:
        with suppress(OSError, ValueError):
            plan = json.loads(self._folder.plan_file.read_text("utf-8"))
            if plan["run"] == self._id:
                return plan["names"]
        return None
