"""Videos that are not there whole, named at the end of a run: their frames alone would look as if they were all."""

from __future__ import annotations

from sapiens_pl.core.terminal import printable
from sapiens_pl.pictures.left_out import is_video
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.records.schema import FAILED

_MOST_TOLD = 5


def tell_of_videos(folder: RunFolder) -> None:
    """Prints what is missing of each video; of many, of the first ones.

    A video's own name stands among the failed pictures for what of it cannot be shown.
    """
    records = folder.read_records()
    names = [name for name in records.names(FAILED) if is_video(name)]
    for failure in records.failures(names[:_MOST_TOLD]):
        print(f"Not whole: {printable(failure.message)}")
    if len(names) > _MOST_TOLD:
        print(f"{len(names) - _MOST_TOLD} more videos are not whole; {folder.failures.file.name} names them.")
