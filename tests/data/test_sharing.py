from __future__ import annotations

import multiprocessing
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest

from sapiens_pl.core.columns import Names, whole_pictures
from sapiens_pl.core.plan import Pictures, Tasks
from sapiens_pl.data.packing import pack_batches
from sapiens_pl.data.sharing import LargeArrays


@pytest.fixture
def shared():
    arrays = LargeArrays()
    arrays.share()
    yield arrays
    ForkingPickler._extra_reducers.pop(np.ndarray)


def last_of(tasks, batches, answers):
    answers.put((tasks[len(tasks) - 1].name, batches[len(batches) - 1][-1].image_index))


@pytest.mark.slow
def test_a_plan_is_not_copied_to_each_process_that_is_not_forked(shared):
    count = 200_000
    names = Names.of(f"folder/photograph_{index:07d}.jpg" for index in range(count))
    tasks, batches = Tasks(Pictures("/photos", names), whole_pictures(count)), pack_batches(np.ones(count), 8)
    assert len(ForkingPickler.dumps((tasks, batches))) < 500_000  # of 20 million
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    process = context.Process(target=last_of, args=(tasks, batches, answers))
    process.start()
    process.join(120)
    assert not answers.empty() and answers.get() == ("folder/photograph_0199999.jpg", count - 1)


def test_small_arrays_and_other_kinds_go_as_ever(shared):
    for array in (np.arange(3), np.array(["a"] * 10**6), np.zeros((2000, 2000))[:, ::2]):
        assert (ForkingPickler.loads(ForkingPickler.dumps(array)) == array).all()
