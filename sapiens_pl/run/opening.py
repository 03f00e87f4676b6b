"""Opens a run: takes the folder, and says so in `run.json`."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import lightning as L
import numpy as np
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.logs import note
from sapiens_pl.core.remote_sentences import without_secrets
from sapiens_pl.data.datamodule import ImageDataModule
from sapiens_pl.data.handed_in import Finished
from sapiens_pl.products.chosen import check_keypoint_set, choose_products
from sapiens_pl.products.removing import check_places
from sapiens_pl.records.whole_shards import WholeShards
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
from sapiens_pl.run.failed_videos import withdraw_of_whole
from sapiens_pl.run.hydra_record import HydraRecord
from sapiens_pl.run.own_configs import as_typed
from sapiens_pl.run.resume import finished_pictures, prepare_folder, refuse_moved_links
from sapiens_pl.run.run_log import log_into, log_name
from sapiens_pl.run.running import Demo, Run
from sapiens_pl.run.summing import sum_of_work


@contextmanager
def open_run(cfg: DictConfig, demo: Demo) -> Iterator[Run]:
    """A run that handles signals and has locked its folder; an abnormal end is noted there.

    Raises:
        ConfigError: another run is writing in the folder, or it cannot be written.
    """
    run = Run(cfg, demo)
    is_alone = False
    with run.stop.listening():
        try:
            if run.is_first:
                run.folder.lock.acquire()
                is_alone = run.folder.lock.only_one
            with run.processes.at_work():
                yield run
                run.folder.outlet.wait()
        except BaseException as error:
            if run.report is not None:
                note_the_end(run, error)
            if isinstance(error, SystemExit) and run.stop.signal is None and not error.code:
                raise RuntimeError("Something in the run called sys.exit(); the traceback above shows what.") from error
            raise
        finally:
            run.folder.close()
            if is_alone and not (run.folder.run_file.exists() or run.folder.records.exists()):
                run.folder.members.forget()  # it was refused
            run.folder.lock.release()


def take_folder(run: Run, record: HydraRecord, settings: dict[str, Any], keypoint_set: KeypointSet | None) -> None:
    """Makes the folder this run's, if its results are of the same kind; the first process does that for all.

    Args:
        record: written, once the folder is this run's.
        settings: what decides a result, and of which keypoints; the first process has to know.

    Raises:
        ConfigError: the results there are of another kind, or may not be continued.
    """
    if run.terms.config is not None and run.terms.settings == settings:
        return  # it is already
    if run.is_first:
        assert keypoint_set is not None
        chosen = choose_products(run.cfg)  # what cannot be made is refused before anything is written
        check_places(run.folder.path, [each.product for each in chosen])
        check_keypoint_set(chosen, keypoint_set)
        reports = [report for report in read_reports(run.folder) if report.shard == run.folder.shard]
        works = [report.work for report in reports if report.work is not None]
        prepare_folder(run.folder, run.cfg, settings, keypoint_set, run.redo)
        run.earlier = _earlier_account(run, settings)
        if works and run.earlier.work is not None:
            run.earlier_work = sum_of_work(works)
        record.write()
        log_into(run.folder.path, log_name(run.folder))
        run.folder.outlet.wait()  # the ranks of other machines look at it now
    else:
        run.folder.outlet.refresh()
        log_into(run.folder.path, log_name(run.folder))
    if not run.is_first and not run.cfg.output.overwrite:
        run.earlier = read_account(run.folder.run_file)
    note(f"sapiens_pl {versions()['sapiens_pl']}: {command_line() or 'a run begun by a program'}")
    run.terms = Terms(settings, plain_config(run.cfg), versions(), run.earlier.terms.left_out, command_line())


def begin(run: Run, trainer: L.Trainer) -> None:
    """Says in `run.json` that the run has begun, and lets the other shards in."""
    run.processes.trained_by(trainer)
    if run.report is not None:
        return  # it has
    folder = run.folder
    run.report = Report(folder.shard, folder.num_shards, run.rank, trainer.world_size, when=now(), terms=run.terms)
    run.report = run.report._replace(shard_from=run.shard_from)
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
        if run.redo.file is not None and run.data is not None:
            run.redo.tell_unknown(run.data.are_known(run.redo.names))


def plain_config(cfg: DictConfig) -> dict[str, Any]:
    """All settings, or those of a part, without what is secret in URLs."""
    content: Any = _without_secrets(OmegaConf.to_container(cfg, resolve=True))
    return content


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_secrets(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_secrets(each) for each in value]
    return without_secrets(value) if isinstance(value, str) else value


def command_line() -> str | None:
    """The command line, without secrets; None if a program has started the run."""
    if not HydraConfig.initialized():
        return None
    return without_secrets(shlex.join(["python", "-m", "sapiens_pl.predict", *as_typed(HydraConfig.get())]))


def image_data(run: Run, boxes: Any) -> ImageDataModule:
    """The run's images; what cuts their crops is not known before the network."""
    others_have_met: list[bool] = []

    def finished(names: Names, digests: np.ndarray | None, shards: Sequence[str] | None = None) -> Finished:
        if not run.is_first and not others_have_met:
            others_have_met.append(True)
            run.folder.outlet.refresh()  # on another machine: what the first one has put in order before they met
        if shards is None:
            refuse_moved_links(run.folder, run.earlier.terms.left_out or {}, data.pictures().left_out.followed)
            if run.is_first:
                withdraw_of_whole(run.folder, data.pictures())
        return finished_pictures(run.folder, names, digests, run.redo, shards)

    handed_in = {"boxes": boxes, "finished": finished, "stopped": run.stop, "agree": run.processes.agree}
    handed_in["ledger"] = ledger_of(run)
    build = instantiate(run.cfg.data, boxes=None, _partial_=True, _convert_="all")
    try:
        inspect.signature(build.func).bind(**build.keywords | handed_in)
    except TypeError as error:
        raise ConfigError(f"data: {error}; see conf/data/ for the settings there are.") from None
    data: ImageDataModule = build(**handed_in)
    return data


def ledger_of(run: Run) -> WholeShards:
    """Tells which tars and tables this run need not open."""
    columns = run.cfg.data.get("columns")
    terms = [plain_config(run.cfg.boxes), None if columns is None else plain_config(columns)]
    return WholeShards(run.folder, terms, run.redo.concerns())


def _earlier_account(run: Run, settings: dict[str, Any]) -> Account:
    """Its speed and memory count only if the settings are the same."""
    account = read_account(run.folder.run_file)
    return account if account.terms.settings in (None, {}, settings) else account._replace(work=None, looked_at=None)
