"""What a mapped file loses is read as zeros, where the system would end the process."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

SCRIPT = """
import os, sys, time
from pathlib import Path
import torch
from sapiens_pl.models.mapping import FileMap
from sapiens_pl.models.truncation import zeros_for_what_is_cut_off
path = Path(sys.argv[1])
path.write_bytes(b"\\x01" * 2**22)
weights = FileMap(path).tensor(0, 2**22)
with zeros_for_what_is_cut_off():
    child = os.fork()
    if child == 0:  # without the thread it ends as it would have
        os.truncate(path, 100)
        weights.sum()
    print(os.WTERMSIG(os.waitpid(child, 0)[1]))
    print(weights.sum(dtype=torch.int64).item(), flush=True)
path.write_bytes(b"\\x01" * 2**22)
again = FileMap(path).tensor(0, 2**22)
os.truncate(path, 0)
again.sum()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it does nothing")
def test_zeros_within_the_death_of_the_process_without(tmp_path):
    command = [sys.executable, "-c", SCRIPT, tmp_path / "weights"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == [str(int(signal.SIGBUS)), "100"], done.stderr
    assert done.returncode == -signal.SIGBUS


def test_signals_and_threads_are_as_they_were():
    from sapiens_pl.models.truncation import zeros_for_what_is_cut_off

    before = signal.getsignal(signal.SIGBUS), threading.active_count()
    with zeros_for_what_is_cut_off():
        pass
    assert (signal.getsignal(signal.SIGBUS), threading.active_count()) == before
