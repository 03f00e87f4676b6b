"""`data.batch_size=auto`: what it finds, what it respects, and what it remembers."""

from __future__ import annotations

import json

import pytest
import torch
from conftest import COCO, check_same

from sapiens_pl.core.devices import host_peak_gib, reset_peak
from sapiens_pl.inference.batch_size import measure, smallest_good_enough

CPU = torch.device("cpu")
ENOUGH = 1e6


def test_the_smallest_batch_near_the_best_speed_is_taken():
    assert smallest_good_enough({1: 50.0, 4: 96.9, 8: 97.1, 16: 100.0}) == 8
    assert smallest_good_enough({}) is None


def test_the_search_ends_where_larger_batches_gain_nothing():
    tried = []

    def seconds_a_pass(size):  # 8 crops cost as much as one, and from there on each costs the same
        tried.append(size)
        return max(size, 8) / 100

    found = measure(seconds_a_pass, CPU, ENOUGH)
    assert found["batch_size"] == 8 and tried == [1, 2, 4, 8, 16, 32]
    assert found["crops_per_second"] == {"1": 12.5, "2": 25, "4": 50, "8": 100, "16": 100, "32": 100}


def test_memory_that_runs_out_ends_the_search():
    def seconds_a_pass(size):
        if size > 4:
            raise RuntimeError("CUDA error: out of memory")
        return 1e-6

    found = measure(seconds_a_pass, CPU, ENOUGH)
    assert found["batch_size"] == 4 and found["stopped_by_gib"] == ENOUGH

    def broken(size):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        measure(broken, CPU, ENOUGH)


@pytest.mark.slow
def test_the_memory_ceiling_holds():
    tried = []

    def seconds_a_pass(size):  # 64 MiB a crop
        tried.append(size)
        torch.ones(size * 2**24).sum()
        return 1e-6

    reset_peak(CPU)  # what other tests have held here
    torch.ones(8 * 2**24).sum()  # so that memory the allocator keeps is there before
    ceiling = host_peak_gib() + 0.6
    found = measure(seconds_a_pass, CPU, ceiling)
    assert 1 <= found["batch_size"] <= 16 and found["stopped_by_gib"] == ceiling
    assert max(tried) <= 16  # what would not fit is not even tried
    assert found["peak_gib"] <= ceiling


def test_a_run_finds_its_batch_size_once(predict, mini, tmp_path):
    settings = [*mini, f"data.images={COCO}", "boxes=whole_image", "data.num_workers=0"]
    home = f"import os; os.environ['XDG_CACHE_HOME'] = {str(tmp_path)!r}"
    fixed = predict(*settings, "data.batch_size=1", folder="fixed")
    first = predict(*settings, "data.batch_size=auto", inject=home, folder="first")
    assert first.code == 0 and "data.batch_size=auto: " in first.out, first.err
    found = first.info["batch_size"]
    assert found in [2**power for power in range(10)]
    check_same(first.results, fixed.results, but_one_in=100)

    cache = tmp_path / "sapiens_pl" / "batch_sizes.json"
    ((key, entry),) = json.loads(cache.read_text()).items()
    assert entry["batch_size"] == found and "32-true" in key
    cache.write_text(json.dumps({key: entry | {"batch_size": 3}}))  # as only a reader of the file would know
    assert predict(*settings, "data.batch_size=auto", inject=home, folder="again").info["batch_size"] == 3
    flipped = predict(*settings, "data.batch_size=auto", "model.flip_test=true", inject=home, folder="flipped")
    assert flipped.code == 0 and len(json.loads(cache.read_text())) == 2  # another question, another answer
    cache.write_text("{ torn")
    tight = predict(*settings, "data.batch_size=auto", "data.max_memory_gib=0.001", inject=home, folder="tight")
    assert tight.code == 0 and tight.info["batch_size"] == 1, tight.err


@pytest.mark.parametrize("override", ["data.batch_size=automatic", "data.max_memory_gib=0"])
def test_what_is_no_batch_size_is_refused(predict, mini, override):
    run = predict(*mini, f"data.images={COCO}", "boxes=whole_image", "data.batch_size=auto", override)
    assert run.code == 2 and override.split("=")[0] in run.err and run.err.count("\n") == 1, run.err
