"""How a run opens: the folder becomes its own, and everybody who watches learns of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
from omegaconf import DictConfig, OmegaConf

from sapiens_pl.core.protocols import PoseNetwork
from sapiens_pl.run.account import (
    RUNNING,
    Account,
    Progress,
    Report,
    Terms,
    now,
    read_account,
    read_reports,
    write_account,
)
from sapiens_pl.run.closing import note_the_end, versions
from sapiens_pl.run.hydra_record import HydraRecord
from sapiens_pl.run.resume import prepare_folder, result_settings
from sapiens_pl.run.running import Demo, Run
from sapiens_pl.run.summing import sum_of_work


@contextmanager
def open_run(cfg: DictConfig, demo: Demo) -> Iterator[Run]:
    """A run whose signals are heard and whose folder is locked; how it breaks off is noted there.

    Raises:
        ConfigError: another run is at work in the folder, or it cannot be written.
    """
    run = Run(cfg, demo)
    with run.stop.listening():
        try:
            if run.is_first:
                run.folder.lock.acquire()
            with run.processes.at_work():
                yield run
        except BaseException as error:
            if run.report is not None:
                note_the_end(run, error)
            if isinstance(error, SystemExit) and run.stop.signal is None and not error.code:
                raise RuntimeError("Something in the run wanted to end the process.") from error
            raise
        finally:
            run.folder.close()
            run.folder.lock.release()


def take_folder(run: Run, record: HydraRecord, network: PoseNetwork, boxes: Any) -> None:
    """Makes the folder this run's, if its results are of the same kind; the first process does that for all.

    Raises:
        ConfigError: they are not, or may not be continued.
        CheckpointError: the weights have changed while they were loaded.
    """
    settings: dict[str, Any] = {}
    if run.is_first:
        settings = result_settings(run.cfg, network, boxes)
        reports = [report for report in read_reports(run.folder) if report.shard == run.folder.shard]
        works = [report.work for report in reports if report.work is not None]
        prepare_folder(run.folder, run.cfg, settings, network.keypoint_set, run.redo)
        run.earlier = _earlier_account(run, settings)
        if works and run.earlier.work is not None:
            run.earlier_work = sum_of_work(works)
        record.write()
    elif not run.cfg.output.overwrite:
        run.earlier = read_account(run.folder.run_file)
    run.terms = Terms(settings, _config(run.cfg), versions(), run.earlier.terms.left_out)


def begin(run: Run, trainer: L.Trainer) -> None:
    """Says in `run.json` that the run has begun, and lets the other shards in."""
    run.processes.trained_by(trainer)
    folder = run.folder
    run.report = Report(folder.shard, folder.num_shards, run.rank, trainer.world_size, when=now(), terms=run.terms)
    if run.is_first:
        account = run.earlier._replace(
            status=RUNNING,
            error=None,
            incomplete=None,
            progress=Progress(when=now()),
            counts=None,
            processes=[],
            terms=run.terms,
        )
        with run.folder.turn():
            write_account(run.folder, account)
        run.folder.lock.share()


def _config(cfg: DictConfig) -> dict[str, Any]:
    content: Any = OmegaConf.to_container(cfg, resolve=True)
    return content


def _earlier_account(run: Run, settings: dict[str, Any]) -> Account:
    """What it says of speed and memory only counts if the settings are the same."""
    account = read_account(run.folder.run_file)
    return account if account.terms.settings in (None, {}, settings) else account._replace(work=None, looked_at=None)
