"""A sweep's end: `python -m sapiens_pl.predict -m data.batch_size=1,2,4,8`, told when its last job has ended.

A Hydra callback (`hydra.callbacks` in `conf/predict.yaml`) finds each job's folder, whichever launcher ran it. It is
imported at every start of the command, so what it needs at the end is imported there.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sapiens_pl.core.terminal import printable
from sapiens_pl.records.listing import visible

_EXIT_CODE = Path(".hydra") / "exit_code"


class SweepReport(Callback):
    """Writes the report when all jobs of a multirun have ended, and ends the command if one is not complete.

    The jobs of one run in shards are not a sweep: for those it prints the run's own table.
    """

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        jobs = job_folders(folder)
        outputs = {output_folder(job) for job in jobs}
        if len(outputs) == 1 and (config.data.num_shards or 1) > 1:
            from sapiens_pl.run.collecting import put_together

            put_together(outputs.pop(), with_files=False)  # the last shard has written them
        elif outputs:
            from sapiens_pl.run.sweep_report import write_report

            write_report(folder)
        codes = {job.name: code for job in jobs if (code := exit_code(job))}
        if codes:  # the jobs may have run in processes whose codes and output are not seen here
            listed = ", ".join(f"{name} (exit code {code})" for name, code in codes.items())
            where = f"; what they said is in {folder / '.submitit'}" if (folder / ".submitit").is_dir() else ""
            print(printable(f"Jobs not in order: {listed}{where}."))
            sys.exit(max(codes.values()))


def job_folders(folder: Path) -> list[Path]:
    """The folders of a sweep's jobs, in their order."""
    jobs = visible(path.parent.parent for path in folder.glob("*/.hydra/overrides.yaml"))
    return sorted(jobs, key=lambda job: (len(job.name), job.name))


def output_folder(job: Path) -> Path:
    """Where a job has put its results: its own folder, unless its configuration names another."""
    with suppress(OSError, OmegaConfBaseException):
        settings: Any = OmegaConf.to_container(OmegaConf.load(job / ".hydra" / "config.yaml"))
        named = str(settings["output"]["dir"])
        if not named.startswith("${"):
            return Path(named).expanduser().absolute()
    return job


def note_exit_code(code: int) -> None:
    """Writes a job's exit code into its folder, for the process that has started it."""
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        file = Path(hydra.runtime.output_dir) / _EXIT_CODE
        with suppress(OSError):
            file.parent.mkdir(exist_ok=True)
            file.write_text(str(code))


def exit_code(job: Path) -> int:
    """The exit code in the job's folder; 1 if the job ended without writing it."""
    try:
        return int((job / _EXIT_CODE).read_text())
    except (OSError, ValueError):
        return 1
