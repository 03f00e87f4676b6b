"""The loader under real faults: too little shared memory, too few open files, crashes that come late, a dead parent."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from forked import in_a_fork
from mounts import mount_disk
from pictures_in_memory import dataset_of_arrays
from torch.utils.data import get_worker_info

from sapiens_pl.core.errors import StoreRefusedError
from sapiens_pl.data.crops import CropCutter
from sapiens_pl.data.dataset import PictureDataset
from sapiens_pl.data.loader import PictureLoader
from sapiens_pl.data.packing import pack_batches
from sapiens_pl.data.transport import Means, fitting
from sapiens_pl.detection.data import ImageCutter

NUM_IMAGES = 24


def dataset_of(kind=PictureDataset, batch_size=4, input_hw=(64, 48), size=(80, 60), num_images=NUM_IMAGES, cutter=None):
    """Pictures from memory, each of one value."""
    arrays = [np.full((*size, 3), value, np.uint8) for value in range(num_images)]
    boxes = [np.array([[0.0, 0.0, size[1], size[0]]])] * num_images
    batches = pack_batches([1] * num_images, batch_size)
    return dataset_of_arrays(arrays, boxes, batches, cutter or CropCutter(input_hw), kind)


def read_all(loader) -> tuple[list[int], list[str]]:
    """The images' values as they came, and the names of those that failed."""
    values, failed = [], []
    for batch in loader:
        pixels = batch.images if hasattr(batch, "images") else batch.crops
        values += [int(each.max()) for each in pixels]
        failed += [failure.image for part in batch.parts for failure in part.failures]
    return values, failed


def read_with_little_shared_memory(options):
    try:
        mount_disk("/dev/shm", options)
    except PermissionError as error:
        return str(error)
    large = {"batch_size": 16, "input_hw": (1024, 768), "num_images": 48}
    crops = PictureLoader(dataset_of(**large), num_workers=2)
    # Of whole images nobody knows before how large they are: 9 MB each.
    images = PictureLoader(dataset_of(size=(2000, 1500), cutter=ImageCutter()), num_workers=2)
    return read_all(crops), crops.means.shared, read_all(images)


@pytest.mark.slow
@pytest.mark.parametrize("options", ["size=64m", "size=64k", "size=4k", "ro"])
def test_with_little_shared_memory_every_batch_arrives(options):
    result = in_a_fork(read_with_little_shared_memory, options)
    if isinstance(result, str):
        pytest.skip(result)
    crops, shared, images = result
    assert crops == (list(range(48)), []) and images == (list(range(NUM_IMAGES)), []), result
    assert not shared or options == "ro"


def test_the_loader_takes_what_fits():
    wanted = Means(4, 2)
    assert fitting(wanted, 10, None) == fitting(wanted, 0, 0) == fitting(wanted, 10, 110) == wanted
    assert fitting(wanted, 10, 109) == Means(4, 1)  # fewer ahead
    assert fitting(wanted, 10, 69) == Means(2, 1)  # fewer workers
    assert fitting(wanted, 10, 39) == Means(4, 1, shared=False)


def read_with_few_open_files():
    used = len(os.listdir("/proc/self/fd"))
    results = []
    for spare in (2, 8, 16, 24):
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + spare, used + 100))
        results.append(read_all(PictureLoader(dataset_of(), num_workers=2)))
    return results


@pytest.mark.slow
def test_with_few_open_files_every_batch_arrives():
    assert in_a_fork(read_with_few_open_files) == [(list(range(NUM_IMAGES)), [])] * 4


class DelayedCrash(PictureDataset):
    """Picture 5 damages its process, which dies so many reads later."""

    reads_left: int | None = None
    delay = 1

    def cut(self, span):
        cls = type(self)
        if cls.reads_left is not None:
            cls.reads_left -= 1
            if cls.reads_left == 0:
                os.kill(os.getpid(), signal.SIGSEGV)
        elif span.image_index == 5 and 5 not in self.condemned:
            cls.reads_left = cls.delay
        return super().cut(span)


@pytest.mark.slow
@pytest.mark.parametrize("delay", [1, 2, 3])
def test_a_crash_that_comes_reads_later_condemns_the_picture_that_caused_it(delay, monkeypatch):
    monkeypatch.setattr(DelayedCrash, "delay", delay)
    values, failed = read_all(PictureLoader(dataset_of(DelayedCrash, batch_size=8), num_workers=1))
    assert failed == ["image 5"] and values == [value for value in range(NUM_IMAGES) if value != 5]


class DiesInWorkers(PictureDataset):
    """No worker survives picture 5; alone it passes, as where there is not memory enough for several."""

    number: signal.Signals

    def cut(self, span):
        if span.image_index == 5 and get_worker_info() is not None:
            os.kill(os.getpid(), self.number)
        return super().cut(span)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_of_a_picture_that_passes_alone_every_time_the_crops_are_taken_from_there(number, monkeypatch):
    monkeypatch.setattr(DiesInWorkers, "number", number, raising=False)
    size = (400, 300)  # more than a pipe holds
    loader = PictureLoader(dataset_of(DiesInWorkers, batch_size=8, input_hw=size, size=size), num_workers=2)
    assert read_all(loader) == (list(range(NUM_IMAGES)), [])


class RefusedAlone(PictureDataset):
    """No worker survives picture 5, and when it is tried alone its store lets nobody in any more."""

    def cut(self, span):
        if span.image_index != 5:
            return super().cut(span)
        if get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGSEGV)
        raise StoreRefusedError("The credentials have expired.")


@pytest.mark.slow
def test_a_store_that_refuses_is_not_blamed_on_the_picture_that_is_tried_alone():
    loader = PictureLoader(dataset_of(RefusedAlone, batch_size=8), num_workers=1)
    with pytest.raises(StoreRefusedError, match=r"^The credentials have expired\.$"):
        read_all(loader)
    assert not loader.dataset.condemned


class UsesThreads(PictureDataset):
    """Cuts with an operation that torch spreads over threads; the first reader of picture 5 is killed."""

    killed: Path

    def cut(self, span):
        crop = torch.rand(1, 3, 300, 300)
        torch.nn.functional.interpolate(crop, size=(1024, 768), mode="bicubic")
        if span.image_index == 5 and not self.killed.exists():
            self.killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().cut(span)


@pytest.mark.slow
def test_a_picture_is_tried_alone_without_the_threads_of_the_main_process(tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.nn.functional.interpolate(torch.rand(4, 3, 300, 300), size=(1024, 768), mode="bicubic")  # they begin
        dataset = dataset_of(UsesThreads)
        dataset.killed = tmp_path / "killed"
        values, failed = read_all(PictureLoader(dataset, num_workers=2, read_timeout=20))
    finally:
        torch.set_num_threads(threads)
    assert dataset.killed.exists() and not failed and values == list(range(NUM_IMAGES))


class Stuck(PictureDataset):
    """Never comes back from a read; says who it is."""

    noted: Path

    def cut(self, span):
        (self.noted / str(os.getpid())).touch()
        time.sleep(1000)


def test_workers_that_are_stuck_in_a_read_end_with_a_killed_parent(tmp_path):
    dataset = dataset_of(Stuck)
    dataset.noted = tmp_path
    parent = os.fork()
    if parent == 0:
        next(iter(PictureLoader(dataset, num_workers=2)))
        os._exit(0)
    end = time.monotonic() + 60
    while len(workers := [int(path.name) for path in tmp_path.iterdir()]) < 2:
        assert time.monotonic() < end, "they do not begin"
        time.sleep(0.05)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    while any(map(is_running, workers)):
        assert time.monotonic() < end, "they live on"
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
