"""Shards as SLURM, Kubernetes and AWS Batch count them, imitated by the variables that they set."""

from __future__ import annotations

import polars
import pytest
from conftest import check_same
from hydra import compose, initialize_config_dir
from launchers import of_srun, of_torchrun
from omegaconf import OmegaConf
from test_shards import NUM_IMAGES, SLOW_STEP
from test_shards import alone as alone  # fixtures
from test_shards import figures as figures
from test_slurm import srun

from sapiens_pl.core.configs import config_folder
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.predict import run_job
from sapiens_pl.run.engines import share_of


def array(first, last, step, index, count=None):
    names = ("MIN", "MAX", "STEP", "ID", "COUNT")
    values = (first, last, step, index, (last - first) // step + 1 if count is None else count)
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in zip(names, values)}


ENGINES = {
    "slurm": lambda index: array(10, 20, 5, 10 + 5 * index),
    "kubernetes": lambda index: {"JOB_COMPLETION_INDEX": str(index), "SAPIENS_NUM_SHARDS": "3"},
    "aws": lambda index: {"AWS_BATCH_JOB_ARRAY_INDEX": str(index), "AWS_BATCH_JOB_ARRAY_SIZE": "3"},
}
OF_TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "GROUP_WORLD_SIZE": "2"}


def share(environment, num_shards=None, shard=None):
    return share_of(OmegaConf.create({"num_shards": num_shards, "shard": shard}), environment)


@pytest.mark.parametrize(
    "environment, given, expected",
    [
        ({}, (), (1, 0)),
        ({}, (4, 2), (4, 2)),
        (array(0, 9, 1, 3), (), (10, 3)),
        (array(1, 10, 1, 3), (), (10, 2)),  # the index is the position
        (array(1, 9, 2, 7), (), (5, 3)),
        (array(5, 5, 1, 5), (), (1, 0)),
        ({"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "4"}, (), (4, 3)),
        (array(0, 9, 1, 3), (4, 2), (4, 2)),  # what is given counts
        (array(0, 9, 1, 3), (1, None), (1, 0)),
        (array(0, 9, 1, 3), (10, None), (10, 3)),
        ({"JOB_COMPLETION_INDEX": "3", "SAPIENS_NUM_SHARDS": "4"}, (), (4, 3)),
        ({"JOB_COMPLETION_INDEX": "3"}, (4, None), (4, 3)),
        ({"JOB_COMPLETION_INDEX": "1"} | OF_TORCHRUN, (), (1, 0)),  # the pods are nodes of one torchrun
        ({"JOB_COMPLETION_INDEX": "3"}, (1, None), (1, 0)),
        ({"AWS_BATCH_JOB_ARRAY_INDEX": "3", "AWS_BATCH_JOB_ARRAY_SIZE": "4"}, (), (4, 3)),
        ({"AWS_BATCH_JOB_ARRAY_INDEX": "3", "SAPIENS_NUM_SHARDS": "4"}, (), (4, 3)),
    ],
)
def test_a_job_learns_its_share_from_its_engine(environment, given, expected):
    assert share(environment, *given)[:2] == expected


@pytest.mark.parametrize(
    "environment, given, sentence",
    [
        ({}, (4, None), "does not say which of the shards this job does"),
        ({}, (None, 2), "does not say of how many; give data.num_shards too"),
        (array(0, 9, 1, 3), (None, 2), "does not say of how many"),
        ({"SAPIENS_NUM_SHARDS": "4"}, (), "completionMode: Indexed"),
        ({"JOB_COMPLETION_INDEX": "2"}, (), "set SAPIENS_NUM_SHARDS to their number"),
        ({"JOB_COMPLETION_INDEX": "4", "SAPIENS_NUM_SHARDS": "4"}, (), "does not count its jobs from 0 to 3"),
        (
            {"JOB_COMPLETION_INDEX": "two", "SAPIENS_NUM_SHARDS": "4"},
            (),
            "JOB_COMPLETION_INDEX=two is not a whole number",
        ),
        ({"JOB_COMPLETION_INDEX": "0", "SAPIENS_NUM_SHARDS": "-4"}, (), "SAPIENS_NUM_SHARDS=-4 is not a whole number"),
        ({"JOB_COMPLETION_INDEX": "0", "SAPIENS_NUM_SHARDS": "4"}, (8, None), "do not agree on the number of shards"),
        (array(0, 9, 1, 3), (20, None), "data.num_shards=20 and SLURM_ARRAY_TASK_COUNT=10 do not agree"),
        (array(1, 7, 1, 1, count=3), (), "not a regular row of numbers"),  # --array=1,5,7
        (array(1, 7, 1, 7, count=3), (), "not a regular row of numbers"),
        (array(0, 9, 1, 3) | {"JOB_COMPLETION_INDEX": "2"}, (), "are both set"),
        ({}, ("x", None), "shards are counted 0, 1"),
        ({}, (4, 4), "shards are counted 0, 1"),
    ],
)
def test_half_a_share_and_nonsense_are_a_sentence(environment, given, sentence):
    with pytest.raises(ConfigError, match=sentence):
        share(environment, *given)


def test_a_shell_of_a_job_array_does_not_surprise(monkeypatch, tmp_path, capsys):
    """What was taken is told; and with it, why the default name of the folder does not do."""
    for name, value in array(0, 9, 1, 3).items():
        monkeypatch.setenv(name, value)
    with initialize_config_dir(config_folder(), version_base="1.3"):
        code = run_job(compose("predict", ["data.num_shards=20", f"output.dir={tmp_path / 'run'}"]))
    assert code == 2 and "do not agree" in capsys.readouterr().err and not (tmp_path / "run").exists()


@pytest.mark.parametrize("engine", ENGINES)
def test_three_jobs_of_an_engine_of_which_one_is_killed_are_complete_in_the_end(start, predict, figures, alone, engine):
    settings = [*figures, "trainer.accelerator=cpu", "data.num_workers=1"]
    jobs = [ENGINES[engine](index) for index in range(3)]
    victim = start(*settings, environment=jobs[1], inject=SLOW_STEP)
    others = [start(*settings, environment=jobs[index]) for index in (0, 2)]
    victim.wait_until(lambda: "1of3" in str(list((victim.folder / ".processes").glob("*.progress"))))
    victim.kill()
    for other in others:
        ended = other.finish()
        assert ended.code == 0 and "of data.num_shards=3, as the environment says" in ended.out + ended.err, ended.err
    assert 0 < other.count() < NUM_IMAGES + 6
    last = predict(*settings, environment=jobs[1])
    assert last.code == 0 and last.info["status"] == "complete", last.err
    check_same(last.results, alone.results)
    pictures = [
        polars.read_parquet(folder / "records/pictures-*.parquet").select("name", "status").sort("name")
        for folder in (last.folder, alone.folder)
    ]
    assert pictures[0].equals(pictures[1]) and len(pictures[0]) == pictures[0]["name"].n_unique()
    by_shard = {process["shard"]: process["shard_from"] for process in last.info["processes"]}
    assert by_shard[1] == ", ".join(
        f"{name}={text}" for name, text in ENGINES[engine](1).items() if not name.endswith(("MIN", "MAX", "STEP"))
    )


def test_a_job_of_an_array_needs_a_named_folder_and_is_told_why(start, tmp_path):
    begin = "import sys; sys.argv = ['predict.py']"
    run = start(environment=ENGINES["slurm"](1), inject=begin).finish()
    assert run.code == 2 and "hydra.run.dir=" in run.err and run.err.count("\n") == 1, run.err
    assert "SLURM_ARRAY_TASK_ID=15" in run.err and "data.num_shards=1 does all images" in run.err


def test_jobs_of_a_sweep_are_no_shards_whatever_has_started_them(start, mini, tmp_path):
    sweep = ["-m", "data.batch_size=2,4", f"hydra.sweep.dir={tmp_path / 'sweep'}", "data.num_workers=0", *mini]
    run = start(*sweep, environment=ENGINES["slurm"](1)).finish()
    assert run.code == 0 and "SLURM_ARRAY" not in run.out + run.err, run.err
    for job in ("0", "1"):
        assert len(list((tmp_path / "sweep" / job / "predictions").rglob("*.json"))) == 6


def test_tasks_of_srun_share_the_shards_of_a_job_array(start, figures, alone):
    settings = [*figures, "trainer.accelerator=cpu", "data.num_workers=1"]
    for index in (0, 1):
        job = srun(start, settings, **array(0, 1, 1, index), SLURM_JOB_ID=str(4711 + index))
        assert [run.code for run in job] == [0, 0], job[0].err + job[1].err
    processes = job[0].info["processes"]
    assert [(process["shard"], process["rank"]) for process in processes] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert all(process["counts"]["images_done"] for process in processes)
    check_same(job[0].results, alone.results)
    assert job[0].info["status"] == "complete" and job[0].info["counts"] == alone.info["counts"]


def test_tasks_of_torchrun_share_a_shard_that_was_given(start, figures, alone):
    settings = [*figures, "trainer.accelerator=cpu", "data.num_workers=1", "data.num_shards=2"]
    for shard in (0, 1):
        tasks = [start(*settings, f"data.shard={shard}", environment=each) for each in of_torchrun(1, 2)]
        ended = [task.finish() for task in tasks]
        assert [run.code for run in ended] == [0, 0], ended[0].err + ended[1].err
    pictures = polars.read_parquet(ended[0].folder / "records/pictures-*.parquet")["name"]
    expected = polars.read_parquet(alone.folder / "records/pictures-*.parquet")["name"]
    assert sorted(pictures) == sorted(expected)  # none twice, none left out


def test_tasks_of_srun_that_were_given_a_shard_each_are_told_to_share_one(start, mini, figures):
    """Each would do half of its shard, and nobody the other half."""
    settings = [*figures, *mini, "data.num_shards=2"]
    tasks = [start(*settings, f"data.shard={rank}", environment=each) for rank, each in enumerate(of_srun(1, 2))]
    for run in [task.finish() for task in tasks]:
        assert run.code == 2 and "were given different shards (0 of 2, 1 of 2)" in run.err, run.err
        assert not (run.folder / "run.json").exists()
