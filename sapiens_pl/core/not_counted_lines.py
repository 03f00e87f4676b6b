"""What a run was given and did not count, in words: for the closing table and the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from sapiens_pl.core.not_counted import FilesNotCounted, NotCounted, RowsNotCounted, Some
from sapiens_pl.core.wording import shortened

_SHOWN_KINDS = 4


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
        f"that are not boxes{_inverted(boxes)}": boxes.unusable,
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
