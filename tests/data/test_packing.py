from __future__ import annotations

import numpy as np
import pytest

from sapiens_pl.data.packing import pack_batches, shard_images


def sizes(batches):
    return [sum(span.stop - span.start for span in batch) for batch in batches]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("seed", range(5))
def test_batches_are_full_and_every_box_comes_once(batch_size, seed):
    counts = np.random.default_rng(seed).choice([0, 0, 1, 2, 3, 50], 200).tolist()
    batches = pack_batches(counts, batch_size)
    full, last = sizes(batches)[:-1], sizes(batches)[-1]
    assert all(size == batch_size for size in full) and last <= batch_size
    seen = [(span.image_index, box) for batch in batches for span in batch for box in range(span.start, span.stop)]
    assert seen == [(image, box) for image, count in enumerate(counts) for box in range(count)]
    named = {span.image_index for batch in batches for span in batch}
    assert named == set(range(len(counts)))


def test_an_image_stands_once_in_each_batch_that_it_is_in():
    for batch in pack_batches([3, 20, 0, 1], 8):
        assert len({span.image_index for span in batch}) == len(batch)


def test_many_empty_images_do_not_pile_up_in_one_batch():
    batches = pack_batches([1] + [0] * 1000 + [1] * 7, 4)
    assert max(len(batch) for batch in batches) <= 68
    assert sizes(batches)[:2] == [4, 4] and sum(map(len, batches)) == 1008


def test_nothing_to_do_is_no_batch():
    assert len(pack_batches([], 8)) == 0


@pytest.mark.parametrize("num_shards", [1, 2, 3, 8])
def test_shards_balance_crops_and_lose_nothing(num_shards):
    counts = np.random.default_rng(0).choice([0, 1, 2, 9], 500).tolist()
    shards = shard_images(counts, num_shards)
    assert sorted(index for shard in shards for index in shard) == list(range(500))
    loads = [sum(counts[index] for index in shard) for shard in shards]
    assert max(loads) - min(loads) <= 9
    assert [shard.tolist() for shard in shard_images([1], 3)] == [[0], [], []]


def test_pictures_that_belong_together_are_dealt_to_one_shard():
    counts, stretches = np.array([1, 0, 3, 2, 2, 0, 0, 5]), np.array([0, 3, 5, 8])
    shards = [shard.tolist() for shard in shard_images(counts, 2, stretches)]
    assert shards == [[5, 6, 7], [0, 1, 2, 3, 4]]
    assert sorted(index for shard in shards for index in shard) == list(range(8))
