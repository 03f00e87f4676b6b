"""What was detected tar by tar: read again for one tar, and not kept in memory."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sapiens_pl.core.columns import Names
from sapiens_pl.core.plan import Pictures, ShardColumns
from sapiens_pl.core.structures import Failure, ListedImage
from sapiens_pl.data import planning
from sapiens_pl.data.datamodule import ImageDataModule
from sapiens_pl.detection.boxes import DetectorBoxes
from sapiens_pl.detection.fcos_small import fcos_small
from sapiens_pl.detection.people_file import Detected
from sapiens_pl.detection.record import DetectionRecord
from sapiens_pl.records.run_folder import RunFolder

ONE = np.array([[1.5, 2.0, 30.0, 40.0, 0.9]])
NUM_TARS, NUM_PICTURES = 12, 5


def record(path):
    folder = RunFolder(path)
    folder.open()
    return DetectionRecord(folder)


def test_what_was_seen_in_a_tar_is_read_with_that_tar_and_with_all(tmp_path):
    seen = record(tmp_path).of_shards(["a/0.tar", "1.tar"])
    for shard in ("a/0.tar", "1.tar"):
        for place in range(2):
            seen.append(shard, ListedImage(f"{shard}/{place}.jpg", 64, 48, None), ONE[place:])
    seen.close()
    torn = tmp_path / "detections" / "shards" / "1.tar.jsonl"
    torn.write_bytes(torn.read_bytes()[:-9])
    assert set(record(tmp_path).of_shards(["1.tar"]).known) == {"1.tar/0.jpg"}
    everything = record(tmp_path)
    everything.read()
    assert set(everything.known) == {"a/0.tar/0.jpg", "a/0.tar/1.jpg", "1.tar/0.jpg"}
    everything.read(of_shards=False)
    assert not everything.known
    # What was edited in the file of all counts for tars, too.
    everything.append(ListedImage("1.tar/0.jpg", 64, 48, None), np.zeros((0, 5)))
    everything.close()
    everything.settle()
    edited = record(tmp_path)
    edited.read(of_shards=False)
    assert len(edited.of_shards(["1.tar"]).known["1.tar/0.jpg"].rows) == 0


class Shards:
    """Names of pictures, none of which is ever read."""

    def __init__(self, numbers=range(NUM_TARS)):
        self._numbers = list(numbers)

    def shard_names(self):
        return [f"{number}.tar" for number in range(NUM_TARS)]

    def shard_stamp(self, number):
        return "stamp"

    def some_shards(self, numbers):
        return Shards(numbers)

    def pictures(self):
        tars = [f"{number}.tar" for number in self._numbers]
        begins = NUM_PICTURES * np.arange(len(tars) + 1)
        names = Names.of(f"{tar}/{place}" for tar in tars for place in range(NUM_PICTURES))
        return Pictures("/shards", names, shards=ShardColumns(Names.of(tars), begins, False))

    def read(self, index):
        raise AssertionError("nobody reads it")


@pytest.mark.slow
def test_many_tars_leave_no_more_in_memory_than_the_last_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "PICTURES_A_PORTION", 1)
    torch.manual_seed(0)
    save_file(fcos_small().state_dict(), tmp_path / "weights.safetensors")
    boxes = DetectorBoxes("fcos_small", str(tmp_path / "weights.safetensors"))
    boxes.in_folder(record(tmp_path))
    alive = []

    def find(source, tasks, note):
        *seen, lost = range(len(tasks))
        for place in seen:
            note(int(tasks.indices[place]), (64, 48), ONE)
        gc.collect()
        alive.append(sum(type(each) is Detected for each in gc.get_objects()))
        return [Failure(tasks.names[lost], None, "UnreadableImageError", "is broken")]

    boxes.find = find
    data = ImageDataModule(__file__, boxes, (6, 8))
    data.source = Shards()
    data.plan_all()
    counts = data.counts
    assert counts.crops == counts.images == NUM_TARS * (NUM_PICTURES - 1) and counts.failed == NUM_TARS
    assert counts.dealt == counts.listed == NUM_TARS * NUM_PICTURES and counts.to_do == counts.listed
    assert len(alive) == NUM_TARS and max(alive) <= 2 * NUM_PICTURES
    assert len(list((tmp_path / "detections" / "shards").iterdir())) == NUM_TARS
