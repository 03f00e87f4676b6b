"""Which image is which frame of a sequence, by the numbers in the names."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection, Sequence

from sapiens_pl.boxes.image_finder import either
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.plan import Pictures

log = logging.getLogger(__name__)

_DIGITS = re.compile(r"(\d{1,18})")
_REMEDY = "give a folder of that sequence's frames alone as data.images"


def frames_of(source: Pictures, wanted: Collection[int], path: str) -> dict[int, str]:
    """Image names by the frames of a box file.

    A frame is the image whose name has its number: the number that differs from name to name, as in
    `cam2_frame_0010_v3.jpg`. Images without a number are not frames, unless none has one: then frame n is the n-th.
    Frames count from 1; where an image has a 0, from its number and 1, unless the file has a frame 0 too.

    Args:
        source: the images.
        wanted: the frames that the box file has.
        path: the box file, for sentences.

    Raises:
        ConfigError: the names do not say which number is the frame's, or two images have the same.
    """
    stems = [os.path.splitext(name)[0] for name in source.names]
    numbered = [index for index, stem in enumerate(stems) if _DIGITS.search(stem)]
    if not numbered:
        return dict(enumerate(source.names, 1))
    if len(numbered) < len(stems):
        others = sorted(set(range(len(stems))) - set(numbered))
        log.warning(
            "%d images have no number in their name, so they are not frames of %s: %s.",
            len(others), path, either([source.names[index] for index in others]),
        )  # fmt: skip
    names = [source.names[index] for index in numbered]
    numbers = _frame_numbers([stems[index] for index in numbered], names, wanted)
    shift = _shift(numbers, wanted, path)
    frames: dict[int, str] = {}
    for number, name in zip(numbers, names):
        if frames.setdefault(number + shift, name) != name:
            raise ConfigError(
                f"{frames[number + shift]} and {name} have the same frame number, and a MOT file is about one "
                f"sequence; {_REMEDY}."
            )
    return frames


def _frame_numbers(stems: Sequence[str], names: Sequence[str], wanted: Collection[int]) -> list[int]:
    """The frame number in each name.

    Raises:
        ConfigError: more than one number could be it.
    """
    parts = [_DIGITS.split(stem) for stem in stems]
    if len({tuple(part[::2]) for part in parts}) > 1:  # not one pattern: only numbers at the end are sure
        at_end = [re.search(r"(\d{1,18})$", stem) for stem in stems]
        numbers = [int(found[1]) for found in at_end if found]
        if len(numbers) < len(stems) or 0 in numbers:
            odd = next(name for name, part in zip(names, parts) if part[::2] != parts[0][::2])
            raise ConfigError(
                f"{names[0]} and {odd} are not named alike, so it is not clear which of their numbers is the frame's; "
                f"{_REMEDY}."
            )
        return numbers
    columns = [[int(number) for number in column] for column in list(zip(*parts))[1::2]]
    in_base = len(_DIGITS.findall(os.path.basename(stems[0])))
    columns = columns[-in_base:]  # a folder's number is the frame's only where the files have none
    candidates: list[list[int]] = []
    for column in columns:
        if len(set(column)) == len(column) and column not in candidates:
            candidates.append(column)
    for fits in (_has_any, _has_all):
        if len(candidates) > 1:
            candidates = [column for column in candidates if fits(column, wanted)] or candidates
    if len(candidates) > 1:
        raise ConfigError(
            f"In names like {names[0]} and {names[-1]} more than one number could be the frame's; name the images by "
            "the frame's number alone."
        )
    return candidates[0] if candidates else columns[-1]


def _has_any(column: Sequence[int], wanted: Collection[int]) -> bool:
    return not _frames_in(column, wanted).isdisjoint(wanted)


def _has_all(column: Sequence[int], wanted: Collection[int]) -> bool:
    return _frames_in(column, wanted).issuperset(wanted)


def _frames_in(column: Sequence[int], wanted: Collection[int]) -> set[int]:
    first = 1 if 0 in column and 0 not in wanted else 0
    return {number + first for number in column}


def _shift(numbers: Sequence[int], wanted: Collection[int], path: str) -> int:
    """What has to be added to the numbers in the names to get those of the box file.

    Raises:
        ConfigError: the file has a frame 0, the names begin with 1, and their numbers do not end so as well.
    """
    if 0 not in wanted:
        return 1 if 0 in numbers else 0
    if min(numbers) != 1:
        return 0
    if max(wanted) + 1 == max(numbers):
        return -1
    raise ConfigError(
        f"{path} counts its frames from 0 to {max(wanted)}, the images' names from 1 to {max(numbers)}, so it is not "
        "clear which image is which frame; count both alike."
    )
