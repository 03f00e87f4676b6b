"""Names incomplete videos at the end of a run: their frames alone would look complete.

A video that has been repaired since has no picture with its own name that could be done again: that record is
withdrawn.
"""

from __future__ import annotations

import numpy as np

from sapiens_pl.core.columns import Names
from sapiens_pl.core.plan import Pictures
from sapiens_pl.core.structures import Failure
from sapiens_pl.core.terminal import printable
from sapiens_pl.pictures.left_out import is_video
from sapiens_pl.records.in_turn import Group, read_in_turn
from sapiens_pl.records.planned import failed_result
from sapiens_pl.records.recorder import Recorder
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.records.schema import FAILED, WITHDRAWN
from sapiens_pl.records.store import read_store

_MOST_TOLD = 5


def tell_of_videos(folder: RunFolder) -> None:
    """Prints what is missing of each video; of many, of the first ones.

    A video's own name among the failed pictures means that a part of it cannot be shown.
    """
    failures = [failure for some in read_in_turn(folder.path, _not_whole) for failure in some]
    for failure in failures[:_MOST_TOLD]:
        print(f"Not whole: {printable(failure.message)}")
    if len(failures) > _MOST_TOLD:
        print(f"{len(failures) - _MOST_TOLD} more videos are not whole; {folder.failures.file.name} names them.")


def _not_whole(group: Group) -> list[Failure]:
    found = [failure for failure in group.failures() if failure.instance_id is None and is_video(failure.image)]
    failed = {*group.records().names(FAILED)} if found else set()
    return [failure for failure in found if failure.image in failed]


def withdraw_of_whole(folder: RunFolder, pictures: Pictures) -> None:
    """Withdraws what earlier runs have recorded as missing of videos of which nothing is missing now.

    Raises:
        ConfigError: damaged records.
        WriteError: no space, no permission, a vanished disk.
    """
    store = read_store(folder.records)
    if store is None or pictures.frames is None:
        return
    records = folder.read_records()
    names = [name for name in records.names(FAILED) if is_video(name)]
    there = pictures.frames.videos.positions(Names.of(names)) >= 0
    whole = there & (pictures.names.positions(Names.of(names)) < 0)
    taken_back = [Failure(names[place], None, WITHDRAWN, "") for place in np.flatnonzero(whole)]
    recorder = Recorder(folder.records, store, folder.shard, folder.rank)
    recorder.append([failed_result(failure, store.keypoint_set) for failure in taken_back])
    recorder.close()
