"""Ranks that broke off: how they ended, and what their shares have come to, which is seen in the run's folder."""

from __future__ import annotations

import signal
from typing import Any

from sapiens_pl.detection.record import DetectionRecord
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.run.ranks import Ranks

_STOPPED_BY = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


def how_it_ended(exit_code: int) -> str:
    """The status of a process, by its exit code as `subprocess` gives it."""
    if exit_code == 0:
        return "complete"
    return "interrupted" if -exit_code in _STOPPED_BY or exit_code - 128 in _STOPPED_BY else "failed"


def cause(exit_code: int) -> str:
    """How it ended, for a sentence."""
    return signal.Signals(-exit_code).name if exit_code < 0 else f"exit code {exit_code}"


def speak_for_fallen(folder: RunFolder, ranks: Ranks, run: dict[str, Any]) -> None:
    """Reports for the ranks that could not: what their shares have come to is seen in the folder."""
    if not ranks.processes() or not ranks.shares():
        return
    own = {report["rank"]: report for report in folder.read_reports() if report["shard"] == folder.shard}
    reports = [own.get(rank, {}) for rank in range(len(ranks.shares()))]
    if all("counts" in report for report in reports):
        return
    outcome = _Outcome(folder, ranks)
    for rank, (code, names, report) in enumerate(zip([None, *ranks.wait()], ranks.shares(), reports)):
        if "counts" in report:
            continue
        said = {"status": run["status"]} if code is None else {"status": how_it_ended(code), "error": cause(code)}
        counted = {
            "world_size": len(reports),
            "device": run.get("device", "unknown device"),
            "batch_size": run.get("batch_size"),
            "counts": outcome.counts(names),
            "seconds": run.get("seconds", 0.0),
            "seconds_with_loading": run.get("seconds_with_loading", 0.0),
            "warm_crops_per_second": None,
            "peak_memory": {"host_gib": 0.0},
        }
        folder.write_report(said | report | counted, rank)


class _Outcome:
    """What the images of this run have come to, as its folder shows it."""

    def __init__(self, folder: RunFolder, ranks: Ranks) -> None:
        self._done, self._failed, self._failed_boxes = folder.done(), folder.failures.images(), folder.failures.boxes()
        record = DetectionRecord(folder)
        record.read()
        self._boxes = {name: set(range(len(detected.rows))) for name, detected in record.known.items()}
        self._boxes |= {task.name: set(task.instance_ids.tolist()) for task in ranks.tasks()}

    def counts(self, names: list[str]) -> dict[str, int]:
        done = [name for name in names if name in self._done]
        boxes = [(self._boxes.get(name, set()), self._failed_boxes.get(name, set())) for name in done]
        failed = sum(name in self._failed and name not in self._done for name in names)
        return {
            "images_planned": len(names),
            "images_done_before": 0,
            "images_failed_before": 0,
            "images_done": len(done),
            "images_failed": failed,
            "people": sum(len(planned - lost) for planned, lost in boxes),
            "boxes_failed": sum(len(planned & lost) for planned, lost in boxes),
            "images_not_reached": len(names) - len(done) - failed,
        }
