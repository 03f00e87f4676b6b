"""The closing table."""

from __future__ import annotations

from sapiens_pl.core.not_counted_lines import not_counted_lines
from sapiens_pl.core.terminal import printable
from sapiens_pl.core.wording import counted
from sapiens_pl.run.account import Account, Counts, FolderCounts, Report, Work


def summary_table(account: Account) -> str:
    """The run's account, as plain text."""
    counts, work = account.counts or Counts(), account.work
    rows = [
        ("images done", str(counts.images_done)),
        ("images failed", str(counts.images_failed)),
        *([("not there yet", counted(counts.images_absent, "image", "images"))] if counts.images_absent else []),
        ("before this run", f"{counts.images_done_before} done, {counts.images_failed_before} failed"),
        *_of_videos(account.folder),
        ("people", str(counts.people)),
        ("boxes failed", str(counts.boxes_failed)),
    ]
    if counts.drawings_left_out:
        rows.append(("files not made", f"{counts.drawings_left_out} of formats; failures.jsonl says why"))
    rows += [(name, printable(value)) for name, value in not_counted_lines(account.not_counted)]
    if work is not None:
        rows += _of_work(work, earlier=not counts.images_planned)
    if (account.processes_expected or 1) > 1:
        rows.append(("processes", f"{account.processes_ended} of {account.processes_expected} ended"))
        measured = [(_speed(process), process) for process in account.processes if _speed(process)]
        if len(measured) > 1:
            rows.append(("slowest", _one_process(min(measured, key=lambda each: each[0])[1])))
            rows.append(("fastest", _one_process(max(measured, key=lambda each: each[0])[1])))
    return "\n".join(f"  {name:<16}{value}" for name, value in rows)


def _of_videos(folder: FolderCounts | None) -> list[tuple[str, str]]:
    """What the folder holds; nothing without videos."""
    if folder is None or folder.videos is None:
        return []
    tracks = [] if folder.tracks is None else [("tracks", str(folder.tracks))]
    return [("videos", str(folder.videos)), ("frames", str(folder.frames)), *tracks]


def _of_work(work: Work, earlier: bool) -> list[tuple[str, str]]:
    memory, found = work.peak_memory, work.detection
    on_device = "" if memory.device_gib is None else f"{memory.device_gib:.2f} GiB on the device, "
    speed = f"{work.crops_per_second:.2f} crops/s ({work.seconds:.1f} s on {work.device})"
    rows = [("speed", f"{speed}, of the run until {work.worked_until}" if earlier else speed)]
    rows.append(("peak memory", f"{on_device}{memory.host_gib:.2f} GiB on the host (main process)"))
    if found is not None:
        pace = f", {found.images_per_second:.2f} images/s ({found.seconds:.1f} s)" if found.seconds else ""
        rows.append(("detection", f"{found.people} people in {found.images} images{pace}"))
    return rows


def _speed(process: Report) -> float:
    return (process.work and process.work.warm_crops_per_second) or 0.0


def _one_process(process: Report) -> str:
    people = process.work.crops if process.work is not None else 0
    return f"{_speed(process):.2f} crops/s, {people} people (shard {process.shard}, rank {process.rank})"
