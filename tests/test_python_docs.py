"""The page and the notebook about the Python API do what they say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.notebooks import code_cells, run_cells

DOCS = Path(__file__).parents[1] / "docs"
NOTEBOOK = json.loads((DOCS / "python.ipynb").read_text("utf-8"))


@pytest.fixture
def here(tmp_path, monkeypatch, forked):
    """An empty working directory, where the commands that are run are forked."""

    def run(command, **options):
        done = forked(command[2].removeprefix("sapiens_pl."), *command[3:], working=tmp_path)
        assert command[:2] == [sys.executable, "-m"] and options.get("check") and done.code == 0, done.err

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_examples_of_the_page_run(here):
    text = (DOCS / "python.md").read_text("utf-8")
    names: dict = {"__name__": "__main__"}
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 8
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"docs/python.md, example {number}", "exec"), names)
    assert (here / "drawn.jpg").is_file() and len(names["run"]) == 6


@pytest.mark.usefixtures("here")
def test_the_notebook_runs_and_shows_what_it_has_shown():
    again = json.loads(json.dumps(NOTEBOOK))
    run_cells(again)
    for before, now in zip(code_cells(NOTEBOOK), code_cells(again), strict=True):
        assert list(map(kinds, before["outputs"])) == list(map(kinds, now["outputs"])), before["source"]


def kinds(output: dict) -> tuple[str, list[str]]:
    """What an output is; its numbers may differ in their last digits from machine to machine."""
    return output["output_type"], sorted(output.get("data", ()))


def test_the_notebook_is_one_and_no_larger_than_need_be():
    assert NOTEBOOK["nbformat"] == 4 and (DOCS / "python.ipynb").stat().st_size < 1_000_000
    assert len({cell["id"] for cell in NOTEBOOK["cells"]}) == len(NOTEBOOK["cells"])
    for cell in code_cells(NOTEBOOK):
        compile("".join(cell["source"]), "cell", "exec")
    assert "/tmp/" not in json.dumps(NOTEBOOK) and str(Path.home()) not in json.dumps(NOTEBOOK)
