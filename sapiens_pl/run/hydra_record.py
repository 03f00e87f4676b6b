"""`.hydra/`: how a run was configured, as Hydra records it, but only once the run's folder is the run's."""

from __future__ import annotations

import copy
from contextlib import suppress
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sapiens_pl.core.remote_sentences import without_secrets

RECORD = ".hydra"


class HydraRecord:
    """Takes the configuration as it was given, before anything is filled in.

    Hydra itself writes before a job begins, and so over the record of a run that then refuses the job
    (`hydra.output_subdir` in `conf/predict.yaml`).
    """

    def __init__(self, cfg: DictConfig) -> None:
        self._cfg = copy.deepcopy(cfg)

    def write(self) -> None:
        """Writes it, for the run that has the folder's lock; errors are ignored, as later writes will report them."""
        if HydraConfig.initialized():
            _write(self._cfg)


def record_job_of_sweep(cfg: DictConfig) -> None:
    """A sweep's report looks for the record of each job, also of one that was refused or lost."""
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN and not (Path(hydra.runtime.output_dir) / RECORD).exists():
        _write(cfg)


def _write(cfg: DictConfig) -> None:
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir) / RECORD
    whole = HydraConfig.instance().cfg
    with suppress(OSError):
        folder.mkdir(exist_ok=True)
        for name, content in (("config", cfg), ("hydra", whole), ("overrides", hydra.overrides.task)):
            (folder / f"{name}.yaml").write_text(without_secrets(OmegaConf.to_yaml(content)), "utf-8")
