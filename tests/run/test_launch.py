from __future__ import annotations

import pytest
from composed import composed

from sapiens_pl.predict import run_job
from sapiens_pl.run.launch import fit_to_launcher

SRUN = {"SLURM_NTASKS": "2", "SLURM_NNODES": "1", "SLURM_STEP_ID": "0", "SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "x"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "1", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "2"}


@pytest.mark.parametrize("variables", [SRUN, TORCHRUN, SRUN | {"SLURM_NNODES": "2"}])
def test_tasks_share_the_images_of_their_shard(monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    cfg = composed("predict", ["data.num_shards=3", "data.shard=1"])
    assert fit_to_launcher(cfg)[:2] == (3, 1)
    assert cfg.trainer.devices * cfg.trainer.num_nodes == 2 and cfg.trainer.strategy == "ddp"
    assert fit_to_launcher(composed("predict", []))[:2] == (1, 0)


@pytest.mark.parametrize("variables", [{"SLURM_NTASKS": "1"}, TORCHRUN | {"LOCAL_WORLD_SIZE": "1", "WORLD_SIZE": "1"}])
def test_a_shard_in_a_job_of_one_task_stands_alone(monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    fit_to_launcher(composed("predict", ["data.num_shards=2", "data.shard=1"]))


@pytest.mark.parametrize(
    "override, more, sentence",
    [
        ("trainer.devices=3", {}, "srun's --ntasks-per-node says 2; remove trainer.devices"),
        ("trainer.num_nodes=2", {}, "srun's --nodes says 1; remove trainer.num_nodes"),
        ("trainer.devices=auto", {"SLURM_STEP_ID": None}, "put srun before python"),
        ("trainer.devices=auto", {"SLURM_NTASKS": "3", "SLURM_NNODES": "2"}, "as many on each"),
    ],
)
def test_what_srun_and_the_settings_disagree_on_is_told(monkeypatch, tmp_path, capsys, override, more, sentence):
    for name, value in (SRUN | more).items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    code = run_job(composed("predict", [f"output.dir={tmp_path / 'run'}", override]))
    told = capsys.readouterr().err
    assert code == 2 and sentence in told and told.count("\n") == 1
    assert not (tmp_path / "run" / "run.json").exists()
