"""The sum of what a run's processes have reported, in `run.json`, and the files of the whole run."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from typing import Any

from sapiens_pl.core.errors import ConfigError, write_error
from sapiens_pl.core.not_counted import sum_of
from sapiens_pl.core.terminal import printable
from sapiens_pl.pictures.left_out import is_video
from sapiens_pl.products.making import Made
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.records.schema import ABSENT, DONE
from sapiens_pl.records.schema import FAILED as PICTURE_FAILED
from sapiens_pl.run.account import (
    COMPLETE,
    FAILED,
    INCOMPLETE,
    INTERRUPTED,
    MERGING,
    Account,
    Counts,
    Detection,
    FolderCounts,
    Memory,
    Report,
    Terms,
    Work,
    read_account,
    read_reports,
    write_account,
)
from sapiens_pl.run.lives import progress_of, read_lives
from sapiens_pl.tracking.of_records import TrackingOfRun

_MOST_TOLD = 5


def sum_up(folder: RunFolder) -> Account:
    """Settles the failure list, and sums the reports of all processes into `run.json`, which it returns.

    A run that has just got its last images is complete only after `finish`.
    """
    folder.outlet.wait()
    folder.outlet.refresh()
    folder.failures.settle()
    with folder.summing():  # else an older sum could replace a newer one
        reports = read_reports(folder)
        if not reports:
            return read_account(folder.run_file)
        try:
            earlier = read_account(folder.run_file)
        except ConfigError:  # what it said is in the reports too
            earlier = Account()
        account = summed(reports, earlier)._replace(folder=_with_known_tracks(count_folder(folder), earlier.folder))
        if account.status == COMPLETE and nothing_came_out(account, folder):
            account = account._replace(status=FAILED)
        elif account.status == COMPLETE and earlier.status != COMPLETE:
            account = account._replace(status=MERGING)
        all_ended = account.processes_ended == account.processes_expected
        progress = progress_of(read_lives(folder), account.status if all_ended else None)
        account = account._replace(progress=progress._replace(when=max(report.when for report in reports)))
        write_account(folder, account)
    return account


def closes(folder: RunFolder, account: Account) -> bool:
    """Whether this process closes the run: of several that find at once that all have ended, one only.

    Raises:
        WriteError: no space, no permission, a vanished disk.
    """
    if account.processes_ended != account.processes_expected:
        return False
    try:
        with open(folder.closed, "x") as file:
            file.write(secrets.token_hex(8))  # no other process writes the same to a URL
    except FileExistsError:
        return False
    except OSError as error:
        raise write_error(folder.closed, error) from None
    return folder.outlet.put_first(folder.closed)


def finish(folder: RunFolder, account: Account, make: Callable[[], Made]) -> Account:
    """Makes the missing products; only then is the run complete.

    What could not be made of the whole run, or of a video, is printed; without the former the run has failed.
    """
    with folder.merging():
        made = make()
    not_made = [failure for failure in made.failures if not failure.image]
    for failure in [*not_made, *(each for each in made.failures if is_video(each.image))][:_MOST_TOLD]:
        print(printable(f"Not made: {failure.message}"))
    status = INTERRUPTED if made.num_left else FAILED if not_made else COMPLETE
    progress = account.progress and account.progress._replace(state=status)
    error = not_made[0].message if not_made else None
    account = account._replace(status=status, progress=progress, error=error)
    with folder.summing():
        write_account(folder, account)
    return account


def count_tracks(folder: RunFolder, account: Account, tracking: TrackingOfRun) -> Account:
    """Counts the people tracked over the frames of videos, if the frames have changed since the last count.

    Args:
        tracking: of the videos; known to what has been made just now, if anything was.
    """
    counts = account.folder
    if counts is None or counts.videos is None or (tracking.tracked is None and counts.tracks is not None):
        return account
    try:
        num_tracks = (tracking.tracked or tracking(folder.read_records())).num_tracks
    except ConfigError:  # there is no SciPy, which making the products has reported
        return account
    account = account._replace(folder=counts._replace(tracks=num_tracks))
    with folder.summing():
        write_account(folder, account)
    return account


def _with_known_tracks(counts: FolderCounts, earlier: FolderCounts | None) -> FolderCounts:
    """What was counted before stays true while all else is the same."""
    if earlier is not None and counts == earlier._replace(tracks=None):
        return earlier
    return counts


def count_folder(folder: RunFolder) -> FolderCounts:
    """Counts of the folder's content, of all runs."""
    tally = folder.tally()
    pictures = tally.pictures
    counts = FolderCounts(pictures[DONE], pictures[PICTURE_FAILED], pictures[ABSENT], tally.people)
    return counts._replace(videos=len(tally.videos), frames=tally.frames) if tally.videos else counts


def nothing_came_out(account: Account, folder: RunFolder) -> bool:
    """True if there were images to do, and not one has a result, or nobody as every box failed; earlier runs count."""
    if account.counts is None or not account.counts.images_planned:
        return False
    there = account.folder or count_folder(folder)
    return not there.done or bool(account.counts.boxes_failed and not there.people)


def summed(reports: list[Report], earlier: Account) -> Account:
    """One account of a run from those of its processes; what none of them reports stays as it was."""
    sizes = {report.shard: report.world_size for report in reports}
    expected = sum(sizes.values()) + reports[0].num_shards - len(sizes)
    statuses = {report.status for report in reports}
    status = next((worst for worst in (FAILED, INTERRUPTED) if worst in statuses), COMPLETE)
    if len(reports) < expected and status != FAILED:
        status = INCOMPLETE
    unequal = _what_does_not_add_up(reports) if status == COMPLETE else None
    counts = [report.counts for report in reports if report.counts is not None]
    works = [report.work for report in reports if report.work is not None]
    nothing_left = [report.when for report in reports if report.counts is not None and not report.counts.images_planned]
    return Account(
        status=INCOMPLETE if unequal else status,
        error=next((report.error for report in reports if report.error is not None), None),
        incomplete=unequal,
        looked_at=max(nothing_left) if len(nothing_left) == len(reports) else earlier.looked_at,
        counts=Counts(*map(sum, zip(*counts))) if counts else None,
        not_counted=sum_of([report.not_counted for report in reports if report.not_counted], earlier.not_counted),
        folder=earlier.folder,
        processes_expected=expected,
        processes_ended=len(reports),
        work=sum_of_work(works) if works else earlier.work,
        processes=[report._replace(terms=Terms(), not_counted=None) for report in reports],
        terms=Terms(*(next(filter(None, said), None) for said in zip(*(r.terms for r in reports), earlier.terms))),
    )


def _what_does_not_add_up(reports: list[Report]) -> str | None:
    """None if the shares of all processes add up to all images; else why not, in a sentence."""
    numbers = sorted({report.num_shards for report in reports})
    if len(numbers) > 1:
        listed = " and ".join(map(str, numbers))
        return f"Shards of different numbers (data.num_shards={listed}) have worked in this folder."
    listings = sorted({report.images_listed for report in reports if report.images_listed is not None})
    if len(listings) > 1:
        return f"The processes have not found the same images ({' and '.join(map(str, listings))})."
    plan = max(reports, key=lambda report: report.when).plan
    others = sorted({report.shard for report in reports if report.plan != plan})
    if others:
        listed = " and ".join(map(str, others))
        return f"The images or their boxes have changed since data.shard={listed} worked in this folder."
    if len({report.tars_listed for report in reports}) > 1:
        return "The processes have dealt the tars in different ways; give each shard the same number of devices."
    tars, all_tars = sum(report.tars or 0 for report in reports), reports[0].tars_listed
    if all_tars is not None and tars != all_tars:
        return f"The processes' shares are {tars} tars or tables, but there are {all_tars}."
    dealt = sum(report.images_dealt or 0 for report in reports)
    if listings and dealt != listings[0]:
        return f"The processes' shares are {dealt} images, but there are {listings[0]}."
    return None


def sum_of_work(works: list[Work]) -> Work:
    """The work of several processes at one time."""
    crops, seconds = sum(work.crops for work in works), max(work.seconds for work in works)
    warm = [work.warm_crops_per_second for work in works if work.warm_crops_per_second]
    passes = [work.detection for work in works if work.detection is not None]
    return Work(
        worked_until=max(work.worked_until for work in works),
        device=", ".join(dict.fromkeys(work.device for work in works)),
        batch_size=_largest(work.batch_size for work in works),
        crops=crops,
        seconds=seconds,
        seconds_with_loading=max(work.seconds_with_loading for work in works),
        crops_per_second=round(crops / seconds, 3) if seconds else 0.0,
        warm_crops_per_second=round(sum(warm), 3) if warm else None,
        peak_memory=Memory(
            max(work.peak_memory.host_gib for work in works),
            _largest(work.peak_memory.device_gib for work in works),
        ),
        largest_working_batch=_smallest(work.largest_working_batch for work in works),
        loading=max((work.loading for work in works if work.loading is not None), default=None),
        detection=_sum_of_passes(passes) if passes else None,
        store_requests=sum(work.store_requests for work in works),
        store_retries=sum(work.store_retries for work in works),
    )


def _sum_of_passes(passes: list[Detection]) -> Detection:
    images, seconds = sum(one.images for one in passes), max(one.seconds for one in passes)
    return Detection(
        images=images,
        images_failed=sum(one.images_failed for one in passes),
        people=sum(one.people for one in passes),
        seconds=seconds,
        images_per_second=round(images / seconds, 3) if seconds else 0.0,
        largest_working_batch=_smallest(one.largest_working_batch for one in passes),
    )


def _largest(values: Iterable) -> Any:
    return max((value for value in values if value is not None), default=None)


def _smallest(values: Iterable) -> Any:
    return min((value for value in values if value is not None), default=None)
