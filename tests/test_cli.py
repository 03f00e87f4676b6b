"""The installed command: which command it becomes, what it completes, and what the help says of settings."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from sapiens_pl import __version__
from sapiens_pl.cli import COMMANDS, usage
from sapiens_pl.core.configs import config_folder
from sapiens_pl.run.health import FAULT, GOOD, examine


def cli(*arguments, line=None):
    environment = os.environ | ({} if line is None else {"COMP_LINE": line, "COMP_POINT": str(len(line))})
    command = [sys.executable, "-m", "sapiens_pl.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


def completed(line):
    return cli("-sc", "query=bash", line=line).stdout.split()


@pytest.mark.slow
def test_the_version_and_the_list_of_commands():
    assert cli("--version").stdout.split() == ["sapiens_pl", __version__]
    told, alone = cli("--help"), cli()
    assert told.returncode == 0 and alone.returncode == 2
    assert told.stdout == alone.stdout == usage() + "\n" and all(f"\n  {name}" in told.stdout for name in COMMANDS)


@pytest.mark.parametrize(
    ("word", "said"),
    [("predcit", "did you mean predict?"), ("data.images=x", "sapiens-pl predict data.images=x"), ("x\n", "there are")],
)
def test_what_is_no_command_is_refused_in_a_line(word, said):
    refused = cli(word)
    assert refused.returncode == 2 and said in refused.stderr and len(refused.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there_and_explains_itself(name):
    ran = cli(name, "--help") if name != "models" else cli(name)
    assert ran.returncode == 0 and len(ran.stdout.splitlines()) > 2 and not ran.stderr


@pytest.mark.slow
def test_a_command_has_its_arguments_and_its_exit_code():
    refused = cli("predict", "data.batchsize=3")
    assert refused.returncode == 2 and "did you mean data.batch_size?" in refused.stderr


@pytest.mark.slow
def test_commands_settings_and_choices_are_completed():
    assert completed("sapiens-pl ") == [*COMMANDS] and completed("sapiens-pl ev") == ["evaluate"]
    assert completed("sapiens-pl predict data.batch") == ["data.batch_size="]
    assert {"boxes=coco", "boxes=csv"} == {*completed("sapiens-pl predict data.batch_size=3 boxes=c")}
    assert completed("sapiens-pl make out") == []  # files, which the shell completes itself
    assert {"boxes=auto"} == {
        each for each in completed("sapiens-pl predict boxes=") if each.startswith(("boxes=_", "boxes=a"))
    }


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_take_the_script(shell):
    told = cli("completion", shell)
    assert told.returncode == 0 and "sapiens-pl" in told.stdout
    if shell == "bash":
        tried = f"{told.stdout}\nCOMP_LINE='sapiens-pl ev'; COMP_POINT=13; sapiens-pl() {{ echo evaluate make; }}\n"
        ran = subprocess.run(
            ["bash", "-c", f"{tried}_sapiens_pl; echo ${{COMPREPLY[*]}}"], capture_output=True, text=True
        )
        assert ran.stdout.split() == ["evaluate"], ran.stderr
    assert cli("completion", "tcsh").returncode == 2


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish")
def test_fish_completes_files_only_where_there_is_no_choice(tmp_path):
    (tmp_path / "evening.jpg").touch()
    script = f"{cli('completion', 'fish').stdout}\nfunction sapiens-pl; echo $offered; end"
    for offered, word, completed in (
        ("evaluate", "ev", ["evaluate"]),
        ("", "ev", ["evening.jpg"]),
        ("", "predict boxes.file=ev", ["boxes.file=evening.jpg"]),
    ):
        command = ["fish", "--no-config", "-c", f"set -g offered {offered}\n{script}\ncomplete -C 'sapiens-pl {word}'"]
        ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
        assert ran.stdout.split() == completed, ran.stderr


@pytest.mark.slow
def test_help_offers_no_file_that_others_build_on():
    told = cli("predict", "--help").stdout.partition("Groups and their choices")[2]
    assert "boxes: auto, coco" in told and "products: coco, " in told and not re.search(r"[ ,]_\w", told)


def test_the_help_tells_the_defaults_there_are():
    with initialize_config_dir(config_folder(), version_base="1.3"):
        cfg = compose("predict", return_hydra_config=True, overrides=["output.dir=x"])
    text = cfg.hydra.help.template
    lines = [re.fullmatch(r"  ([a-z_.]+)=(\S*) {2,}.+", line) for line in text.splitlines()]
    told = {match[1]: match[2] for match in lines if match}
    choices = cfg.hydra.runtime.choices
    assert len(told) > 20
    for key, value in told.items():
        if not value.isupper():
            is_group = key in choices
            assert value == (choices[key] if is_group else _shown(OmegaConf.select(cfg, key, default="no such key"))), (
                key
            )


def _shown(value):
    return (
        str(OmegaConf.to_container(value) if OmegaConf.is_list(value) else json.dumps(value))
        .strip('"')
        .replace("'", "")
    )


def test_a_machine_that_can_run_has_no_fault(tmp_path):
    found = {finding.what: finding for finding in examine(tmp_path / "not" / "there", trial=False)}
    assert {"Python", "PyTorch", "CPU", "OpenCV", "disk", "extra video"} <= {*found}
    assert found["disk"].state == GOOD and str(tmp_path) in found["disk"].said
    assert FAULT not in {finding.state for finding in found.values()}


def test_a_folder_that_cannot_be_written_is_a_fault_with_a_remedy(tmp_path):
    found = {finding.what: finding for finding in examine(tmp_path.__class__("/proc"), trial=False)}
    assert found["disk"].state == FAULT and "output.dir" in found["disk"].remedy


@pytest.mark.slow
def test_the_doctor_poses_the_demo_and_says_all_in_json(tmp_path):
    ran = cli("doctor", "--json", "--output", str(tmp_path))
    told = json.loads(ran.stdout)
    (trial,) = [finding for finding in told["findings"] if finding["what"] == "trial run"]
    assert ran.returncode == 0 and told["fit"] and trial["state"] == GOOD and "posed 6 images" in trial["said"]
    assert "%" in trial["said"] and not [*tmp_path.iterdir()]
