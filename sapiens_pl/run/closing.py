"""What a run reports at its end: the exit code, `run.json` and the closing table."""

from __future__ import annotations

import platform
import signal
import sys
import time
from contextlib import suppress
from functools import partial

import cv2
import lightning as L
import numpy
import torch
import torchvision

from sapiens_pl.accuracy.annotations import read_annotations
from sapiens_pl.accuracy.of_run import evaluate_run
from sapiens_pl.core.bar import Bar
from sapiens_pl.core.devices import device_name, device_peak_gib, host_peak_gib
from sapiens_pl.core.errors import ConfigError, SapiensError, WriteError
from sapiens_pl.core.logs import note
from sapiens_pl.core.remote import requests, retries
from sapiens_pl.core.terminal import printable
from sapiens_pl.detection.record import DetectionRecord
from sapiens_pl.inference.module import PoseModule
from sapiens_pl.products.of_run import make_of_run
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.records.writer import PoseWriter, RunCounts
from sapiens_pl.run.account import (
    COMPLETE,
    FAILED,
    INTERRUPTED,
    MERGING,
    Account,
    Counts,
    Loading,
    Memory,
    Work,
    now,
    write_account,
    write_report,
)
from sapiens_pl.run.command import EXIT_BAD_CONFIG, EXIT_COMPLETE, EXIT_FAILED, complain
from sapiens_pl.run.failed_videos import tell_of_videos
from sapiens_pl.run.fallen import cause, how_it_ended, speak_for_fallen
from sapiens_pl.run.running import Run
from sapiens_pl.run.summing import closes, count_tracks, finish, nothing_came_out, sum_up
from sapiens_pl.run.table import summary_table
from sapiens_pl.tracking.of_records import TrackingOfRun


def close_run(run: Run, outcome: RunCounts, work: Work | None, others: list[int]) -> int:
    """Counts what came out, writes `run.json`, prints the table; success is a count.

    Args:
        outcome: of this process's images.
        work: what they have cost; None where nothing was left to do.
        others: exit codes of the ranks that this process has started.
    """
    assert run.report is not None and run.data is not None
    counts = counts_of(run, outcome)
    status, exit_code = _status(run, counts, others)
    run.report = run.report._replace(
        status=status,
        when=now(),
        images_listed=None if run.data.goes_by_shards else run.data.counts.listed,
        images_dealt=run.data.counts.dealt,
        tars=run.data.num_own_shards,
        tars_listed=run.data.num_shards_listed,
        plan=run.data.plan_digest,
        counts=counts,
        work=work,
        terms=run.report.terms._replace(left_out=run.data.left_out),
        not_counted=run.data.not_counted,
    )
    write_report(run.folder, run.report)
    speak_for_fallen(run.folder, run.data, run.report, others)
    account = sum_up(run.folder)
    if closes(run.folder, account) or others:
        of_all = _close_whole_run(run, account)
        exit_code = exit_code or of_all
    elif run.is_first:
        print(f"This process has ended ({status}), {account.processes_ended} of {account.processes_expected} so far.")
    if any(others):
        how = ", ".join(f"rank {rank} by {cause(code)}" for rank, code in enumerate(others, 1) if code)
        print(f"Another process of this run broke off ({how}); run the same command again to continue.")
    return exit_code


def _close_whole_run(run: Run, account: Account) -> int:
    """What the last process of a run does for all; returns its exit code."""
    exit_code = EXIT_COMPLETE
    DetectionRecord(run.folder).settle()
    if account.status in (MERGING, COMPLETE):
        tracking = TrackingOfRun(run.cfg)
        with Bar("products", "file", run.has_bar, patient=True) as bar:
            make = partial(make_of_run, run.folder, run.cfg, tracking, run.stop, run.redo.failed, bar)
            account = finish(run.folder, account, make)
        if not run.stop():
            account = count_tracks(run.folder, account, tracking)
        if account.status != COMPLETE:  # all pictures are done, but not all products
            exit_code = run.stop.exit_code or EXIT_FAILED
    print_summary(run, account)
    annotations = (account.terms.config or {}).get("annotations")
    if account.status == COMPLETE and annotations:
        exit_code = _tell_accuracy(run, annotations)
    if account.incomplete is not None:
        print(f"{account.incomplete} Run all of them again: what is done is not done twice.")
    if account.incomplete is not None or nothing_came_out(account, run.folder):
        exit_code = exit_code or EXIT_FAILED
    return exit_code


def counts_of(run: Run, outcome: RunCounts) -> Counts:
    """What came out of this process's images."""
    assert run.data is not None
    plan = run.data.counts
    planned, shards = plan.to_do, run.data.num_own_shards
    return Counts(
        images_planned=planned,
        images_done_before=plan.done_before,
        images_failed_before=plan.failed_before,
        **vars(outcome),
        images_not_reached=planned - outcome.images_done - outcome.images_failed - outcome.images_absent,
        shards_not_reached=0 if shards is None else shards - plan.shards,
    )


def work_of(
    run: Run, trainer: L.Trainer, module: PoseModule, writer: PoseWriter, loading: Loading | None, seconds: float
) -> Work:
    """What this process's work has cost, the pose loop of which took so many seconds."""
    assert run.data is not None
    device, people, warm = trainer.strategy.root_device, writer.counts.people, writer.pace.crops_per_second
    on_device = device_peak_gib(device)
    return Work(
        worked_until=now(),
        device=device_name(device),
        batch_size=run.data.planned_batch_size,
        crops=people,
        seconds=round(seconds, 3),
        seconds_with_loading=round(time.perf_counter() - run.begin, 3),
        crops_per_second=round(people / seconds, 3),
        warm_crops_per_second=warm and round(warm, 3),
        peak_memory=Memory(round(host_peak_gib(), 3), on_device and round(on_device, 3)),
        largest_working_batch=module.largest_working_batch,
        loading=loading,
        detection=run.detection,
        store_requests=requests() - run.requests_before,
        store_retries=retries() - run.retries_before,
    )


def _is_anything_missing(counts: Counts) -> bool:
    return bool(counts.images_not_reached or counts.shards_not_reached)


def _status(run: Run, counts: Counts, others: list[int]) -> tuple[str, int]:
    """How this process has ended, and its exit code."""
    missing = _is_anything_missing(counts)
    if run.stop.exit_code is not None and (missing or any(others)):
        return INTERRUPTED, run.stop.exit_code
    if missing or run.stop.reason or any(code and how_it_ended(code) == FAILED for code in others):
        return FAILED, EXIT_FAILED
    if any(others):  # that rank alone was ended
        return INTERRUPTED, 128 + signal.SIGTERM
    return COMPLETE, EXIT_COMPLETE


def _tell_accuracy(run: Run, annotations: str) -> int:
    """The exit code of the evaluation; an error in the annotations does not affect the results."""
    try:
        with Bar("evaluation", "image", run.has_bar, patient=True) as bar:
            evaluate_run(run.folder, read_annotations(annotations), bar=bar)
    except SapiensError as error:
        code = EXIT_BAD_CONFIG if isinstance(error, ConfigError) else EXIT_FAILED
        return complain(f"the run is complete, but its accuracy is not known: {error}", code)
    return EXIT_COMPLETE


def note_the_end(run: Run, error: BaseException) -> None:
    """Writes into `run.json` how the run ended, if that is still possible."""
    assert run.report is not None
    if isinstance(error, ConfigError) and _stays_complete(run):
        return
    status = FAILED if run.stop.signal is None else INTERRUPTED
    run.report = run.report._replace(status=status, when=now(), error=f"{type(error).__name__}: {error}")
    with suppress(WriteError, OSError):
        run.folder.open()
        write_report(run.folder, run.report)
    if run.processes.started() and run.stop.signal is None and run.processes.agreed:
        print(f"{run.report.error}. The other processes of this run do their shares first.", file=sys.stderr)
    others = run.processes.end_or_wait()
    with suppress(WriteError, OSError):
        if run.data is not None:
            speak_for_fallen(run.folder, run.data, run.report, others)
        account = sum_up(run.folder)
        if others and account.counts is not None:
            print_summary(run, account)


def _stays_complete(run: Run) -> bool:
    """Restores `run.json` of a complete run that only refused new settings: nothing has happened."""
    alone = run.is_first and run.folder.lock.only_one and not run.processes.started()
    if not alone or run.earlier.status != COMPLETE:
        return False
    with suppress(WriteError, OSError), run.folder.turn():
        write_account(run.folder, run.earlier)
    return True


def print_summary(run: Run, account: Account) -> None:
    """Prints the closing table, and what is not as it should be."""
    counts, folder = account.counts or Counts(), run.folder
    table = f"\n{summary_table(account)}\n  {'results':<16}{printable(folder.address)}"
    print(table)
    note(table)
    if counts.images_failed or counts.boxes_failed:
        print(f"  {'reasons':<16}{printable(str(folder.failures.file))}")
    if account.folder is not None and account.folder.failed:
        tell_of_videos(folder)
    run.demo.tell_accuracy(account.terms.config or {}, folder)
    if run.stop.reason:
        print(printable(run.stop.reason))
    elif nothing_came_out(account, folder) and not _is_anything_missing(counts):
        print(printable(_why_nothing_came_out(account, folder)))
    elif account.status == INTERRUPTED and not _is_anything_missing(counts):
        print("Not everything is made of the records yet; run the same command again to continue.")
    elif counts.shards_not_reached:
        what = (
            f"{counts.images_not_reached} images, and {counts.shards_not_reached} tars or tables not looked into yet,"
        )
        print(f"{what} were not reached; run the same command again to continue.")
    elif counts.images_not_reached:
        print(f"{counts.images_not_reached} images were not reached; run the same command again to continue.")


def _why_nothing_came_out(account: Account, folder: RunFolder) -> str:
    done = account.folder is not None and account.folder.done
    what = "Nobody could be posed: every box failed." if done else "Nothing could be read: every image failed."
    first = next((failure.message for failure in folder.failures.everything() if failure.product is None), None)
    return what if first is None else f"{what} The first: {first}"


def versions() -> dict[str, str]:
    """Versions of everything that can change a number."""
    from sapiens_pl import __version__

    return {
        "sapiens_pl": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "lightning": L.__version__,
        "opencv": cv2.__version__,
        "numpy": numpy.__version__,
    }
