"""`run.json`, typed: what a run reports while it goes on and at its end, and what each of its processes reports.

    .processes/0of1-0.progress   `Live`: how far a process is, written again while it works
    .processes/0of1-0.json       `Report`: what a process says at its end
    run.json                     `Account`: their sum (`run.summing`), and how far all of them are

All are written whole, so a program that watches `run.json` never reads half of one. Fields that are None are omitted
from the files; those of `Terms` and `Work` are written side by side with the others.
"""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.not_counted import NotCounted
from sapiens_pl.core.typed_json import plain, typed
from sapiens_pl.records.listing import read_object, visible
from sapiens_pl.records.run_folder import RunFolder

VERSION = 2
"""Version of the form of `run.json`; the first one had no number."""
RUNNING, COMPLETE, FAILED, INTERRUPTED = "running", "complete", "failed", "interrupted"
INCOMPLETE = "incomplete"
"""Not all processes have ended well, or their shares do not make a whole."""
MERGING = "merging"
"""All images have their outcome, but the products of the whole run are not made yet."""
STARTING, DETECTING, POSING = "starting", "detecting", "posing"
"""What a process is at (`Live.state`); when all have ended, `Progress.state` is the run's status."""

_SIDE_BY_SIDE = ("terms", "work")


class Counts(NamedTuple):
    """What came out of this run; `*_before`: of earlier runs; `absent` ones were named, and are not there yet. The
    content of shards that were `not_reached` is not known.
    """

    images_planned: int = 0
    images_done_before: int = 0
    images_failed_before: int = 0
    images_done: int = 0
    images_failed: int = 0
    images_absent: int = 0
    people: int = 0
    boxes_failed: int = 0
    drawings_left_out: int = 0
    images_not_reached: int = 0
    shards_not_reached: int = 0


class FolderCounts(NamedTuple):
    """What the folder holds, of all runs together. `absent`: named by a box file, and not there yet. Where there are
    videos, their number, that of their frames that are done, and that of the people followed over their frames."""

    done: int = 0
    failed: int = 0
    absent: int = 0
    people: int = 0
    videos: int | None = None
    frames: int | None = None
    tracks: int | None = None


class VideoProgress(NamedTuple):
    """Progress of the videos: frames, and seconds of film; `times_real_time`: of film in a second of work."""

    frames_done: int = 0
    frames_planned: int = 0
    seconds_done: float = 0.0
    seconds_planned: float = 0.0
    times_real_time: float | None = None


class ShardProgress(NamedTuple):
    """Where a plan is made tar by tar, or table by table: how many are planned, and how many there are to do."""

    planned: int = 0
    all: int = 0


class Live(NamedTuple):
    """How far one process is; in the detection pass a crop is a whole image. With `shards`, the other numbers are of
    those that are planned by now."""

    state: str = STARTING
    crops: int = 0
    crops_planned: int = 0
    images_done: int = 0
    images_failed: int = 0
    images_planned: int = 0
    crops_per_second: float | None = None
    video: VideoProgress | None = None
    shards: ShardProgress | None = None

    @property
    def crops_expected(self) -> int:
        """Includes the shards that are not planned yet, estimated from the others."""
        if self.shards is None or not self.shards.planned:
            return self.crops_planned
        return max(self.crops_planned, round(self.crops_planned * self.shards.all / self.shards.planned))

    @property
    def is_through(self) -> bool:
        is_planned = self.shards is None or self.shards.planned >= self.shards.all
        return is_planned and self.crops >= self.crops_planned


class Progress(NamedTuple):
    """How far all processes are that have worked in the folder since it was last begun; `when` in UTC, ISO 8601."""

    state: str = STARTING
    images_planned: int = 0
    images_done: int = 0
    images_failed: int = 0
    crops_per_second: float | None = None
    seconds_left: float | None = None
    when: str = ""
    video: VideoProgress | None = None
    shards: ShardProgress | None = None


class Memory(NamedTuple):
    """The most that was held at once, GiB."""

    host_gib: float = 0.0
    device_gib: float | None = None


class Loading(NamedTuple):
    """The cost of bringing the weights to the device."""

    seconds: float = 0.0
    checkpoint_gib: float = 0.0
    host_peak_growth_gib: float = 0.0


class Detection(NamedTuple):
    """The pass that looked for people."""

    images: int = 0
    images_failed: int = 0
    people: int = 0
    seconds: float = 0.0
    images_per_second: float = 0.0
    largest_working_batch: int | None = None


class Work(NamedTuple):
    """The cost of the work, of the last run that had any. `warm_*` is without the start-up."""

    worked_until: str = ""
    device: str = "unknown device"
    batch_size: int | None = None
    crops: int = 0
    seconds: float = 0.0
    seconds_with_loading: float = 0.0
    crops_per_second: float = 0.0
    warm_crops_per_second: float | None = None
    peak_memory: Memory = Memory()
    largest_working_batch: int | None = None
    loading: Loading | None = None
    detection: Detection | None = None
    store_requests: int = 0
    store_retries: int = 0


class Terms(NamedTuple):
    """What is the same for all processes of a run."""

    settings: dict[str, Any] | None = None
    config: dict[str, Any] | None = None
    versions: dict[str, Any] | None = None
    left_out: dict[str, Any] | None = None
    command: str | None = None


class Report(NamedTuple):
    """What one process says at its end; without `counts` where it broke off too early to know. `plan` differs where the
    images listed or their boxes do; `shard_from` are the variables of the environment that said which shard it is."""

    shard: int = 0
    num_shards: int = 1
    rank: int = 0
    world_size: int = 1
    status: str = RUNNING
    when: str = ""
    error: str | None = None
    images_listed: int | None = None
    images_dealt: int | None = None
    plan: str | None = None
    counts: Counts | None = None
    work: Work | None = None
    terms: Terms = Terms()
    shard_from: str | None = None
    not_counted: NotCounted | None = None
    tars: int | None = None
    tars_listed: int | None = None


class Account(NamedTuple):
    """`run.json`. `looked_at`: when a run last found nothing left to do here; `not_counted`: what else it was given."""

    version: int = VERSION
    status: str | None = None
    error: str | None = None
    incomplete: str | None = None
    looked_at: str | None = None
    progress: Progress | None = None
    counts: Counts | None = None
    not_counted: NotCounted | None = None
    folder: FolderCounts | None = None
    processes_expected: int | None = None
    processes_ended: int | None = None
    work: Work | None = None
    processes: list[Report] = []
    terms: Terms = Terms()


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def read_account(run_file: Path) -> Account:
    """What `run.json` says; an empty account where there is none.

    Raises:
        ConfigError: it is damaged, or of a later form.
    """
    content = read_object(run_file)
    try:
        account = typed(Account, {"version": 1} | content, _SIDE_BY_SIDE)
    except TypeError as error:
        raise ConfigError(
            f"{run_file} is damaged ({error}); restore the original file, or remove it: the results stay."
        ) from None
    if account.version > VERSION:
        raise ConfigError(
            f"{run_file} was written by a later version of sapiens_pl (its form is {account.version}, not "
            f"{VERSION}); use that version, or choose another output.dir."
        )
    return account._replace(version=VERSION)


def write_account(folder: RunFolder, account: Account, durable: bool = True) -> None:
    content = plain(account, _SIDE_BY_SIDE)
    for process in content["processes"]:
        process.pop("num_shards", None)
    folder.write(folder.run_file, (json.dumps(content, indent=2, default=str) + "\n").encode(), durable)


def write_report(folder: RunFolder, report: Report) -> None:
    """Writes this process's report at its end, or that of a rank that could not write its own."""
    path = folder.processes / f"{folder.own_processes}{report.rank}.json"
    folder.write(path, (json.dumps(plain(report, _SIDE_BY_SIDE), default=str) + "\n").encode())
    folder.write(folder.looked, b"")  # what has been written is whole


def read_reports(folder: RunFolder) -> list[Report]:
    """What the processes of this run, of all its shards, have written so far; damaged ones are skipped."""
    reports = []
    for path in visible(folder.processes.glob("*of*.json")):
        with suppress(ConfigError, TypeError):
            content = read_object(path)
            if {"shard", "num_shards", "rank", "world_size", "status"} <= content.keys():
                reports.append(typed(Report, content, _SIDE_BY_SIDE))
    return sorted(reports, key=lambda report: (report.shard, report.rank))
