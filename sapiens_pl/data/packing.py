"""Planning: which boxes go into which batch, before anything is read.

The unit of cost is the crop, so batches are filled to exactly `batch_size` crops, in the order of
the images; a crowded image continues in the next batch. Images without boxes ride along.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.structures import CropSpan

MIN_IMAGES_PER_BATCH_LIMIT = 64
"""So many images without boxes may ride in a batch (or `batch_size`, if larger), to keep it short."""


def check_shard(num_shards: int, shard: int) -> None:
    """Raises ConfigError unless `shard` counts from 0 below `num_shards`."""
    whole = all(isinstance(number, int) and not isinstance(number, bool) for number in (num_shards, shard))
    if not whole or num_shards < 1 or not 0 <= shard < num_shards:
        raise ConfigError(
            f"data.shard={shard} with data.num_shards={num_shards} cannot work: shards are counted 0, 1, ... below "
            "data.num_shards."
        )


def shard_images(num_boxes: list[int], num_shards: int) -> list[list[int]]:
    """Deals image indices to shards so that each gets about as many crops; the order stays.

    Args:
        num_boxes: how many crops each image gives.
        num_shards: how many ranks share the work.
    """
    shards: list[list[int]] = [[] for _ in range(num_shards)]
    loads = [(0, 0, shard) for shard in range(num_shards)]
    for image_index, count in enumerate(num_boxes):
        crops, images, shard = loads[0]
        shards[shard].append(image_index)
        heapq.heapreplace(loads, (crops + count, images + 1, shard))
    return shards


def pack_batches(num_boxes: Iterable[tuple[int, int]], batch_size: int) -> list[list[CropSpan]]:
    """Fills batches with spans of images' boxes.

    Args:
        num_boxes: (image index, how many crops it gives) in the order to walk.
        batch_size: crops a batch.

    Returns:
        Batches of exactly `batch_size` crops, then at most one shorter, then batches of images
        without boxes that did not fit into the others.
    """
    image_limit = max(batch_size, MIN_IMAGES_PER_BATCH_LIMIT)
    batches: list[list[CropSpan]] = []
    current: list[CropSpan] = []
    left_over: list[CropSpan] = []
    room = batch_size
    for image_index, count in num_boxes:
        if count == 0:
            (current if len(current) < image_limit else left_over).append(CropSpan(image_index, 0, 0))
        start = 0
        while start < count:
            stop = min(count, start + room)
            current.append(CropSpan(image_index, start, stop))
            room -= stop - start
            start = stop
            if room == 0:
                batches.append(current)
                current, room = [], batch_size
    if current:
        batches.append(current)
    batches += [left_over[i : i + image_limit] for i in range(0, len(left_over), image_limit)]
    return batches
