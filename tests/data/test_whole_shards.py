"""Tars and tables are dealt whole where that keeps everybody busy."""

from __future__ import annotations

import numpy as np
import pytest

from sapiens_pl.core.columns import Names
from sapiens_pl.core.plan import Pictures
from sapiens_pl.data.packing import shard_images
from sapiens_pl.data.stretches import dealt_together


def pictures_in(num_tars: int, stretch: int | None = None) -> Pictures:
    count = 10 * num_tars
    stretches = None if stretch is None else np.arange(0, count + 1, stretch)
    return Pictures(
        "/s", Names.of(map(str, range(count))), dealt_whole=np.arange(0, count + 1, 10), stretches=stretches
    )


def shares(pictures: Pictures, num_takers: int, indices: np.ndarray | None = None) -> list[np.ndarray]:
    indices = np.arange(len(pictures.names)) if indices is None else indices
    dealt = shard_images(np.ones(len(indices)), num_takers, dealt_together(pictures, indices, num_takers))
    assert sorted(np.concatenate(dealt).tolist()) == list(range(len(indices)))
    return [indices[share] for share in dealt]


@pytest.mark.parametrize(("num_tars", "num_takers"), [(8, 8), (16, 8), (100, 8), (3, 1), (39, 4)])
def test_tars_are_dealt_whole_by_turns(num_tars, num_takers):
    dealt = shares(pictures_in(num_tars), num_takers)
    tars = [set((share // 10).tolist()) for share in dealt]
    assert sum(map(len, tars)) == num_tars and max(map(len, tars)) - min(map(len, tars)) <= 1


@pytest.mark.parametrize(("num_tars", "num_takers"), [(1, 8), (10, 8), (5, 4)])
def test_too_few_tars_are_shared(num_tars, num_takers):
    sizes = [len(share) for share in shares(pictures_in(num_tars), num_takers)]
    assert max(sizes) - min(sizes) <= 1
    by_stretch = shares(pictures_in(num_tars, 2), num_takers)
    assert all((share[::2] + 1 == share[1::2]).all() for share in by_stretch)


def test_what_is_left_is_dealt_by_the_tars_that_it_lies_in():
    left = np.array([3, 4, 11, 25, 26, 39])
    assert [(share // 10).tolist() for share in shares(pictures_in(5), 2, left)] == [[0, 0, 1], [2, 2, 3]]
    assert all(len(share) == 0 for share in shares(pictures_in(5), 2, left[:0]))
