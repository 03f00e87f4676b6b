"""The plan of a run: which of all pictures are left, with which boxes, and whose they are.

It is made of all pictures at once, since the boxes of most sources speak of all; or, where each picture has its own,
of some whole tars or tables at a time, so that ten of them take as much memory as ten thousand.

Legend: P pictures, T tasks, n some of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from sapiens_pl.boxes.matching import DealtImages
from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.left_out import LeftOut
from sapiens_pl.core.plan import Pictures, Tasks, box_columns
from sapiens_pl.core.protocols import BoxedImages, PictureSource, ShardedSource
from sapiens_pl.core.structures import LoadedImage
from sapiens_pl.data.dealing import Taker, dealt, dealt_already
from sapiens_pl.data.digests import digest_of_plan, digests
from sapiens_pl.data.handed_in import Finished, FinishedCheck, LooksAtShards, ShardLedger
from sapiens_pl.data.looking import portion_to_look_at
from sapiens_pl.data.portions import PlanCounts, Portion, ShardState
from sapiens_pl.data.stretches import are_enough

PICTURES_A_PORTION = 10_000
_MOST_WHOLE = 256
"""How many finished tars are skipped at a time."""

Boxes = Callable[[Pictures], "BoxedImages | DealtImages"]


def goes_by_shards(source: PictureSource, boxes: object, taker: Taker) -> bool:
    """Whether whole tars or tables can be planned one after the other: no taker then opens those of another."""
    if not isinstance(source, ShardedSource) or not getattr(boxes, "of_each_picture", False):
        return False
    return are_enough(len(source.shard_names()), taker.num_shards * taker.world_size)


def plan_of_all(
    pictures: Pictures,
    source: PictureSource,
    boxed: BoxedImages | DealtImages,
    finished: FinishedCheck,
    agree: Callable[[Names], Names],
    taker: Taker,
) -> tuple[Portion, str]:
    """One portion with everything, and a string that changes when the pictures or the boxes of a box file change."""
    of_boxes = digests(boxed.tasks.boxes, pictures.frames)
    digest = digest_of_plan(pictures.names, None if isinstance(boxed, DealtImages) else of_boxes)
    if isinstance(boxed, DealtImages):
        portion = dealt_already(source, boxed, of_boxes, finished)
    else:
        portion = dealt(source, boxed, of_boxes, finished, agree, taker)
    if taker.is_first:  # it was looked at again, so earlier records do not count
        portion = portion._replace(failures=[*portion.failures, *pictures.failures])
    failed = sum(row.instance_id is None for row in portion.failures)
    counts = portion.counts._replace(listed=len(pictures.names), failed=failed)
    return portion._replace(counts=counts, left_out=pictures.left_out, not_counted=boxed.not_counted), digest


def plan_by_shards(
    source: ShardedSource, boxes: Boxes, finished: FinishedCheck, ledger: ShardLedger, taker: Taker
) -> Iterator[Portion]:
    """One portion after the other; each is made when it is asked for.

    The first one is of one tar, so that the run begins soon, the others of as many as have some ten thousand pictures.

    Raises:
        ConfigError: there is no picture.
    """
    names = source.shard_names()
    waiting = [int(number) for number in taker.shards_of(len(names))]
    first = seen = opened = 0
    while waiting or not opened:
        size = max(1, round(PICTURES_A_PORTION * opened / seen)) if seen else 1
        whole, some = _next_shards(waiting, size, source, ledger)
        waiting = waiting[len(whole) + len(some) :]
        portion = _of_shards(source, some, boxes, finished)
        counts = portion.counts.plus(_of_whole(whole))
        portion = portion._replace(first=first, counts=counts, is_last=not waiting)
        if not waiting and taker.is_alone:
            _check_some_picture_is_there(portion, seen + portion.counts.listed, len(names))
        first, seen, opened = portion.end, seen + portion.counts.listed, opened + max(len(some), 1)
        yield portion


def _check_some_picture_is_there(last: Portion, listed: int, num_shards: int) -> None:
    if not listed:
        said = [failure.message for failure in last.tasks.pictures.failures[:1]]
        what = f"The {num_shards} tars or tables of data.images hold no pictures."
        raise ConfigError(" ".join([what, *said, *last.left_out.sentences()]))


def digest_of_shards(names: Sequence[str]) -> str:
    """A string that changes when the tars change."""
    return hashlib.blake2b("\0".join(names).encode(errors="surrogateescape"), digest_size=8).hexdigest()


def _next_shards(
    waiting: list[int], size: int, source: ShardedSource, ledger: ShardLedger
) -> tuple[list[ShardState], list[int]]:
    """Of the next shards, those that are fully recorded, and `size` others."""
    names = source.shard_names()
    window = waiting[: max(size, _MOST_WHOLE)]
    stamps = {number: source.shard_stamp(number) for number in window}
    known = ledger.whole({names[number]: stamp for number, stamp in stamps.items() if stamp is not None})
    whole, some = list[ShardState](), list[int]()
    for number in window:
        if names[number] in known:
            whole.append(known[names[number]])
        elif len(some) < size:
            some.append(number)
        else:
            break
    return whole, some


def _of_whole(whole: list[ShardState]) -> PlanCounts:
    done, failed = sum(state.num_done for state in whole), sum(state.num_failed for state in whole)
    return PlanCounts(done + failed, done + failed, done_before=done, failed_before=failed, shards=len(whole))


def _of_shards(source: ShardedSource, numbers: list[int], boxes: Boxes, finished: FinishedCheck) -> Portion:
    """What is left of some tars, as if there were no others."""
    names = [source.shard_names()[number] for number in numbers]
    if not names:
        return NOTHING
    stamps = [source.shard_stamp(number) for number in numbers]
    part = source.some_shards(numbers)
    pictures = part.pictures()
    if isinstance(boxes, LooksAtShards):
        looking, of_these = boxes.of_shards(names), partial(finished, shards=names)
        portion, found = portion_to_look_at(part, pictures, looking, of_these)
        known = np.arange(len(pictures.names))
    else:
        portion, known, found = _with_boxes(part, pictures, boxes, finished, names)
    failures = [*portion.failures, *pictures.failures]
    failed = sum(row.instance_id is None for row in failures)
    counts = portion.counts._replace(listed=len(pictures.names), failed=failed, shards=len(numbers))
    states = _states(pictures, known, dict(zip(names, stamps)), found)
    return portion._replace(left_out=pictures.left_out, failures=failures, counts=counts, shards=states)


def _with_boxes(
    part: PictureSource, pictures: Pictures, boxes: Boxes, finished: FinishedCheck, shards: list[str]
) -> tuple[Portion, np.ndarray, Finished]:
    """The portion, and what is on record of the (n,) pictures whose boxes are known."""
    boxed = boxes(pictures) if len(pictures.names) else BoxedImages(Tasks(pictures, box_columns([])), [])
    assert not isinstance(boxed, DealtImages)
    of_boxes = digests(boxed.tasks.boxes, pictures.frames)
    found = finished(boxed.tasks.names, of_boxes[boxed.tasks.indices], shards)

    def of_these(of: Names, boxes_digests: np.ndarray | None) -> Finished:
        return found if of is boxed.tasks.names else finished(of, boxes_digests, shards)

    portion = dealt(part, boxed, of_boxes, of_these, lambda left: left, Taker())
    return portion._replace(not_counted=boxed.not_counted), boxed.tasks.indices, found


def _states(
    pictures: Pictures, known: np.ndarray, stamps: dict[str, str | None], before: Finished
) -> tuple[ShardState, ...]:
    """The tars as they are before this run, without those that are not worth remembering.

    Args:
        known: (n,) the pictures that can have an outcome; `before` is what is on record of these.
    """
    shards = pictures.shards
    if shards is None:
        return ()
    damaged = {failure.image for failure in pictures.failures}
    whose = np.searchsorted(shards.begins, known, side="right") - 1
    counted = [np.bincount(whose[of], minlength=len(shards.names)) for of in (before.done, before.failed, whose >= 0)]
    sizes = np.diff(shards.begins)
    states = []
    for number, name in enumerate(shards.names):
        stamp = stamps.get(name)
        done, failed, boxed = (int(column[number]) for column in counted)
        if stamp is not None and name not in damaged and boxed == sizes[number]:
            states.append(ShardState(name, stamp, boxed, done, failed))
    return tuple(states)


NO_TASKS = Tasks(Pictures("", Names.of([])), box_columns([]))


class _NoPictures:
    def pictures(self) -> Pictures:
        return NO_TASKS.pictures

    def read(self, index: int) -> LoadedImage:
        raise AssertionError("there is none")


NOTHING = Portion(
    _NoPictures(), NO_TASKS, digests(NO_TASKS.boxes), np.zeros(0, np.int64), [], [], PlanCounts(), [], LeftOut()
)
"""A portion of no pictures."""
