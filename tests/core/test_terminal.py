"""What stands behind the standard streams decides nothing: real pipes that nobody reads, and a full disk."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from conftest import COCO, Run

from sapiens_pl import demo
from sapiens_pl.core.terminal import printable

OUT, ERR = 1, 2


def turn_away(*numbers: int, to: str) -> str:
    """Code that puts what nobody can write to behind the standard streams."""
    if to == "closed":
        return "\n".join(["import os", *(f"os.close({number})" for number in numbers)])
    if to == "pipe":
        where = "reader, writer = os.pipe(); os.close(reader)"
    else:
        where = "writer = os.open('/dev/full', os.O_WRONLY)"
    return "\n".join([f"import os; {where}", *(f"os.dup2(writer, {number})" for number in numbers)])


@pytest.fixture
def settings(mini):
    boxes = ["boxes=coco", f"boxes.file={COCO / 'test_coco.json'}"]
    return [f"data.images={COCO}", *boxes, *mini, "data.num_workers=0"]


@pytest.mark.parametrize(
    "numbers, to, bar",
    [((OUT,), "pipe", False), ((ERR,), "full", True), ((OUT, ERR), "closed", True)],
)
def test_a_run_whose_streams_cannot_be_written_is_complete(predict, settings, numbers, to, bar):
    run = predict(*settings, f"trainer.enable_progress_bar={bar}", inject=turn_away(*numbers, to=to))
    assert run.code == 0 and len(run.results) > 2, run.err
    assert run.info["status"] == "complete" and run.info["counts"]["images_not_reached"] == 0
    assert ("images done" in run.out) == (OUT not in numbers)


def test_an_error_that_nobody_hears_keeps_its_exit_code(predict, settings):
    assert predict(*settings, "data.batch_size=0", inject=turn_away(OUT, ERR, to="full")).code == 2


def test_the_other_commands_end_as_they_would(predict, forked, settings, tmp_path):
    run, target = predict(*settings), tmp_path / "copy.safetensors"
    for module, *arguments in (["collect", str(run.folder)], ["convert", str(demo.CHECKPOINT), str(target)]):
        assert forked(module, *arguments, inject=turn_away(OUT, ERR, to="pipe")).code == 0, module
    assert target.is_file()


@pytest.mark.slow
def test_a_command_whose_streams_are_closed_from_its_first_moment_works(tmp_path):
    target = tmp_path / "copy.safetensors"
    command = [sys.executable, "-m", "sapiens_pl.convert", str(demo.CHECKPOINT), str(target)]
    assert subprocess.run(["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command], timeout=240).returncode == 0
    assert target.is_file()


def test_a_sweeps_table_that_cannot_be_written_ends_nothing(start, settings, tmp_path):
    where = [f"hydra.sweep.dir={tmp_path / 'sweep'}", "-m", "data.batch_size=1,2"]
    run = start(*settings, *where, inject=turn_away(OUT, ERR, to="full")).finish()
    assert run.code == 0 and (tmp_path / "sweep" / "sweep.csv").is_file()
    assert {json.loads((tmp_path / f"sweep/{job}/run.json").read_text())["status"] for job in "01"} == {"complete"}


def test_names_command_no_terminal(predict, mini, tmp_path):
    photos, evil = tmp_path / "photos", "\x1b[2J\x1b]0;owned\x07\rerror: none\nx.psd"
    photos.mkdir()
    (photos / evil).write_bytes(b"x")
    (photos / "\udcff.jpg").write_bytes(b"x")
    run: Run = predict(f"data.images={photos}", "boxes=whole_image", *mini, "data.num_workers=0")
    assert run.code == 1 and "Traceback" not in run.err, run.err
    log = (run.folder / "predict.log").read_text()
    for text in (run.out, run.err, log):
        assert not set(text) & set("\x1b\x07\r")
    assert "\\x1b[2J\\x1b]0;owned\\x07\\rerror: none\\nx.psd" in run.out and "owned" in log
    (photos / "\udcff.jpg").unlink()
    refused = predict(f"data.images={photos}", "boxes=whole_image", *mini)
    assert refused.code == 2 and refused.err.count("\n") == 1 and "\\x1b[2J" in refused.err, refused.err


@pytest.mark.parametrize(
    "text, shown",
    [("écrit (1).jpg", "écrit (1).jpg"), ("a\x1bb", "a\\x1bb"), ("a\u202eb", "a\\u202eb"), ("\udcff", "\\udcff")],
)
def test_printable_text_stays_and_the_rest_stands_as_escapes(text, shown):
    assert printable(text) == shown


def test_a_table_keeps_its_lines():
    assert printable("a\nb\x9b", keep="\n") == "a\nb\\x9b"
