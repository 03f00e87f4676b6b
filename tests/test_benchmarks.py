"""The benchmarks work, with tiny networks: those for GPUs too, which are seldom run."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


LONGER = ["stages", "choices", "pipeline", "gpu", "tracking", "video_reading"]


@pytest.mark.parametrize("name", ["stream", *(pytest.param(name, marks=pytest.mark.slow) for name in LONGER)])
def test_a_benchmark_gives_whole_tables(monkeypatch, name):
    if name in ("stages", "gpu"):
        pytest.importorskip("transformers", minversion="5.10")
    if name == "video_reading":
        pytest.importorskip("av")
    if name == "tracking":
        pytest.importorskip("trackeval")
        pytest.importorskip("scipy")
    monkeypatch.syspath_prepend(ROOT)
    results = importlib.import_module(f"benchmarks.{name}").run(quick=True)
    for result in results if isinstance(results, list) else [results]:
        assert result.rows and len({tuple(row) for row in result.rows}) == 1  # every row has all columns


@pytest.mark.slow
def test_the_command_leaves_its_tables(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "batch_sizes", "--quick", "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    table = json.loads((tmp_path / "batch_sizes.json").read_text())
    assert [row["batch"] for row in table["rows"]] == ["1", "2"] and table["machine"]["device"]
    assert "| --- |" in (tmp_path / "batch_sizes.md").read_text()
