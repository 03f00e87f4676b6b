"""What the parts of one run share, in one process."""

from __future__ import annotations

import time
from typing import Any, Protocol

import lightning as L
from omegaconf import DictConfig

from sapiens_pl.core.remote import requests, retries
from sapiens_pl.data.datamodule import ImageDataModule
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.run.account import Account, Detection, Report, Terms, Work
from sapiens_pl.run.processes import Processes
from sapiens_pl.run.ranks import own_rank
from sapiens_pl.run.redo import read_redo
from sapiens_pl.run.stopping import StopRequest


class Demo(Protocol):
    """What the bundled demo gives to a run, handed in by the command."""

    def fill_in(self, cfg: DictConfig) -> L.Callback:
        """Settles what the configuration leaves open; what the user should know about that is logged at the start."""

    def tell_accuracy(self, config: dict[str, Any], folder: RunFolder) -> None:
        """Prints at the end how accurate the run was, if it was a demo."""


class Run:
    """One run, as one of its processes has it.

    Args:
        cfg: its configuration; `output.dir` and the shard have been checked.
        demo: as for `pose_run`.

    Attributes:
        terms: what is the same for all its processes.
        report: what this process will report at its end; None until the run has begun.
        earlier: the account of the folder's last run.
        earlier_work: what the last run of this shard has cost.
        data: the run's images, once their source is known.
        detection: the outcome of the detection pass.
        redo: which pictures are done again.
        requests_before, retries_before: to stores, of this process before the run.
        shard_from: which variables of the environment have said which shard this is; None: the settings have.

    Raises:
        ConfigError: the folder cannot be made.
    """

    def __init__(self, cfg: DictConfig, demo: Demo) -> None:
        self.cfg, self.demo = cfg, demo
        self.requests_before, self.retries_before = requests(), retries()
        self.rank = own_rank()
        self.folder = RunFolder(
            cfg.output.dir,
            self.rank,
            cfg.data.shard,
            cfg.data.num_shards,
            cfg.output.scratch,
            cfg.output.flush_seconds,
        )
        self.processes = Processes(self.folder)
        self.stop = StopRequest(self.processes.started, self.processes.is_started)
        self.begin = time.perf_counter()
        if self.folder.mirror is not None:
            self.folder.mirror.failed = self.stop.ask
        self.terms = Terms()
        self.report: Report | None = None
        self.earlier = Account()
        self.earlier_work: Work | None = None
        self.data: ImageDataModule | None = None
        self.detection: Detection | None = None
        self.redo = read_redo(cfg.output.redo)
        self.shard_from: str | None = None

    @property
    def is_first(self) -> bool:
        """True in the process that has the folder's lock."""
        return self.rank == 0

    @property
    def has_bar(self) -> bool:
        return bool(self.cfg.trainer.get("enable_progress_bar", True))
