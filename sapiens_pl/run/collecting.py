"""Sums up a run by hand: `python -m sapiens_pl.collect OUTPUT`."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path

from sapiens_pl.core.bar import Bar
from sapiens_pl.core.errors import ConfigError, SapiensError
from sapiens_pl.core.logs import note
from sapiens_pl.core.terminal import printable
from sapiens_pl.core.wording import counted
from sapiens_pl.detection.record import DetectionRecord
from sapiens_pl.products.of_run import make_of_run
from sapiens_pl.records.at_hand import at_hand, shown
from sapiens_pl.records.members import any_at_work
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.records.store import refuse_first_edition
from sapiens_pl.run.account import COMPLETE, MERGING, RUNNING, Account
from sapiens_pl.run.command import complain
from sapiens_pl.run.make_settings import make_settings
from sapiens_pl.run.run_log import held_back, logged_in
from sapiens_pl.run.summing import count_folder, count_tracks, finish, sum_up
from sapiens_pl.run.table import summary_table
from sapiens_pl.tracking.of_records import TrackingOfRun


def put_together(address: str | Path, with_files: bool = True) -> int:
    """Sums up the run in that folder and prints its account.

    Args:
        address: the run's output folder, or the URL of one.
        with_files: also write the files that hold the whole run, if no process is running there.

    Returns:
        0 all processes are complete, 1 some are not, 2 there is nothing to sum up.
    """
    with held_back():
        return _put_together(address, with_files)


def _put_together(address: str | Path, with_files: bool) -> int:
    try:
        with at_hand(address) as path:
            if not (path / "run.json").is_file():
                raise ConfigError(f"{shown(address)} holds no run.json; name the output folder of a run.")
            refuse_first_edition(path)
            folder = RunFolder(path, "collect")
            with logged_in(path, shlex.join(["collect", shown(address)])):
                account, at_work = _summed_up(folder, with_files)
                table = summary_table(account) if account.counts is not None else ""
                note(f"{table}\nstatus {account.status or 'unknown'}")
    except SapiensError as error:
        return complain(str(error), 2 if isinstance(error, ConfigError) else 1)
    progress = account.progress
    if not table and progress is not None:  # no process has ended yet
        table = f"  {progress.state:<16}{progress.images_done} of {progress.images_planned} images done"
    print(f"{table}\n" if table else "", end="")
    print(f"  {'status':<16}{account.status or 'unknown'}\n  {'results':<16}{printable(folder.address)}")
    if account.status == RUNNING and not at_work:
        done = counted(count_folder(folder).done, "image", "images")
        print(f"No process is at work: the run was killed, with {done} done; the same command as before continues it.")
    elif at_work:
        print("The run is still at work; files that hold all of it are written at its end.")
    return 0 if account.status == COMPLETE else 1


def _summed_up(folder: RunFolder, with_files: bool) -> tuple[Account, bool]:
    """The run's account, and whether a process is still running."""
    folder.open()
    try:
        account = sum_up(folder)
        at_work = _somebody_is_at_work(folder)
        if not at_work:
            folder.remove_unfinished()
        if with_files and not at_work:
            DetectionRecord(folder).settle()
            cfg = make_settings(folder.path, [])
            tracking = TrackingOfRun(cfg)
            with Bar("products", "file", patient=True) as bar:
                make = partial(make_of_run, folder, cfg, tracking, bar=bar)
                if account.status == MERGING:
                    account = finish(folder, account, make)
                else:
                    make()
            account = count_tracks(folder, account, tracking)
        return account, at_work
    finally:
        folder.close()
        folder.lock.release()


def _somebody_is_at_work(folder: RunFolder) -> bool:
    """If none is, no run can begin until the folder's lock is released."""
    try:
        folder.lock.acquire()
    except ConfigError:
        return True
    return any_at_work(folder.processes)  # ranks whose first one was killed
