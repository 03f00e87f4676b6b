"""Each loader process reads forwards: properties of plans for films of any form."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from torch.utils.data import get_worker_info

from sapiens_pl.core.columns import Names, whole_pictures
from sapiens_pl.core.plan import FrameColumns, Pictures, Tasks
from sapiens_pl.core.structures import LoadedImage
from sapiens_pl.data.crops import CropCutter
from sapiens_pl.data.dataset import PictureDataset
from sapiens_pl.data.lanes import lane_order
from sapiens_pl.data.loader import PictureLoader
from sapiens_pl.data.packing import pack_batches, shard_images
from sapiens_pl.data.stretches import pieces, places_among

FILMS = {"regular": [50] * 20, "irregular": [1, 3, 250, 7, 120, 1, 1, 300, 2, 90], "keyframes only": [1] * 400}
FILMS |= {"one keyframe": [500], "film and photographs": [200, 150, *[1] * 300, 180]}


def film(name) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(FILMS[name])])


def dataset_of(stretches, counts, batch_size, kind=PictureDataset, source=None, left=None):
    """Of pictures in such stretches, each with so many boxes; `left`: which of them are still to do."""
    names = Names.of(f"{index:06d}" for index in range(stretches[-1]))
    pictures = Pictures("", names, stretches=stretches)
    boxes = whole_pictures(len(names))._replace(offsets=np.concatenate([[0], np.cumsum(counts)]))
    total = int(np.sum(counts))
    boxes = boxes._replace(
        bboxes_xyxy=np.tile([0.0, 0.0, 8.0, 8.0], (total, 1)),
        bbox_scores=np.ones(total),
        instance_ids=np.arange(total),
    )
    tasks = Tasks(pictures, boxes, left)
    batches = pack_batches(tasks.num_boxes, batch_size, stretches=places_among(stretches, tasks.indices))
    return kind(source, tasks, batches, CropCutter((8, 8)))


def decodes(pictures, stretches) -> int:
    """How many frames a decoder decodes that is asked for these, one after the other."""
    count, place = 0, None
    for picture in pictures:
        begin = stretches[np.searchsorted(stretches, picture, side="right") - 1]
        if place is None or not begin <= place <= picture:
            place = begin - 1
        count += picture - place
        place = picture
    return count


def read_by(dataset, start, num_workers) -> list[list[int]]:
    """Each worker's pictures, as torch deals the batches."""
    positions = range(start, len(dataset))
    steps = max(num_workers, 1)
    workers = [positions[worker::steps] for worker in range(steps)]
    indices = dataset.tasks.indices
    return [[int(indices[span.image_index]) for p in own for span in dataset.batches[p]] for own in workers]


@pytest.mark.parametrize("num_batches", [0, 1, 2, 3, 7, 30])
@pytest.mark.parametrize("lanes", [1, 2, 3, 5, 8])
def test_lanes_are_consecutive_batches_and_the_last_batch_stays_last(num_batches, lanes):
    order = lane_order(num_batches, lanes)
    assert sorted(order) == list(range(num_batches))
    assert all((np.diff(order[lane::lanes]) == 1).all() for lane in range(lanes))
    assert num_batches == 0 or order[-1] == num_batches - 1


@pytest.mark.parametrize("name", FILMS)
@pytest.mark.parametrize("boxes", [0, 1, 3, 20, "few", "any"])
@pytest.mark.parametrize("batch_size", [1, 8, 64])
@pytest.mark.parametrize("num_workers", [0, 2, 16])
def test_no_frame_is_decoded_much_more_than_once(name, boxes, batch_size, num_workers):
    stretches, rng = film(name), np.random.default_rng(0)
    counts = np.full(stretches[-1], boxes if isinstance(boxes, int) else 0)
    if boxes == "few":
        counts[rng.integers(0, len(counts), 9)] = 1
    if boxes == "any":
        counts = rng.choice([0, 1, 2, 9], len(counts)) * (np.arange(len(counts)) % 300 > 60)
    dataset = dataset_of(stretches, counts, batch_size)
    lanes = dataset.arrange(0, num_workers)
    assert lanes <= num_workers and (lanes > 0) == (num_workers > 0)
    read = read_by(dataset, 0, lanes)
    assert sum(decodes(own, stretches) for own in read) <= 1.3 * len(counts)
    assert {picture for own in read for picture in own} == set(range(len(counts)))
    assert dataset.batches.num_crops[:-1].max(initial=0) <= batch_size
    short = [size for size in dataset.batches.num_crops if 0 < size < batch_size]
    assert len(short) <= 1 and (not short or dataset.batches.num_crops[dataset.batches.num_crops > 0][-1] == short[0])


def test_a_film_with_keyframes_keeps_all_workers_busy_and_one_without_them_one():
    assert dataset_of(film("regular"), np.ones(1000, int), 4).arrange(0, 4) == 4
    assert dataset_of(film("one keyframe"), np.ones(500, int), 4).arrange(0, 4) == 1


def test_in_a_crowded_plan_nobody_waits_for_the_end_of_an_empty_hour():
    """Whole stretches without anybody are batches of their own; what is with people stays with them."""
    stretches = np.arange(0, 10_001, 100)
    counts = np.zeros(10_000, int)
    counts[[150, 160, 9_850]] = 1
    dataset = dataset_of(stretches, counts, 8)
    dataset.arrange(0, 0)
    assert max(len(batch) for batch in dataset.batches) < 64 + 300
    assert dataset.batches.num_crops[-1] == 3
    assert decodes(*read_by(dataset, 0, 0), stretches) <= 1.05 * 10_000


@pytest.mark.parametrize("workers", [(4, 2), (4, 1), (2, 2), (4, 0), (1, 4)])
def test_after_a_loss_each_worker_reads_forwards_again(workers):
    """What has arrived is not read again; what has not is laid out anew for as many workers as there are now."""
    stretches = film("regular")
    dataset = dataset_of(stretches, np.full(1000, 3), 8)
    dataset.arrange(0, workers[0])
    arrived = [dataset.batches[position] for position in range(41)]
    lanes = dataset.arrange(41, workers[1])
    assert [dataset.batches[position] for position in range(41)] == arrived
    rest = read_by(dataset, 41, lanes)
    assert sum(decodes(own, stretches) for own in rest) <= 1100
    seen = [span for batch in dataset.batches for span in batch]
    assert len(seen) == len(set(seen)) and sum(span.stop - span.start for span in seen) == 3000


def test_what_is_left_of_a_run_is_read_forwards():
    stretches = film("regular")
    left = np.flatnonzero(np.arange(1000) % 250 >= 120)  # four lanes were killed in mid-stretch
    dataset = dataset_of(stretches, np.ones(1000, int), 8, left=left)
    read = read_by(dataset, 0, dataset.arrange(0, 4))
    assert sorted(picture for own in read for picture in own) == left.tolist()
    assert sum(decodes(own, stretches) for own in read) <= 1.15 * len(left) + 4 * 50


class Film:
    """Pixels that say which picture this is, and who has read it."""

    def read(self, index: int) -> LoadedImage:
        worker = get_worker_info()
        pixels = np.zeros((8, 8, 3), np.uint8)
        pixels[...] = index % 256, index // 256, 0 if worker is None else worker.id
        return LoadedImage(pixels, 1)


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_the_loader_gives_each_lane_to_one_process(num_workers):
    dataset = dataset_of(film("regular"), np.ones(1000, int), 8, source=Film())
    read: dict[int, list[int]] = {}
    for batch in PictureLoader(dataset, num_workers=num_workers):
        for crop, image in zip(batch.crops, batch.image_indices.tolist()):
            low, high, worker = crop.amax(dim=(1, 2)).tolist()
            assert low + 256 * high == image
            read.setdefault(worker, []).append(image)
    assert len(read) == max(num_workers, 1) and all((np.diff(own) > 0).all() for own in read.values())
    assert sum(map(len, read.values())) == 1000


def frames_of(stretches, video) -> Pictures:
    names = Names.of(map(str, range(stretches[-1])))
    zeros = np.zeros(len(names), np.int64)
    frames = FrameColumns(Names.of(["a.mp4", "b.mp4"]), video, zeros, zeros, zeros.astype(float))
    return Pictures("", names, stretches=stretches, frames=frames)


def test_pieces_are_whole_stretches_of_one_video_and_not_tiny():
    stretches = np.concatenate([np.arange(0, 100), np.arange(100, 400, 12), [400, 700, 701, 702, 703]])
    video = np.repeat([0, 1, -1], [250, 450, 3])
    stretches = np.union1d(stretches, [250])
    found = pieces(frames_of(stretches, video))
    assert found is not None and set(found) <= set(stretches) and found[0] == 0 and found[-1] == 703
    assert {250, 700, 701, 702} <= set(found)  # another video, and each photograph
    sizes = np.diff(found)[found[1:] <= 700]
    assert (sizes[sizes < 20].size <= 2) and np.median(sizes) >= 32
    moved = pieces(frames_of(np.concatenate([[0], stretches + 1]), np.concatenate([[-1], video])))
    assert moved is not None and np.array_equal(moved[1:] - 1, found)  # whatever else there is


@pytest.mark.parametrize("num_shards", [1, 2, 3, 8])
@pytest.mark.parametrize("boxes", ["some", "none", "in the second half"])
def test_one_long_film_is_shared_out_evenly_in_whole_stretches(num_shards, boxes):
    rng = np.random.default_rng(1)
    stretches = np.concatenate([[0], np.cumsum(rng.integers(20, 250, 130))])
    counts = rng.integers(0, 4, stretches[-1]) * (boxes != "none")
    if boxes == "in the second half":
        counts[: len(counts) // 2] = 0
    shards = shard_images(counts, num_shards, stretches)
    assert sorted(index for shard in shards for index in shard) == list(range(len(counts)))
    owner = np.empty(len(counts), int)
    for number, shard in enumerate(shards):
        owner[shard] = number
    assert all(len(set(owner[begin:end])) == 1 for begin, end in itertools.pairwise(stretches))
    loads = np.array([[counts[shard].sum(), len(shard)] for shard in shards], float)
    costs = loads @ [10, 1]
    assert costs.max() <= 1.1 * costs.mean()
    if boxes != "in the second half":
        assert loads[:, 1].max() <= 1.25 * loads[:, 1].mean()
