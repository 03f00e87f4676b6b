"""Planning: which boxes go into which batch, before anything is read.

The unit of cost is the crop, so batches are filled to exactly `batch_size` crops, in the order of
the images; a crowded image continues in the next batch. Images without boxes are added to batches.

Frames of videos are decoded in their order, from a keyframe on: a stretch of them is dealt to one shard, and
none is put off to a later batch.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from functools import cached_property
from typing import overload

import numpy as np

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.structures import CropSpan
from sapiens_pl.data.lanes import Ends

MIN_IMAGES_PER_BATCH_LIMIT = 64
"""How many images without boxes a batch may have (or `batch_size`, if larger)."""
_WORTH_A_JUMP = 10
"""One image may be decoded twice for each so many that are read."""
_IMAGES_PER_CROP = 10
"""For the dealing: a crop's poses cost as much as reading so many frames."""


class Batches(Sequence[list[CropSpan]]):
    """Planned batches; item i is made when it is asked for.

    Args:
        spans: (S, 3) int64: image index, first box, box behind the last one.
        offsets: (batches + 1,) int64: batch i has the spans `offsets[i]` to `offsets[i + 1]`.
    """

    def __init__(self, spans: np.ndarray, offsets: np.ndarray) -> None:
        self.spans, self.offsets = spans, offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> list[CropSpan]: ...

    @overload
    def __getitem__(self, index: slice) -> list[list[CropSpan]]: ...

    def __getitem__(self, index: int | slice) -> list[CropSpan] | list[list[CropSpan]]:
        if isinstance(index, slice):
            return [self[each] for each in range(len(self))[index]]
        if not 0 <= index < len(self):
            raise IndexError(index)
        rows = self.spans[self.offsets[index] : self.offsets[index + 1]]
        return [CropSpan(*row) for row in rows.tolist()]

    @cached_property
    def num_crops(self) -> np.ndarray:
        """(batches,) int64: crops of each."""
        sums = np.concatenate([[0], np.cumsum(self.spans[:, 2] - self.spans[:, 1])])
        return np.diff(sums[self.offsets])

    @cached_property
    def ends(self) -> Ends:
        """The image index of each batch's first and last span."""
        return Ends(self.spans[self.offsets[:-1], 0], self.spans[self.offsets[1:] - 1, 0])

    def select(self, positions: np.ndarray) -> Batches:
        """Those at the (n,) positions, in their order."""
        sizes = np.diff(self.offsets)[positions]
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        rows = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][positions] - offsets[:-1], sizes)
        return Batches(self.spans[rows], offsets)


def check_shard(num_shards: int, shard: int) -> None:
    """Raises ConfigError unless `shard` counts from 0 below `num_shards`."""
    whole = all(isinstance(number, int) and not isinstance(number, bool) for number in (num_shards, shard))
    if not whole or num_shards < 1 or not 0 <= shard < num_shards:
        raise ConfigError(
            f"data.shard={shard} with data.num_shards={num_shards} cannot work: shards are counted 0, 1, ... below "
            "data.num_shards."
        )


def shard_images(num_boxes: np.ndarray, num_shards: int, stretches: np.ndarray | None = None) -> list[np.ndarray]:
    """Deals image indices to shards so that each gets about as many crops; the order stays.

    Args:
        num_boxes: (T,) how many crops each image gives.
        num_shards: how many ranks share the work.
        stretches: (S + 1,) where those begin that one shard is to have together, and the end; None for single images.
    """
    counts = np.asarray(num_boxes, np.int64)
    if stretches is None:
        return [np.flatnonzero(_dealt(counts, num_shards) == shard) for shard in range(num_shards)]
    sums = np.concatenate([[0], np.cumsum(counts * _IMAGES_PER_CROP + 1)])
    costs = np.diff(sums[stretches])
    largest_first = np.argsort(-costs, kind="stable")
    dealt = np.empty(len(costs), np.int64)
    dealt[largest_first] = _dealt(costs[largest_first], num_shards)
    shards = np.repeat(dealt, np.diff(stretches))
    return [np.flatnonzero(shards == shard) for shard in range(num_shards)]


def _dealt(counts: np.ndarray, num_shards: int) -> np.ndarray:
    """Each one's shard: the one that has the fewest crops so far, of several the one with the fewest images."""
    if len(counts) == 0 or num_shards == 1 or (counts == counts[0]).all():
        return np.arange(len(counts)) % num_shards
    shards = np.empty(len(counts), np.int64)
    loads = [(0, 0, shard) for shard in range(num_shards)]
    for index, count in enumerate(counts.tolist()):
        crops, images, shard = loads[0]
        shards[index] = shard
        heapq.heapreplace(loads, (crops + count, images + 1, shard))
    return shards


def pack_batches(
    num_boxes: np.ndarray, batch_size: int, images: np.ndarray | None = None, stretches: np.ndarray | None = None
) -> Batches:
    """Fills batches with spans of images' boxes.

    Args:
        num_boxes: (n,) how many crops each image gives, in the order to walk.
        batch_size: crops a batch.
        images: (n,) whose they are; None for 0, 1, ...
        stretches: as for `shard_images`, where images are to be read in their order.

    Returns:
        Batches of exactly `batch_size` crops, then at most one shorter, then batches of images
        without boxes that did not fit into the others. With `stretches`, these stand before.
    """
    counts = np.asarray(num_boxes, np.int64)
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    # Crops counted through: a span ends where its image or its batch does.
    first = ends - counts
    starts = np.union1d(first[counts > 0], np.arange(0, total, batch_size))
    stops = np.append(starts[1:], total)[: len(starts)]
    whose = np.searchsorted(ends, starts, side="right")
    empty = np.flatnonzero(counts == 0)
    spans = np.zeros((len(starts) + len(empty), 3), np.int64)
    spans[: len(starts), 0] = whose
    spans[: len(starts), 1] = starts - first[whose]
    spans[: len(starts), 2] = stops - first[whose]
    spans[len(starts) :, 0] = empty
    batch = np.concatenate([starts, first[empty]]) // batch_size
    if len(empty):
        order = np.lexsort((spans[:, 0], batch))
        spans, batch = spans[order], batch[order]
        limit = max(batch_size, MIN_IMAGES_PER_BATCH_LIMIT)
        if stretches is None:
            batch = _without_crowds(batch, spans, limit)
        else:
            batch = _in_their_order(batch, spans, first % batch_size == 0, stretches, limit)
        order = np.argsort(batch, kind="stable")
        spans, batch = spans[order], batch[order]
    if images is not None:
        spans[:, 0] = np.asarray(images, np.int64)[spans[:, 0]]
    begins = np.flatnonzero(np.diff(batch, prepend=-1))
    return Batches(spans, np.append(begins, len(spans)))


def pack_on(
    carried: np.ndarray,
    num_boxes: np.ndarray,
    batch_size: int,
    images: np.ndarray,
    stretches: np.ndarray | None = None,
    is_last: bool = True,
) -> tuple[Batches, np.ndarray]:
    """The same, after (C, 3) spans that an earlier call has left over.

    Args:
        is_last: nothing follows, so that nothing is left over.

    Returns:
        The batches, and the (L, 3) spans of those crops that do not fill one.
    """
    counts = np.concatenate([carried[:, 2] - carried[:, 1], np.asarray(num_boxes, np.int64)])
    whose = np.concatenate([carried[:, 0], images])
    first_boxes = np.concatenate([carried[:, 1], np.zeros(len(images), np.int64)])
    if stretches is not None and len(carried):
        stretches = np.concatenate([np.arange(len(carried)), stretches + len(carried)])
    packed = pack_batches(counts, batch_size, None, stretches)
    items = packed.spans[:, 0]
    spans = packed.spans + np.stack([whose[items] - items, first_boxes[items], first_boxes[items]], axis=1)
    batches = Batches(spans, packed.offsets)
    short = np.flatnonzero((batches.num_crops > 0) & (batches.num_crops < batch_size))
    if is_last or not len(short):
        return batches, spans[:0]
    return batches.select(np.delete(np.arange(len(batches)), short)), batches.select(short).spans


def _without_crowds(batch: np.ndarray, spans: np.ndarray, image_limit: int) -> np.ndarray:
    """The number of each span's batch, where images without boxes that are too many for theirs get further ones."""
    place = np.arange(len(batch)) - np.searchsorted(batch, batch, side="left")
    left_over = np.flatnonzero((place >= image_limit) & (spans[:, 1] == spans[:, 2]))
    batch = batch.copy()
    if len(left_over):
        batch[left_over] = batch[-1] + 1 + np.arange(len(left_over)) // image_limit
    return batch


def _in_their_order(
    batch: np.ndarray, spans: np.ndarray, is_before_crops: np.ndarray, stretches: np.ndarray, image_limit: int
) -> np.ndarray:
    """The number of each span's batch, where images without boxes get further batches if no stretch suffers from it.

    Those before the batch's first crop, in their place; and, of a batch with a crowd of them, whole stretches in which
    nobody is, before the others. The rest stays, however many: read later, their stretch would be decoded twice.

    Args:
        batch, spans: (spans,) and (spans, 3), as planned so far, in order.
        is_before_crops: (n,) bool, of the images that the spans are of.
        stretches: (S + 1,), in these images.
        image_limit: so many have room in a further batch.
    """
    whose, is_empty = spans[:, 0], spans[:, 1] == spans[:, 2]
    stretch = np.searchsorted(stretches, whose, side="right") - 1
    has_people = np.bincount(stretch, ~is_empty, len(stretches)) > 0
    leading = is_empty & is_before_crops[whose]
    aside = is_empty & ~leading & ~has_people[stretch]
    begins = np.searchsorted(batch, batch, side="left")
    twice = (whose - stretches[stretch])[begins]  # so many images are decoded again if others are read before them
    aside &= np.bincount(batch, aside)[batch] > np.maximum(image_limit, _WORTH_A_JUMP * twice)
    chunk = np.full(len(batch), np.iinfo(np.int64).max)
    for kind, first_number in ((aside, 0), (leading, len(batch))):
        rank = np.cumsum(kind) - 1
        rank -= (rank + ~kind)[begins]  # of those in the same batch
        full = np.bincount(batch, kind).astype(np.int64)[batch] // image_limit * image_limit
        moved = kind & (rank < full) if kind is leading else kind
        chunk[moved] = first_number + rank[moved] // image_limit
    return np.unique(np.stack([batch, chunk], axis=1), axis=0, return_inverse=True)[1].reshape(-1)
