"""Ranks that died: how they ended, and the outcome of their shares, which the run's folder shows."""

from __future__ import annotations

import signal
from collections.abc import Callable

import numpy as np

from sapiens_pl.core.columns import Names
from sapiens_pl.data.datamodule import ImageDataModule
from sapiens_pl.detection.boxes import DetectorBoxes
from sapiens_pl.detection.record import DetectionRecord
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.records.schema import ABSENT, DONE
from sapiens_pl.records.schema import FAILED as PICTURE_FAILED
from sapiens_pl.run.account import COMPLETE, FAILED, INTERRUPTED, Counts, Report, now, read_reports, write_report
from sapiens_pl.run.lives import read_live

_STOPPED_BY = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


def how_it_ended(exit_code: int) -> str:
    """The status of a process, by its exit code as `subprocess` gives it."""
    if exit_code == 0:
        return COMPLETE
    return INTERRUPTED if -exit_code in _STOPPED_BY or exit_code - 128 in _STOPPED_BY else FAILED


def cause(exit_code: int) -> str:
    """How it ended, for a sentence."""
    return signal.Signals(-exit_code).name if exit_code < 0 else f"exit code {exit_code}"


def speak_for_fallen(folder: RunFolder, data: ImageDataModule, own: Report, exit_codes: list[int]) -> None:
    """Writes reports for ranks that could not: the folder shows the outcome of their shares.

    Args:
        own: the first rank's report; if it has no counts either, it gets some.
        exit_codes: of the other ranks, which have ended.
    """
    num_ranks = data.taker.world_size if data.goes_by_shards else len(data.shares)
    if not exit_codes or not num_ranks:
        return
    there = {report.rank: report for report in read_reports(folder) if report.shard == folder.shard}
    reports = [there.get(rank) for rank in range(num_ranks)]
    if all(report is not None and report.counts is not None for report in reports):
        return
    counts_of = _counts_by_shards(folder, data) if data.goes_by_shards else _counts_by_names(folder, data)
    for rank, report in enumerate(reports):
        if report is not None and report.counts is not None:
            continue
        said = report or own._replace(rank=rank, work=None, when=now())
        if rank:
            code = exit_codes[rank - 1]
            said = said._replace(status=how_it_ended(code), error=cause(code)) if report is None else said
        write_report(folder, said._replace(world_size=num_ranks, counts=counts_of(rank)))


def _counts_by_names(folder: RunFolder, data: ImageDataModule) -> Callable[[int], Counts]:
    outcome = _Outcome(folder, data)
    return lambda rank: outcome.counts(data.shares[rank])


def _counts_by_shards(folder: RunFolder, data: ImageDataModule) -> Callable[[int], Counts]:
    """Counts of ranks whose tars only they knew: what they last reported."""
    listed = data.num_shards_listed or 0

    def counts(rank: int) -> Counts:
        live = read_live(folder, rank)
        own = len(data.taker._replace(rank=rank).shards_of(listed))
        return Counts(
            images_planned=live.images_planned,
            images_done=live.images_done,
            images_failed=live.images_failed,
            people=live.crops,
            images_not_reached=max(live.images_planned - live.images_done - live.images_failed, 0),
            shards_not_reached=own - (live.shards.planned if live.shards is not None else 0),
        )

    return counts


class _Outcome:
    """The outcome of this run's images, as its folder shows it."""

    def __init__(self, folder: RunFolder, data: ImageDataModule) -> None:
        records = folder.read_records()
        self._done, self._failed, self._absent = ({*records.names(status)} for status in (DONE, PICTURE_FAILED, ABSENT))
        self._failed_boxes: dict[str, set[int]] = {}
        for failure in records.failures():
            if failure.instance_id is not None:
                self._failed_boxes.setdefault(failure.image, set()).add(failure.instance_id)
        record = DetectionRecord(folder)
        record.read()
        self._boxes = {name: set(range(len(detected.rows))) for name, detected in record.known.items()}
        if isinstance(data.boxes, DetectorBoxes) and data.boxes.every > 1:
            data.boxes.in_folder(record)  # which has those of the other ranks too, and frames lie between
            pictures = data.pictures()
            known = np.flatnonzero(data.boxes.known(pictures, np.arange(len(pictures.names))))
            tasks, _ = data.boxes.tasks(pictures, known)
            self._boxes |= {task.name: set(task.instance_ids.tolist()) for task in tasks}
        self._boxes |= {task.name: set(task.instance_ids.tolist()) for task in data.tasks}

    def counts(self, names: Names) -> Counts:
        done = [name for name in names if name in self._done]
        boxes = [(self._boxes.get(name, set()), self._failed_boxes.get(name, set())) for name in done]
        failed, absent = (sum(name in there for name in names) for there in (self._failed, self._absent))
        return Counts(
            images_planned=len(names),
            images_done=len(done),
            images_failed=failed,
            images_absent=absent,
            people=sum(len(planned - lost) for planned, lost in boxes),
            boxes_failed=sum(len(planned & lost) for planned, lost in boxes),
            images_not_reached=len(names) - len(done) - failed - absent,
        )
