"""How often frames of real videos are decoded on their way into batches: counted in the loader's processes."""

from __future__ import annotations

import clips
import numpy as np
import pytest
import torch
from torch.utils.data import get_worker_info

from sapiens_pl.core.columns import NO_IMAGE_ID, BoxColumns
from sapiens_pl.core.plan import Tasks
from sapiens_pl.core.protocols import BoxedImages
from sapiens_pl.data.datamodule import ImageDataModule
from sapiens_pl.data.handed_in import Place
from sapiens_pl.data.stretches import pieces

pytest.importorskip("av")

NUM_FRAMES = 240


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A long clip with keyframes, one with a single one, and one whose frames lean on those before their keyframe."""
    folder = tmp_path_factory.mktemp("films")
    clips.make_clip(folder / "long.mp4", NUM_FRAMES, gop=30)
    clips.make_clip(folder / "once.mp4", 60, gop=1000)
    clips.make_clip(folder / "open.mp4", 90, gop=15, open_gop=True)
    return folder


class Counting:
    """Notes how many packets each loader process has decoded, in memory that all of them share."""

    def __init__(self, source) -> None:
        self._source = source
        self.decoded = torch.zeros(8, dtype=torch.int64).share_memory_()

    def pictures(self):
        return self._source.pictures()

    def read(self, index):
        try:
            return self._source.read(index)
        finally:
            worker = get_worker_info()
            self.decoded[0 if worker is None else worker.id] = self._source.num_decoded


def boxed(counts):
    """A box source: so many boxes in each picture, in turn."""

    def boxes(pictures):
        num_boxes = np.resize(counts, len(pictures.names))
        offsets = np.concatenate([[0], np.cumsum(num_boxes)])
        total = int(offsets[-1])
        rows = np.tile([4.0, 4.0, 90.0, 80.0], (total, 1))
        no_ids = np.full(len(num_boxes), NO_IMAGE_ID)
        return BoxedImages(Tasks(pictures, BoxColumns(offsets, rows, np.ones(total), np.arange(total), no_ids)), [])

    return boxes


def run_of(folder, counts, **given):
    place = given.pop("place", Place())
    data = ImageDataModule(str(folder), boxed(counts), input_hw=(32, 24), place=lambda: place, **given)
    data.source = Counting(data.source)
    data.setup()
    pixels, names = [], []
    for batch in data.predict_dataloader():
        pixels += list(batch.crops.permute(0, 2, 3, 1).numpy())
        names += [data.tasks[part.span.image_index].name for part in batch.parts]
    return int(data.source.decoded.sum()), names, pixels, data


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 1, 2, 4])
@pytest.mark.parametrize(("counts", "batch_size"), [([0], 8), ([1], 1), ([1], 64), ([3, 0, 1], 8), ([20], 8)])
def test_frames_are_decoded_once(folder, counts, batch_size, num_workers):
    decoded, names, pixels, data = run_of(folder, counts, batch_size=batch_size, num_workers=num_workers)
    total = NUM_FRAMES + 60 + 90
    assert len(set(names)) == len(data.tasks) == total
    assert len(pixels) == data.tasks.num_boxes.sum()
    assert total <= decoded <= 1.3 * total


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_have_about_the_same_to_decode_and_together_no_more(folder, world_size):
    runs = [run_of(folder, [2, 1], num_workers=1, place=Place(rank, world_size)) for rank in range(world_size)]
    decoded, total = [run[0] for run in runs], NUM_FRAMES + 60 + 90
    assert sorted(name for run in runs for name in set(run[1])) == sorted(runs[0][3].tasks.names)
    assert sum(decoded) <= 1.3 * total
    assert max(decoded) <= 1.35 * total / world_size  # a stretch of 60 frames is somebody's


@pytest.mark.slow
def test_each_frame_gives_its_own_pixels_whoever_reads_it(folder):
    crops = {}
    for num_workers in (0, 3):
        data = ImageDataModule(str(folder), boxed([1]), input_hw=(32, 24), batch_size=7, num_workers=num_workers)
        data.setup()
        for batch in data.predict_dataloader():
            for crop, index in zip(batch.crops, batch.image_indices.tolist()):
                crops.setdefault(data.tasks[index].name, []).append(crop.numpy())
    assert len(crops) == NUM_FRAMES + 60 + 90
    assert all(len(both) == 2 and np.array_equal(*both) for both in crops.values())


def test_stretches_of_the_long_clip_are_dealt_in_pieces(folder):
    pictures = ImageDataModule(str(folder), boxed([1])).pictures()
    sizes = np.diff(pieces(pictures))
    assert sizes.sum() == len(pictures.names) and sizes.max() <= 60 and len(sizes) >= 8
