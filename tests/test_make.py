"""The command that makes products of a run that has ended."""

from __future__ import annotations

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
from records.made_up import make_records, pose_result
from slowness import a_third

from sapiens_pl import make


@pytest.fixture
def run(tmp_path):
    """A folder with the records of three photographs, one of them gone, and what the run was asked for."""
    (tmp_path / "photographs").mkdir()
    results = []
    for name in ("a.jpg", "b.jpg", "gone.jpg"):
        path = tmp_path / "photographs" / name
        cv2.imwrite(str(path), np.full((480, 640, 3), 90, np.uint8))
        results.append(pose_result(name, 2, path=str(path)))
    path.unlink()
    make_records(tmp_path / "run", results)
    output = {"formats": ["json"], "overlay": False, "overlay_score_threshold": 0.7, "resume": True}
    (tmp_path / "run" / "run.json").write_text(json.dumps({"config": {"output": output, "data": {"images": "x"}}}))
    return tmp_path / "run"


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs the command in this process; gives its exit code and what it has said."""

    def command(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["make", *map(str, arguments)])
        code = make.main()
        said = capsys.readouterr()
        return code, said.out + said.err

    return command


def remembered(run, name):
    return json.loads((run / ".products" / f"{name}.json").read_text())["settings"]


@pytest.mark.slow
def test_it_makes_what_the_run_was_asked_for_or_what_is_named_and_says_which_photographs_are_gone(run, command):
    code, said = command(run)
    assert code == 0 and "json                3 made" in said
    assert sorted(path.name for path in (run / "predictions").iterdir()) == [
        "a.jpg.json",
        "b.jpg.json",
        "gone.jpg.json",
    ]
    code, said = command(run, "formats=[overlay,csv]")
    assert (
        code == 0 and "overlay             2 made, 1 could not be made" in said and "csv                 1 made" in said
    )
    assert "gone.jpg is not there any more; put it back" in said and "json  " not in said
    settings = {"labels": True, "parts": None, "score_threshold": 0.7}
    assert remembered(run, "overlay") == settings  # the run's
    code, said = command(run, "formats=overlay", "output.overlay_score_threshold=0.2")
    assert code == 0 and "overlay             2 made" in said
    assert remembered(run, "overlay") == settings | {"score_threshold": 0.2}
    code, said = command(run, "formats=[overlay]", "overlay_score_threshold=0.2")
    assert code == 1 and "overlay             0 made, 1 could not be made" in said
    lines = [json.loads(line) for line in (run / "failures.jsonl").read_text().splitlines()]
    assert {(line["image"], line["product"]) for line in lines} == {("gone.jpg", "overlay")}


@pytest.mark.parametrize(
    ("settings", "words"),
    a_third(
        [
            (["formats=[overlai]"], "output.formats=overlai is not a format; did you mean overlay? There are coco,"),
            (["formats=[xml,json]"], "output.formats=xml is not a format; choose from coco,"),
            (["formats=3"], "output.formats=3 is not a format"),
            (["fromats=[csv]"], "output.fromats is not a setting; did you mean output.formats?"),
            (["output.resume=true"], "output.resume is not a setting"),
            (["data.batch_size=3"], "data.batch_size is not a setting"),
            (["formats=json,csv"], "if it is a list, write 'formats=[json,csv]'"),
            (["overlay=perhaps"], "output.overlay=perhaps must be true or false"),
            (["formats"], "formats is not a setting; write KEY=VALUE"),
            (["formats=[overlay]", "overlay_score_threshold=high"], "overlay_score_threshold=high must be a number"),
            (["formats=[overlay]", "data.read_timeout=-1"], "data.read_timeout=-1 must be"),
            (["formats=[overlay]", "data.max_megapixels=many"], "data.max_megapixels=many must be"),
            (["tracking=trakcs"], "tracking=trakcs is not a choice; did you mean tracks? There are none, tracks."),
            (["tracking=null"], "tracking must be a choice; see conf/tracking/"),
            (["tracking.max_lost_seconds=-1"], "tracking.max_lost_seconds=-1 must be a number of at least 0."),
            (["smoothing.beta=1"], "smoothing.beta belongs to smoothing=one_euro"),
        ]
    ),
)
def test_a_setting_that_cannot_be_is_a_sentence_and_nothing_is_made(run, command, settings, words):
    code, said = command(run, *settings)
    assert code == 2 and words in said and said.count("\n") == 1, said
    assert not list(run.glob("*/*.jpg*"))


@pytest.mark.slow
def test_folders_that_are_none_of_a_run_or_at_work_are_refused(run, command, tmp_path):
    for folder in (tmp_path / "nothing", tmp_path / "photographs"):
        code, said = command(folder)
        assert code == 2 and f"{folder} holds no records; name the output folder of a run." in said
    assert not (tmp_path / "nothing").exists() and len(list((tmp_path / "photographs").iterdir())) == 2
    (run / "run.json").write_text("{")
    code, said = command(run)
    assert code == 2 and "run.json is damaged" in said
    (run / "run.json").unlink()
    for script, words in ((LOCKED, "is being written by another run"), (MEMBER, "is still running; wait for its end")):
        at_work = subprocess.Popen([sys.executable, "-c", script, run], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        at_work.stdout.readline()
        code, said = command(run)
        at_work.communicate(b"\n")
        assert code == 2 and words in said and not list(run.glob("*/*.jpg.json"))
    assert command(run)[0] == 0  # without run.json by the defaults


def test_what_killed_processes_have_left_half_written_goes(run, command):
    leftovers = [run / f".unfinished-{of}-17-0123abcd" for of in ("make", "0", "2-1")]
    for leftover in leftovers:
        (leftover / "tmp").mkdir(parents=True)
        (leftover / "tmp" / "keypoints.csv").write_text("image,")
    assert command(run, "formats=[csv]")[0] == 0
    assert not list(run.glob(".unfinished-*"))


LOCKED = """
import sys
from pathlib import Path
from sapiens_pl.records.run_lock import RunLock
lock = RunLock(Path(sys.argv[1]) / ".lock")
lock.acquire()
print(flush=True)
sys.stdin.readline()
"""
MEMBER = """
import sys
from pathlib import Path
from sapiens_pl.records.members import Members
Members(Path(sys.argv[1]) / ".processes" / "members-0of1").join(None)
print(flush=True)
sys.stdin.readline()
"""


@pytest.mark.slow
def test_tables_need_neither_torch_nor_lightning(run):
    script = (
        "import sys; from sapiens_pl import make; code = make.main(); "
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'torch', 'lightning', 'matplotlib'})); "
        "sys.exit(code)"
    )
    command = [sys.executable, "-c", script, run, "formats=[json,parquet,csv,coco]"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "[]", done.stderr
