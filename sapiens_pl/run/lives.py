"""The progress of each process of a run, and of all together."""

from __future__ import annotations

import json
from contextlib import suppress

from sapiens_pl.core.errors import ConfigError, WriteError
from sapiens_pl.core.typed_json import plain, typed
from sapiens_pl.records.listing import read_object, visible
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.run.account import COMPLETE, MERGING, Live, Progress, ShardProgress, VideoProgress, now


def write_live(folder: RunFolder, live: Live) -> None:
    """Writes this process's progress."""
    with suppress(WriteError):  # nothing depends on it
        path = folder.processes / f"{folder.own_processes}{folder.rank}.progress"
        folder.write(path, json.dumps(plain(live)).encode(), durable=False)


def read_live(folder: RunFolder, rank: int) -> Live:
    """The last progress of a rank of this shard."""
    with suppress(ConfigError, TypeError):
        return typed(Live, read_object(folder.processes / f"{folder.own_processes}{rank}.progress"))
    return Live()


def read_lives(folder: RunFolder, own_shard: bool = False) -> list[Live]:
    """The progress of all processes; damaged files are left out.

    Args:
        own_shard: only the processes of this shard.
    """
    lives = []
    for path in visible(folder.processes.glob(f"{folder.own_processes if own_shard else '*of*-'}*.progress")):
        with suppress(ConfigError, TypeError):
            lives.append(typed(Live, read_object(path)))
    return lives


def progress_of(lives: list[Live], state: str | None = None) -> Progress:
    """Everybody's numbers in one.

    Args:
        state: how the run has ended; None: the state of the processes that are not done.
    """
    at_work = [] if state else [live for live in lives if not live.is_through]
    speeds = [live.crops_per_second for live in at_work if live.crops_per_second]
    left = [(live.crops_expected - live.crops) / live.crops_per_second for live in at_work if live.crops_per_second]
    through = not at_work and state in (None, COMPLETE, MERGING)
    return Progress(
        state=state or (at_work or lives or [Live()])[-1].state,
        images_planned=sum(live.images_planned for live in lives),
        images_done=sum(live.images_done for live in lives),
        images_failed=sum(live.images_failed for live in lives),
        crops_per_second=round(sum(speeds), 3) if speeds else None,
        seconds_left=round(max(left), 1) if left else 0.0 if through else None,
        when=now(),
        video=video_progress(lives),
        shards=shard_progress(lives),
    )


def shard_progress(lives: list[Live]) -> ShardProgress | None:
    """Everybody's numbers in one; None where no whole tars are dealt."""
    shards = [live.shards for live in lives if live.shards is not None]
    return ShardProgress(*map(sum, zip(*shards))) if shards else None


def video_progress(lives: list[Live]) -> VideoProgress | None:
    """Everybody's numbers in one; None without videos."""
    videos = [live.video for live in lives if live.video is not None]
    if not videos:
        return None
    at_work = [each for each in videos if each.frames_done < each.frames_planned]
    speeds = [each.times_real_time for each in at_work or videos if each.times_real_time]
    return VideoProgress(
        frames_done=sum(each.frames_done for each in videos),
        frames_planned=sum(each.frames_planned for each in videos),
        seconds_done=round(sum(each.seconds_done for each in videos), 3),
        seconds_planned=round(sum(each.seconds_planned for each in videos), 3),
        times_real_time=round(sum(speeds), 3) if speeds else None,
    )
