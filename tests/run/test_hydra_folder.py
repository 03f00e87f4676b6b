"""Where Hydra writes: in the run's folder, whichever setting names it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import COCO
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from sapiens_pl.core.configs import config_folder
from sapiens_pl.records.scratch import scratch_folder
from sapiens_pl.run.hydra_folder import follow_output_dir, keep_jobs_in_the_run


def hydras(*overrides):
    follow_output_dir()
    with initialize_config_dir(config_folder(), version_base="1.3"):
        return compose("predict", [*overrides], return_hydra_config=True).hydra


@pytest.mark.slow
def test_hydras_folder_follows_output_dir(tmp_path):
    assert hydras("output.dir=runs/x").run.dir == "runs/x"
    assert hydras("output.dir=runs/${data.batch_size}").run.dir == "runs/8"
    assert hydras("hydra.run.dir=runs/y").run.dir == "runs/y"
    assert hydras("hydra.run.dir=runs/y", "output.dir=runs/x").run.dir == "runs/y"
    for unusable in ([], ["output.dir=null"], ["output.dir=5"]):  # these are refused in the run's words
        assert hydras(*unusable).run.dir.startswith("outputs/")
    url = hydras("output.dir=memory://a/b", f"output.scratch={tmp_path}")
    assert url.run.dir == str(scratch_folder("memory://a/b", str(tmp_path)))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["-m", "data.shard=0,1", "output.dir=it's here"], "it's here/.jobs/"),
        (["data.shard=0,1", "+output.dir='a, b'", "--multirun"], "a, b/.jobs/"),
        (["-m", "data.batch_size=1,2"], None),
        (["-m", "output.dir=a,b"], None),
        (["-m", "output.dir=run/${data.batch_size}"], None),
        (["-m", "output.dir=run", "hydra.sweep.dir=there"], None),
        (["-m", "output.dir=s3://bucket/run"], None),
        (["output.dir=run"], None),
    ],
)
def test_jobs_that_share_a_folder_leave_all_in_there(given, kept, monkeypatch):
    if "it's" in str(given):
        given = [each.replace("it's here", "'it\\'s here'") for each in given]
    monkeypatch.setattr(sys, "argv", ["predict", *given])
    keep_jobs_in_the_run()
    own = sys.argv[1 : len(sys.argv) - len(given)]
    assert sys.argv[len(sys.argv) - len(given) :] == given
    if kept is None:
        assert not own
    else:
        override = OverridesParser.create().parse_override(own[0])
        assert override.key_or_group == "hydra.sweep.dir" and override.value().startswith(kept)


@pytest.mark.slow
def test_a_refused_command_leaves_nothing(tmp_path):
    command = [sys.executable, "-m", "sapiens_pl.predict", "data.images=nowhere"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and not done.stdout, done
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("named", ["output.dir=a/b", "hydra.run.dir=c"])
def test_a_refused_command_leaves_no_folder_that_it_was_to_make(forked, tmp_path, named):
    working = tmp_path / "working"
    working.mkdir()
    late = [f"data.images={COCO}", "boxes=detector", "boxes.model=none"]  # the folder is locked by then
    for refused in (["data.images=nowhere"], late):
        assert forked("predict", *refused, "model=demo", named, working=working).code == 2
        assert not [*working.iterdir()]
    place = working / named.partition("=")[2]
    place.mkdir(parents=True)
    assert forked("predict", "data.images=nowhere", "model=demo", named, working=working).code == 2
    assert place.is_dir() and not [*place.iterdir()]


def test_a_folder_that_cannot_be_made_is_told_with_what_to_do(forked, tmp_path):
    (tmp_path / "file").touch()
    refused = forked("predict", "model=demo", "output.dir=file/run")
    assert refused.code == 2 and "file/run cannot be used (Not a directory); choose another output.dir." in refused.err
