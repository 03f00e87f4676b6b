"""What is not imported: who asks for help, mistypes a setting or lists files waits for neither torch nor Lightning."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow
LARGE = ["torch", "torchvision", "lightning", "matplotlib", "pandas", "transformers", "scipy", "pyarrow.dataset"]
EACH = """
import contextlib, importlib, io, json, os, sys
import sapiens_pl
told = {}
def outcome(command, arguments):
    sys.argv = [command, *arguments]
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            code = importlib.import_module(command).main()
        except SystemExit as end:
            code = end.code
    return [code or 0, out.getvalue(), [name for name in LARGE if name in sys.modules]]
found = [[0, "", [name for name in LARGE if name in sys.modules]]]
found += [outcome(*each) for each in json.loads(sys.stdin.read())]
print(json.dumps(found))
"""
PREDICT, EVALUATE = "sapiens_pl.predict", "sapiens_pl.evaluate"
CASES = {
    "import sapiens_pl": None,
    "help": (PREDICT, ["--help"], 0, "Groups and their choices"),
    "the configuration": (PREDICT, ["--cfg", "job"], 0, "batch_size: 8"),
    "a mistyped key": (PREDICT, ["data.batchsize=3"], 2, "did you mean data.batch_size?"),
    "a mistyped group": (PREDICT, ["boxs=coco"], 2, "did you mean boxes"),
    "a mistyped choice": (PREDICT, ["model=sapiens_1b"], 2, "sapiens_1b_308"),
    "no setting at all": (PREDICT, ["photos/"], 2, "write KEY=VALUE"),
    "an unusable batch size": (PREDICT, ["data.batch_size=x"], 2, "data.batch_size=x must be a whole number"),
    "an unusable threshold": (PREDICT, ["boxes.score_threshold=x"], 2, "boxes.score_threshold=x must be a number"),
    "an unusable rule": (PREDICT, ["boxes=csv", "boxes.exif=up"], 2, "boxes.exif=up must be upright or raw"),
    "an unusable size": (PREDICT, ["model.input_hw=[100,80]"], 2, "model.input_hw=[100, 80] must be multiples of 16"),
    "an unusable crop": (PREDICT, ["model=sapiens2", "model.crop.box_padding=0"], 2, "model.crop.box_padding=0 must"),
    "an unusable precision": (PREDICT, ["trainer.precision=half"], 2, "trainer.precision=half must be one of"),
    "an unknown format": (PREDICT, ["output.formats=[jsn]"], 2, "did you mean json?"),
    "a base for a choice": (PREDICT, ["boxes=_file"], 2, "choose one of conf/boxes/"),
    "an option between settings": (PREDICT, ["data.shard=0", "--cfg", "job", "data.batch_size=7"], 0, "batch_size: 7"),
    "no option": (PREDICT, ["--batch-size", "4"], 2, "settings have no dashes"),
    "no such images": (PREDICT, ["data.images=nowhere/"], 2, "data.images=nowhere/ does not exist"),
    "images and no model": (PREDICT, ["data.images=."], 2, "no model is chosen"),
    "models": ("sapiens_pl.models.__main__", [], 0, "sapiens_1b_308"),
    "collect": ("sapiens_pl.collect", ["nowhere"], 2, "holds no run.json"),
    "evaluate": (EVALUATE, ["predictions=nowhere", "annotations=x"], 2, "is not an output folder of a run"),
    "evaluate, a run without its key": (EVALUATE, ["run"], 2, "of evaluate predictions=outputs/my_run"),
    "evaluate, a mistyped key": (EVALUATE, ["prediction=nowhere"], 2, "did you mean predictions?"),
}  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Of all cases, one after the other in one process: code, words, and what large is imported by then."""
    cases = [case[:2] for case in CASES.values() if case is not None]
    done = subprocess.run(
        [sys.executable, "-c", f"LARGE = {LARGE}\n{EACH}"],
        input=json.dumps(cases), capture_output=True, text=True, timeout=240, cwd=tmp_path_factory.mktemp("elsewhere"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(zip(CASES, json.loads(done.stdout.splitlines()[-1])))


@pytest.mark.parametrize("name", CASES)
def test_it_is_told_without_torch(outcomes, name):
    (code, said, imported), case = outcomes[name], CASES[name]
    assert not imported
    if case is not None:
        assert code == case[2] and case[3] in said and "Traceback" not in said, said
