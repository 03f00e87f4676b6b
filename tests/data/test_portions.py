"""Plans made tar by tar: full batches across their borders, and nothing opened that is not needed."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from sapiens_pl.boxes.matching import WholeImage
from sapiens_pl.boxes.sample_boxes import SampleBoxes
from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.plan import Pictures, ShardColumns
from sapiens_pl.core.structures import Failure, LoadedImage
from sapiens_pl.data import planning
from sapiens_pl.data.datamodule import ImageDataModule
from sapiens_pl.data.handed_in import Finished, Place
from sapiens_pl.data.portions import ShardState


class Beside:
    """What stands beside pictures: so many boxes."""

    def __init__(self, counts):
        self._counts = counts

    def values(self, columns):
        for picture, count in enumerate(self._counts):
            yield picture, {"bboxes": [[0, 0, 8, 6]] * count}


class Shards:
    """Pictures of one shade in shards; `counts` are the boxes of each picture of each shard, None for a broken one."""

    def __init__(self, counts, numbers=None, opened=None):
        self.counts = counts
        self.numbers = range(len(counts)) if numbers is None else numbers
        self.opened = Counter() if opened is None else opened
        self._pictures = None

    def shard_names(self):
        return [f"{number}.tar" for number in range(len(self.counts))]

    def shard_stamp(self, number):
        return f"stamp {number}"

    def some_shards(self, numbers):
        return Shards(self.counts, list(numbers), self.opened)

    def pictures(self):
        if self._pictures is None:
            self.opened.update(self.numbers)
            whole = [number for number in self.numbers if self.counts[number] is not None]
            names = [f"{number}.tar/{place}" for number in whole for place in range(len(self.counts[number]))]
            begins = np.cumsum([0, *(len(self.counts[number]) for number in whole)])
            broken = [Failure(f"{number}.tar", None, "UnreadableShardError", "is broken") for number in
                      self.numbers if number not in whole]  # fmt: skip
            self._pictures = Pictures(
                "/shards",
                Names.of(names),
                failures=tuple(broken),
                dealt_whole=begins,
                shards=ShardColumns(Names.of(f"{number}.tar" for number in whole), begins, False),
                samples=Beside([count for number in whole for count in self.counts[number]]),
            )
        return self._pictures

    def read(self, index):
        return LoadedImage(np.full((6, 8, 3), shade_of(self.pictures().names[index]), np.uint8), 1)


def shade_of(name):
    number, _, place = name.partition(".tar/")
    return (40 * int(number) + int(place)) % 256


def data_of(counts, place=(0, 1), **given):
    options = {"batch_size": 8, "num_workers": 0} | given
    boxes = options.pop("boxes", None) or SampleBoxes()
    data = ImageDataModule(__file__, boxes, (6, 8), place=lambda: Place(*place), **options)
    data.source = Shards(counts)
    return data


def read(data):
    """The names of the crops of each batch, and all portions."""
    portions, batches = [], []
    data.listeners.append(portions.append)
    data.setup()
    for batch in data.predict_dataloader():
        names = []
        for number, crop in zip(batch.image_indices.tolist(), batch.crops.numpy()):
            portion = next(each for each in portions if each.first <= number < each.end)
            names.append(portion.task(number).name)
            assert (crop[:, 3, 4] == shade_of(names[-1])).all()
        batches.append((names, batch))
    return batches, portions


COUNTS = [[1, 2, 0], [3] * 5, [], [0, 0], [11, 1], [1] * 20, [2, 0, 7, 1]]


@pytest.fixture
def one_shard_a_portion(monkeypatch):
    monkeypatch.setattr(planning, "PICTURES_A_PORTION", 1)


@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("pictures_a_portion", [1, 7, 10_000])
@pytest.mark.parametrize("batch_size", [1, 4, 8, 64])
def test_batches_are_full_across_the_borders_of_portions(monkeypatch, batch_size, pictures_a_portion, num_workers):
    monkeypatch.setattr(planning, "PICTURES_A_PORTION", pictures_a_portion)
    batches, portions = read(data_of(COUNTS, batch_size=batch_size, num_workers=num_workers))
    sizes = [len(names) for names, _ in batches if names]
    assert all(size == batch_size for size in sizes[:-1]) and sizes[-1] <= batch_size
    expected = {f"{shard}.tar/{place}": count for shard, of in enumerate(COUNTS) for place, count in enumerate(of)}
    assert Counter(name for names, _ in batches for name in names) == Counter(expected)
    parts = Counter()
    for _, batch in batches:
        for part in batch.parts:
            parts[part.span.image_index] += part.span.stop - part.span.start
    assert sorted(parts.values()) == sorted(expected.values())  # pictures without anybody come, too
    assert (len(portions) == len(COUNTS)) == (pictures_a_portion == 1)
    assert portions[0].shards[0].name == "0.tar" and [each.is_last for each in portions].count(True) == 1


@pytest.mark.parametrize(("num_shards", "world_size"), [(1, 1), (2, 1), (1, 2), (3, 2), (2, 3)])
def test_takers_take_whole_shards_by_turns_and_open_no_others(one_shard_a_portion, num_shards, world_size):
    counts = [[1, 2]] * 12
    opened = {}
    for shard in range(num_shards):
        for rank in range(world_size):
            data = data_of(counts, (rank, world_size), num_shards=num_shards, shard=shard)
            batches, portions = read(data)
            opened[shard, rank] = sorted(data.source.opened)
            assert {name.partition(".")[0] for names, _ in batches for name in names} == set(
                map(str, opened[shard, rank])
            )
            assert data.counts.shards == data.num_own_shards == len(portions) == 12 // (num_shards * world_size)
    assert sorted(number for numbers in opened.values() for number in numbers) == list(range(12))
    assert all(
        number % num_shards == shard and number // num_shards % world_size == rank
        for (shard, rank), numbers in opened.items()
        for number in numbers
    )


def test_too_few_shards_for_all_takers_are_planned_together():
    data = data_of([[1] * 4] * 3, (1, 2))
    assert not data.goes_by_shards and data_of([[1] * 4] * 4, (1, 2)).goes_by_shards
    data.setup()
    assert sum(map(len, data.shares)) == 12 and data.portion.is_last


def test_boxes_that_speak_of_all_pictures_are_asked_once():
    asked = []

    def boxes(pictures):
        asked.append(len(pictures.names))
        return WholeImage()(pictures)

    read(data_of([[1] * 3] * 4, boxes=boxes))
    assert asked == [12]


def test_the_first_batch_needs_the_first_shard_only(one_shard_a_portion):
    data = data_of([[1] * 9] * 50, boxes=WholeImage())
    data.setup()
    next(iter(data.predict_dataloader()))
    assert max(data.source.opened) <= 2  # and the one that is planned meanwhile


def test_what_is_on_record_is_left_out_and_asked_for_by_shard(one_shard_a_portion):
    asked = []

    def finished(names, digests, shards=None):
        asked.append(shards)
        done = np.array([name.endswith("/0") for name in names], bool)
        no = np.zeros(len(names), bool)
        return Finished(done, no, no, no)

    data = data_of([[1, 1, 2]] * 3, finished=finished)
    batches, portions = read(data)
    assert {name for names, _ in batches for name in names} == {
        f"{shard}.tar/{place}" for shard in range(3) for place in (1, 2)
    }
    assert asked == [[f"{shard}.tar"] for shard in range(3)]
    assert data.counts.done_before == 3 and data.counts.images == 6 and data.counts.dealt == data.counts.listed == 9
    assert portions[1].shards == (ShardState("1.tar", "stamp 1", 3, 1, 0),)


class Ledger:
    def __init__(self, *numbers):
        self._numbers = numbers

    def whole(self, stamps):
        names = [f"{number}.tar" for number in self._numbers]
        return {name: ShardState(name, stamps[name], 3, 2, 1) for name in names if name in stamps}

    def knows_any(self):
        return bool(self._numbers)


@pytest.mark.parametrize("done", [(), (0,), (1, 2), (0, 1, 2, 3), (3,)])
def test_shards_that_are_done_are_not_opened(one_shard_a_portion, done):
    data = data_of([[1, 1, 1]] * 4, ledger=Ledger(*done))
    assert data.is_anything_left() == (len(done) < 4)
    data.source.opened.clear()
    batches, _ = read(data)
    assert sorted(data.source.opened) == sorted({0, 1, 2, 3} - {*done})
    assert sum(len(names) for names, _ in batches) == 12 - 3 * len(done)
    assert data.counts.done_before == 2 * len(done) and data.counts.failed_before == len(done)
    assert data.counts.shards == 4 and data.counts.dealt == 12


def test_broken_shards_cost_nothing_but_themselves(one_shard_a_portion):
    data = data_of([None, [1, 1], None, [2]])
    batches, portions = read(data)
    assert sum(len(names) for names, _ in batches) == 4
    assert [failure.image for portion in portions for failure in portion.failures] == ["0.tar", "2.tar"]
    assert data.counts.failed == 2 and data.counts.to_do == 5
    assert [state.name for portion in portions for state in portion.shards] == ["1.tar", "3.tar"]


def test_an_error_of_a_later_plan_ends_the_iteration(one_shard_a_portion):
    def finished(names, digests, shards=None):
        if shards == ["2.tar"]:
            raise ConfigError("the boxes of 2.tar have changed")
        no = np.zeros(len(names), bool)
        return Finished(no, no, no, no)

    with pytest.raises(ConfigError, match=r"2\.tar have changed"):
        read(data_of([[1] * 8] * 4, finished=finished))


def test_only_the_first_samples_must_have_boxes(one_shard_a_portion):
    class Silent(Shards):
        def some_shards(self, numbers):
            return Silent(self.counts, list(numbers), self.opened)

        def pictures(self):
            pictures = super().pictures()
            return pictures if 0 in self.numbers else pictures._replace(samples=Beside([]))

    data = data_of([[1, 1]] * 3)
    data.source = Silent([[1, 1]] * 3)
    batches, _ = read(data)
    assert sum(len(names) for names, _ in batches) == 2 and data.counts.images == 6
    with pytest.raises(ConfigError, match="No sample of"):
        data_of([[1, 1]] * 3, boxes=SampleBoxes("persons")).setup()
    later = data_of([[1, 1]] * 3, boxes=SampleBoxes("persons"), ledger=Ledger(0))
    later.setup()  # an earlier run has gone through a tar: what is left need not have any
    assert later.counts.dealt


def test_a_stop_ends_it_within_a_portion_and_between(one_shard_a_portion):
    stopped = []
    data = data_of([[1] * 8] * 6, stopped=lambda: bool(stopped))
    data.setup()
    for count, _ in enumerate(data.predict_dataloader(), 1):
        if count == 2:
            stopped.append(True)
    assert count == 2 and data.counts.shards < 6
    json.dumps(data.left_out)


def test_tars_without_a_single_picture_are_refused(one_shard_a_portion):
    with pytest.raises(ConfigError, match="The 3 tars or tables of data.images hold no pictures. is broken"):
        data_of([None, [], None]).plan_all()
    data_of([None, [], None], num_shards=3).plan_all()  # others may have some
