"""The closing table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from sapiens_pl.core.not_counted import FilesNotCounted, NotCounted, RowsNotCounted, Some
from sapiens_pl.core.terminal import printable
from sapiens_pl.core.wording import shortened
from sapiens_pl.run.account import Account, Counts, FolderCounts, Report, Work

_SHOWN_KINDS = 4


def summary_table(account: Account) -> str:
    """The run's account, as plain text."""
    counts, work = account.counts or Counts(), account.work
    rows = [
        ("images done", str(counts.images_done)),
        ("images failed", str(counts.images_failed)),
        *([("not there yet", f"{counts.images_absent} images")] if counts.images_absent else []),
        ("before this run", f"{counts.images_done_before} done, {counts.images_failed_before} failed"),
        *_of_videos(account.folder),
        ("people", str(counts.people)),
        ("boxes failed", str(counts.boxes_failed)),
    ]
    if counts.drawings_left_out:
        rows.append(("drawings", f"{counts.drawings_left_out} left out; failures.jsonl says why"))
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


def not_counted_lines(what: NotCounted | None) -> Iterator[tuple[str, str]]:
    """What the run was given and did not count: a word each, and what is to be said; nothing where all was counted."""
    if what is None:
        return
    if what.files is not None and what.files.num:
        some = Some(what.files.num, what.files.first)
        yield "not read", f"{_files(what.files)}: {some.text()}"
    if what.boxes is not None:
        yield from _of_boxes(what.boxes)


def _files(files: FilesNotCounted) -> str:
    return f"{_number(files.num, 'file')} ({_kinds(files.kinds)})"


def _of_boxes(boxes: RowsNotCounted) -> Iterator[tuple[str, str]]:
    reasons = {  # what follows a number
        f"of other classes ({_kinds(boxes.classes)})": boxes.other_classes,
        "crowds, people without keypoints, or marked to be ignored": boxes.ignored,
        "below boxes.score_threshold": boxes.below_score,
        "that overlap a better one (boxes.nms_threshold)": boxes.overlapping,
        "smaller than boxes.min_size": boxes.too_small,
        "beyond boxes.largest_n": boxes.not_largest,
        f"that are no boxes{_inverted(boxes)}": boxes.unusable,
        "that say the same twice": boxes.repeated,
        "of pictures that are not in data.images": boxes.without_picture,
    }
    given = [f"{count} {reason}" for reason, count in reasons.items() if count]
    if given:
        yield "boxes left out", f"{boxes.rows - boxes.used} of {boxes.rows}:"
        yield from (("", line) for line in given)
    if boxes.remedy:
        yield "", f"was {boxes.remedy} meant?"
    if boxes.unknown.num:
        yield "not there", f"{_number(boxes.unknown.num, 'name')} of the box file: {boxes.unknown.text()}"
    if boxes.unnamed.num:
        yield "without boxes", f"{_number(boxes.unnamed.num, 'picture')} not in the box file: {boxes.unnamed.text()}"
    if boxes.unnamed_videos.num:
        videos = boxes.unnamed_videos
        yield "without boxes", f"{_number(videos.num, 'video')} not in the box file: {videos.text()}"


def _inverted(boxes: RowsNotCounted) -> str:
    return f" ({boxes.inverted} inverted)" if boxes.inverted else ""


def _kinds(kinds: Mapping[str, int]) -> str:
    few = [f"{shortened(kind)} {count}" for kind, count in islice(kinds.items(), _SHOWN_KINDS)]
    return ", ".join([*few, "..."] if len(kinds) > len(few) else few)


def _number(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
