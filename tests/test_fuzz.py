"""A short run of `benchmarks.fuzz`: whatever a file holds, it is read or refused in one sentence."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from pathlib import Path

import pytest

import sapiens_pl

sys.path.insert(0, str(Path(sapiens_pl.__file__).parents[1]))
from benchmarks import fuzz as fuzzing
from benchmarks.fuzz_samples import KINDS, Kind
from sapiens_pl.core.errors import CheckpointError

TRIALS = {"pose": 50, "detector": 25, "detector_folder": 15, "boxes": 150, "pictures": 100}


@pytest.mark.parametrize("name", KINDS)
def test_damaged_and_crafted_files_are_read_or_refused_in_a_sentence(tmp_path, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples = KINDS[name].samples(tmp_path)
        if not samples:
            pytest.skip("needs transformers")
        numbers = [number for number in range(TRIALS[name]) if number % 25]  # the bombs have a test of their own
        trials = [fuzzing.try_one(KINDS[name], samples, 7, number, tmp_path) for number in numbers]
    assert not [trial.complaint for trial in trials if trial.complaint]
    assert sum(trial.refused for trial in trials) / len(trials) > 0.2
    assert max(trial.grown_mb for trial in trials) < 200


@pytest.mark.slow
def test_the_fuzz_sees_what_it_looks_for(tmp_path, monkeypatch):
    def read(path):
        match int(path.read_bytes()[:1] or b"0"):
            case 1:
                raise ValueError("no sentence")
            case 2:
                os.kill(os.getpid(), signal.SIGKILL)
            case 3:
                signal.pause()
            case 4:
                raise CheckpointError("two\nlines")

    kind = Kind(lambda folder: {str(digit): str(digit).encode() for digit in range(5)}, read)
    monkeypatch.setitem(KINDS, "odd", kind)
    monkeypatch.setattr(fuzzing, "HANG_SECONDS", 1.5)
    monkeypatch.setattr(fuzzing, "mutated", lambda rng, content, other: content)
    account = fuzzing.fuzz("odd", 9, 0, tmp_path)
    said = " ".join(account.complaints)
    for words in ("ValueError: 'no sentence'", f"ends with {-signal.SIGKILL}", "it hangs", "two\\nlines"):
        assert words in said
    assert account.num_trials > len(account.complaints) > 0
