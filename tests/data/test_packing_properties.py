"""However many people there are and whoever packs them: each comes once, and only the last batch is short."""

from __future__ import annotations

import numpy as np
from properties import given, st

from sapiens_pl.data.packing import Batches, pack_batches, pack_on, shard_images

COUNTS = st.lists(st.one_of(st.just(0), st.integers(0, 4), st.integers(0, 200)), max_size=120)
SIZES = st.integers(1, 80)


@st.composite
def counts_in_stretches(draw):
    """(n,) people of each picture, and where stretches of pictures begin, with the end; or None."""
    counts = draw(COUNTS)
    if not counts or draw(st.booleans()):
        return np.array(counts, np.int64), None
    cuts = draw(st.sets(st.integers(0, len(counts))))
    return np.array(counts, np.int64), np.array(sorted({0, len(counts), *cuts}), np.int64)


def people_of(batches: Batches, images=None):
    """Each person once or more, and the pictures that have nobody: as the batches name them."""
    names = range(10**6) if images is None else images
    people = [(names[span.image_index], box) for batch in batches for span in batch for box in range(*span[1:])]
    empty = [names[span.image_index] for batch in batches for span in batch if span.start == span.stop]
    return people, empty


def check_whole(batches, counts, batch_size):
    people, empty = people_of(batches)
    assert sorted(people) == [(image, box) for image, count in enumerate(counts) for box in range(count)]
    assert sorted(empty) == [image for image, count in enumerate(counts) if count == 0]
    with_people = [size for size in batches.num_crops.tolist() if size]
    assert all(size == batch_size for size in with_people[:-1]) and all(size <= batch_size for size in with_people)
    assert all(batch for batch in batches)


@given(counts_in_stretches(), SIZES)
def test_every_person_is_in_one_batch_and_only_the_last_is_short(planned, batch_size):
    counts, stretches = planned
    check_whole(pack_batches(counts, batch_size, None, stretches), counts, batch_size)


@given(counts_in_stretches(), st.integers(1, 9), SIZES)
def test_ranks_share_all_people_and_each_has_full_batches(planned, num_ranks, batch_size):
    counts, stretches = planned
    shares = shard_images(counts, num_ranks, stretches)
    assert sorted(image for share in shares for image in share.tolist()) == list(range(len(counts)))
    for share in shares:
        check_whole(pack_batches(counts[share], batch_size), counts[share], batch_size)
        if stretches is not None:
            of_stretch = np.searchsorted(stretches, share, side="right")
            others = np.setdiff1d(np.arange(len(counts)), share)
            assert not set(of_stretch) & set(np.searchsorted(stretches, others, side="right"))


@given(st.lists(counts_in_stretches(), min_size=1, max_size=6), SIZES)
def test_portions_are_packed_on_as_if_they_were_one(portions, batch_size):
    """What does not fill a batch waits for the next portion's people."""
    carried, first = np.zeros((0, 3), np.int64), 0
    sizes, found = [], []
    for place, (counts, stretches) in enumerate(portions):
        images = np.arange(first, first + len(counts))
        first += len(counts)
        is_last = place == len(portions) - 1
        batches, carried = pack_on(carried, counts, batch_size, images, stretches, is_last)
        sizes += [size for size in batches.num_crops.tolist() if size]
        found += [tuple(span) for batch in batches for span in batch]
    assert not len(carried)
    assert all(size == batch_size for size in sizes[:-1]) and all(size <= batch_size for size in sizes)
    everyone = np.concatenate([counts for counts, _ in portions])
    people = sorted((image, box) for image, start, stop in found for box in range(start, stop))
    assert people == [(image, box) for image, count in enumerate(everyone) for box in range(count)]
    assert {image for image, _, _ in found} == set(range(len(everyone)))
