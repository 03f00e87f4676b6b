"""What goes wrong around a run: its workers, its disk, its device's memory, its own code."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time

import cv2
import numpy as np
import pytest
import torch
from conftest import Run, Started, check_same, hungry
from forked import command_from_a_fork, fork_command, in_a_fork
from mounts import change_disk, mount_disk

from sapiens_pl.core.devices import is_out_of_memory
from sapiens_pl.core.errors import DeviceMemoryError
from sapiens_pl.core.structures import CropBatch
from sapiens_pl.inference.module import PoseModule
from sapiens_pl.models.sapiens import SapiensPose, SapiensShape

KILLER, STICKY = b"this picture crashes decoders", b"this picture is never read to its end"
# A decoder with a fatal bug, and a disk that does not answer: no library here has either at hand.
BAD_DECODER = f"""
import os, signal, time, simplejpeg
decode = simplejpeg.decode_jpeg
def bad_decode(data, *given):
    if data.endswith({KILLER!r}):
        os.kill(os.getpid(), signal.SIGSEGV)
    if data.endswith({STICKY!r}):
        time.sleep(1000)
    return decode(data, *given)
simplejpeg.decode_jpeg = bad_decode
"""
FAILING_STEP = """
from sapiens_pl.inference.module import PoseModule
step = PoseModule.predict_step
def failing_step(self, batch, batch_idx=0):
    if batch_idx == 3:
        raise {error}
    return step(self, batch)
PoseModule.predict_step = failing_step
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """60 small photographs, each a person who fills it."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(3)
    for index in range(60):
        patches = rng.integers(0, 256, (5, 4, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / f"{index:02d}.jpg"), cv2.resize(patches, rng.integers(30, 120, 2).tolist()))
    return folder


@pytest.fixture(scope="module")
def expected(pictures, mini, tmp_path_factory):
    """The results of a run that nothing happens to."""
    folder = tmp_path_factory.mktemp("expected")
    settings = [*mini, f"data.images={pictures}", "boxes=whole_image", "data.num_workers=0", f"hydra.run.dir={folder}"]
    return Started(fork_command(settings, folder, folder / "output"), folder / "output", folder).finish().results


def on(images):
    return [f"data.images={images}", "boxes=whole_image", "data.batch_size=2"]


# Workers


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_dies_or_hangs_costs_nothing(start, pictures, mini, expected, number):
    run = start(*mini, *on(pictures), "data.num_workers=2", "data.read_timeout=2", inject=SLOW_READ)
    run.wait_until(lambda: run.count() > 5 and run.children())
    os.kill(run.children()[0], number)
    done = run.finish()
    assert done.code == 0 and not done.failures and "Traceback" not in done.err, done.err
    check_same(done.results, expected, 100)


SLOW_READ = """
import time, sapiens_pl.pictures.folder as m
read = m.read_image
m.read_image = lambda *given: (time.sleep(0.05), read(*given))[1]
"""


def test_pictures_that_crash_or_block_their_reader_are_recorded_and_the_rest_goes_on(
    predict, pictures, mini, expected, tmp_path
):
    images = tmp_path / "images"
    shutil.copytree(pictures, images)
    whole = (pictures / "00.jpg").read_bytes()
    for name, ending in (("05_killer.jpg", KILLER), ("17_sticky.jpg", STICKY), ("40_killer.jpg", KILLER)):
        (images / name).write_bytes(whole + ending)
    run = predict(*mini, *on(images), "data.num_workers=2", "data.read_timeout=2", inject=BAD_DECODER)
    assert run.code == 0 and "Traceback" not in run.err, run.err
    assert {row["image"]: row["error"] for row in run.failures} == {
        "05_killer.jpg": "ReaderDiedError",
        "17_sticky.jpg": "ReadTimeoutError",
        "40_killer.jpg": "ReaderDiedError",
    }
    assert "SIGSEGV" in run.failures[0]["message"] and "data.read_timeout" in run.failures[1]["message"]
    check_same(run.results, expected, 100)


def test_workers_that_always_die_end_the_run_with_a_sentence(predict, pictures, mini):
    inject = "import os, sapiens_pl.data.crops as m\nm.CropCutter.batch = lambda self, images: os._exit(1)"
    run = predict(*mini, *on(pictures), "data.num_workers=2", inject=inject)
    assert run.code == 1 and "Traceback" not in run.err
    assert run.err.strip().splitlines()[-1].startswith("error: A loader process died, 8 times in a row")
    assert run.info["status"] == "failed" and "ReadersLostError" in run.info["error"]


# The device's memory


class _Hungry(torch.nn.Module):
    """A network that runs out of memory above `limit` crops."""

    def __init__(self, network: SapiensPose, limit: int, error: Exception) -> None:
        super().__init__()
        self.network, self.limit, self.error, self.sizes = network, limit, error, []
        self.crop_settings, self.keypoint_set = network.crop_settings, network.keypoint_set

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(crops))
        if len(crops) > self.limit:
            raise self.error
        return self.network(crops)


OUT_OF_MEMORY = [
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("HIP out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("MPS backend out of memory (MPS allocated: 17.9 GB)"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("could not create a primitive"),
    MemoryError(),
]


@pytest.mark.parametrize("flip_indices", [None, list(range(17))])
@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__ + str(error)[:12])
def test_out_of_memory_halves_the_working_batch_for_good(error, flip_indices, caplog):
    torch.manual_seed(0)
    network = SapiensPose(SapiensShape(8, 1, 2, 16, (8, 8), (8,), 17, (64, 48)))
    crops = torch.randint(0, 256, (13, 3, 64, 48), dtype=torch.uint8)
    nothing, ones = np.zeros(13, np.int64), np.full((13, 2), 100.0)
    batch = CropBatch(crops, nothing, nothing, np.zeros((13, 4)), ones, ones, [])
    with torch.inference_mode():
        expected = PoseModule(network, flip_indices).predict_step(batch)
        rows = 1 if flip_indices is None else 2  # a crop and its mirror image go through together
        limited = _Hungry(network, 3 * rows, error)
        module = PoseModule(limited, flip_indices)
        for _ in range(2):
            found = module.predict_step(batch)
            near = np.abs(found.keypoints - expected.keypoints).max(axis=2) < 0.01
            assert near.mean() > 0.95  # the others have peaks too flat to be refined
            np.testing.assert_allclose(found.keypoint_scores, expected.keypoint_scores, atol=1e-5)
    assert module.largest_working_batch == 3
    assert limited.sizes == [size * rows for size in [13, 6] + [3] * 4 + [1] + [3] * 4 + [1]]
    assert [record.message for record in caplog.records] == ["Out of memory on cpu: going on with 3 crops at a time."]


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    assert all(map(is_out_of_memory, OUT_OF_MEMORY))
    for error in (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("out of memory"), KeyError(1)):
        assert not is_out_of_memory(error)


POSES = "sapiens_pl.models.sapiens.SapiensPose"


def test_a_run_that_is_short_of_memory_gives_the_same_results(predict, pictures, mini, expected):
    run = predict(*mini, *on(pictures), "data.batch_size=16", inject=hungry(POSES, 5))
    assert run.code == 0 and run.info["largest_working_batch"] == 4, run.err
    assert (run.out + run.err).count("going on with 4 crops at a time") == 1
    check_same(run.results, expected, 100)


def test_a_single_crop_that_does_not_fit_is_a_sentence_with_the_numbers(predict, pictures, mini):
    run = predict(*mini, *on(pictures), inject=hungry(POSES, 0))
    assert run.code == 1 and "Traceback" not in run.err
    sentence = run.err.strip().splitlines()[-1]
    assert sentence.startswith("error: A single crop of 48x64 px does not fit into the memory of cpu beside 0.00 GiB")
    assert "Tried to allocate 2.00 GiB" in sentence and DeviceMemoryError.__name__ in run.info["error"]


# The run's own code


@pytest.mark.parametrize("error", ["StopIteration", "ValueError('a bug')", "SystemExit(0)"])
def test_no_exception_in_a_step_passes_for_success(predict, pictures, mini, error):
    run = predict(*mini, *on(pictures), inject=FAILING_STEP.format(error=error))
    assert run.code not in (0, 2), run.out
    assert run.info["status"] == "failed" and 0 < len(run.results) < 60
    again = predict(*mini, *on(pictures))
    assert again.code == 0 and len(again.results) == 60


def test_a_lack_of_threads_is_told_in_a_sentence(predict, pictures, mini):
    run = predict(*mini, *on(pictures), inject=FAILING_STEP.format(error='RuntimeError("can\'t start new thread")'))
    assert run.code == 1 and "Traceback" not in run.err, run.err
    sentence = run.err.strip().splitlines()[-1]
    assert "no further process or thread" in sentence and "ulimit -u" in sentence and sentence.endswith("again.")


def test_an_exception_in_a_writer_does_not_either(predict, pictures, mini):
    inject = "from sapiens_pl.records.recorder import Recorder\nRecorder.append = lambda *given: next(iter(()))"
    run = predict(*mini, *on(pictures), inject=inject)
    assert run.code == 1 and run.info["status"] == "failed" and not run.results


def test_an_exception_in_a_product_costs_that_product_only(predict, pictures, mini):
    inject = "from sapiens_pl.products.json_files import JsonFiles\nJsonFiles.content = lambda *given: next(iter(()))"
    run = predict(*mini, *on(pictures), "output.formats=[json,csv]", inject=inject)
    assert run.code == 0 and run.info["counts"]["images_done"] == 60 and not run.results, run.err
    assert len(run.failures) == 60 and {line["product"] for line in run.failures} == {"json"}
    assert (run.folder / "keypoints.csv").is_file()


def test_too_many_failures_end_the_run(predict, pictures, mini, tmp_path):
    images = tmp_path / "images"
    shutil.copytree(pictures, images)
    for index in range(10):
        (images / f"{index:02d}_broken.jpg").write_bytes(b"text")
    run = predict(*mini, *on(images), "output.max_failures=4", "data.num_workers=1")
    assert run.code == 1 and "More than 4 images failed (output.max_failures)" in run.out, run.err
    assert run.info["status"] == "failed" and 4 < len(run.failures) < 10 and len(run.results) < 60
    again = predict(*mini, *on(images), "output.max_failures=10")
    assert again.code == 0 and len(again.failures) == 10 and len(again.results) == 60


SLOW_RANK = """
import os, time
from sapiens_pl.inference.module import PoseModule
step = PoseModule.predict_step
def slow_step(self, batch, batch_idx=0):
    if os.environ.get("LOCAL_RANK", "0") == "{rank}":
        time.sleep(0.2)
        if batch_idx == 6:
            {end}
    return step(self, batch)
PoseModule.predict_step = slow_step
"""
TWO_RANKS = ["trainer.devices=2", "trainer.strategy=ddp"]


@pytest.mark.parametrize("end", ["raise ValueError('a bug')", "os.kill(os.getpid(), 9)"])
def test_a_rank_that_breaks_off_alone_is_no_success_and_the_other_finishes_its_share(predict, pictures, mini, end):
    settings = [*mini, *on(pictures), *TWO_RANKS]
    run = predict(*settings, inject=SLOW_RANK.format(rank=1, end=end))
    assert run.code == 1 and "Another process of this run broke off" in run.out, run.err
    assert run.info["status"] == "failed" and len(run.results) == 30 + 12
    again = predict(*settings)
    assert again.code == 0 and len(again.results) == 60, again.err


def test_the_other_rank_finishes_its_share_when_the_first_is_killed(predict, pictures, mini):
    settings = [*mini, *on(pictures), *TWO_RANKS]
    inject = SLOW_RANK.replace('"{rank}":', '"1":').replace("{end}", "os.kill(os.getppid(), 9)")
    run = predict(*settings, inject=inject)
    assert run.code == -9
    end = time.monotonic() + 60
    while len(run.results) < 60 and time.monotonic() < end:
        time.sleep(0.2)
    assert len(run.results) == 60  # rank 0 had done its own before
    again = predict(*settings)
    assert again.code == 0 and again.info["counts"]["images_planned"] == 0, again.err


def test_two_ranks_with_one_image_left(predict, pictures, mini, expected, tmp_path):
    settings = [*mini, *on(pictures), *TWO_RANKS]
    first = predict(*settings)
    assert first.code == 0, first.err
    (tmp_path / "again.txt").write_text("31.jpg\n")
    for left, redo in ((1, [f"output.redo={tmp_path / 'again.txt'}"]), (0, [])):
        again = predict(*settings, *redo)
        assert again.code == 0 and "Traceback" not in again.err, again.err
        assert again.info["counts"]["images_done_before"] == 60 - left
    check_same(again.results, expected, 100)


# The disk


def run_on_a_small_disk(overrides, folder):
    """Exit codes of the command without enough room, once more, and with room; and how many results fitted."""
    disk = folder / "disk"
    disk.mkdir()
    try:
        mount_disk(disk, "size=200k")
    except PermissionError as error:
        return str(error)
    arguments = [*overrides, f"hydra.run.dir={disk / 'run'}"]
    codes = [command_from_a_fork(arguments, folder, folder / name) for name in ("first", "still")]
    fitted = [json.loads(path.read_text()) for path in (disk / "run" / "predictions").rglob("*.json")]
    change_disk(disk, "size=20m")
    codes.append(command_from_a_fork(arguments, folder, folder / "larger"))
    shutil.copytree(disk / "run", folder / "run")
    return codes, len(fitted)


@pytest.mark.slow
def test_a_full_disk_stops_the_run_and_a_larger_one_lets_it_go_on(pictures, mini, expected, tmp_path):
    result = in_a_fork(run_on_a_small_disk, [*mini, *on(pictures), "data.num_workers=1"], tmp_path)
    if isinstance(result, str):
        pytest.skip(result)
    (first, still, larger), fitted = result
    said = {name: (tmp_path / f"{name}.err").read_text() for name in ("first", "still", "larger")}
    sentence = said["first"].strip().splitlines()[-1]
    assert first == 1 and sentence.startswith("error: "), said
    assert "No space left on device" in sentence and "make room" in sentence
    assert still in (1, 2) and "Traceback" not in said["first"] + said["still"], said
    assert 0 < fitted < 60 and larger == 0, said
    check_same(Run(larger, "", "", tmp_path / "run").results, expected, 100)


def run_on_a_read_only_disk(overrides, folder):
    """Exit codes of the command whose Hydra folder, and whose results, are to lie on it."""
    disk = folder / "disk"
    disk.mkdir()
    try:
        mount_disk(disk, "size=200k")
    except PermissionError as error:
        return str(error)
    (disk / "run" / "predictions").mkdir(parents=True)
    change_disk(disk, "ro")
    return [
        command_from_a_fork([*overrides, *where], folder, folder / name)
        for name, *where in (
            ("hydra", f"hydra.run.dir={disk / 'other'}"),
            ("run", f"hydra.run.dir={folder / 'elsewhere'}", f"output.dir={disk / 'run'}"),
        )
    ]


@pytest.mark.slow
def test_a_read_only_folder_is_refused_in_a_sentence(pictures, mini, tmp_path):
    codes = in_a_fork(run_on_a_read_only_disk, [*mini, *on(pictures)], tmp_path)
    if isinstance(codes, str):
        pytest.skip(codes)
    of_hydra, of_run = ((tmp_path / f"{name}.err").read_text() for name in ("hydra", "run"))
    assert codes == [2, 2] and of_hydra.count("\n") == 1, of_hydra + of_run
    assert of_hydra.startswith("error: ") and "disk/other cannot be used (Read-only file system)" in of_hydra
    assert of_run.startswith("error: output.dir=") and "Read-only file system" in of_run, of_run
    assert "Traceback" not in of_run


def test_a_folder_that_vanishes_stops_the_run(start, pictures, mini, expected, tmp_path):
    run = start(*mini, *on(pictures), "data.num_workers=1", inject=SLOW_READ)
    run.wait_until(lambda: run.count() > 5)
    (tmp_path / "run").rename(tmp_path / "moved")  # as a mount that is gone
    stopped = run.finish(timeout=60)
    assert stopped.code == 1 and "Traceback" not in stopped.err
    assert "could not be written (No such file or directory)" in stopped.err.strip().splitlines()[-1]
    assert not (tmp_path / "run" / "predictions").exists()
    (tmp_path / "run").exists() and shutil.rmtree(tmp_path / "run")
    (tmp_path / "moved").rename(tmp_path / "run")
    again = start(*mini, *on(pictures)).finish()
    assert again.code == 0, again.err
    check_same(again.results, expected, 100)
