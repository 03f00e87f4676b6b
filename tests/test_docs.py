"""What `docs/` shows can be run: manifests parse, and every setting in them is one of ours."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from composed import composed

from sapiens_pl.run.engines import SIZE, share_of
from sapiens_pl.run.settings import check_settings

DOCS = Path(__file__).parents[1] / "docs"
OURS = re.compile(r"(?:data|boxes|model|trainer|output|hydra\.run|tracking|smoothing|experiment|products)[a-z_.]*=\S+")


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / f"{page}.md").read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def check_overrides(overrides: list[str]) -> None:
    assert len(overrides) > 4 and any(each.startswith("output.dir=") for each in overrides)
    own = [each.replace("$NUM_SHARDS", "20").replace("$SHARD", "7") for each in overrides]
    cfg = composed("predict", [each for each in own if not each.startswith("hydra.")] + ["output.dir=outputs/run"])
    cfg.data.images = None  # which are not here
    check_settings(cfg)


def settings_in(script: str) -> list[str]:
    return [word for word in shlex.split(script, comments=True) if OURS.fullmatch(word)]


def test_the_kubernetes_job_is_indexed_and_knows_its_size():
    job = yaml.safe_load(blocks("many-machines", "yaml")[0])
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    check_overrides(container["args"])
    variables = {each["name"]: each["value"] for each in container["env"]}
    assert spec["completionMode"] == "Indexed" and spec["backoffLimitPerIndex"] and pod["restartPolicy"] == "Never"
    assert variables[SIZE] == str(spec["completions"]) and spec["parallelism"] <= spec["completions"]
    data = composed("predict", container["args"][:1]).data
    assert share_of(data, variables | {"JOB_COMPLETION_INDEX": "19"})[:2] == (20, 19)
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    (by_exit_code,) = [rule for rule in spec["podFailurePolicy"]["rules"] if "onExitCodes" in rule]
    assert by_exit_code["onExitCodes"]["values"] == [2]
    assert by_exit_code["onExitCodes"]["containerName"] == container["name"]


def test_the_aws_batch_job_definition_has_our_settings():
    (definition,) = map(json.loads, blocks("many-machines", "json"))
    container = definition["containerProperties"]
    check_overrides(container["command"])
    assert {mount["sourceVolume"] for mount in container["mountPoints"]} == {"data"}
    assert [rule["action"] for rule in definition["retryStrategy"]["evaluateOnExit"]] == ["EXIT", "RETRY"]


def test_the_slurm_script_has_our_settings():
    (script,) = [text for text in blocks("many-machines", "bash") if "#SBATCH" in text]
    check_overrides(settings_in(script))


def test_the_skypilot_task_has_our_settings():
    task = yaml.safe_load(blocks("many-machines", "yaml")[1])
    check_overrides(settings_in(task["run"]))
    assert set(re.findall(r"\$(\w+)", task["run"])) <= set(task["envs"])
    assert subprocess.run(["bash", "-n"], input=task["run"], text=True).returncode == 0


@pytest.mark.parametrize("page", sorted(path.stem for path in DOCS.glob("*.md")))
def test_scripts_are_valid(page):
    for script in blocks(page, "bash"):
        checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
        assert checked.returncode == 0, checked.stderr
    for script in blocks(page, "python"):
        compile(script, page, "exec")
