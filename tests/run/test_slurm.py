"""SLURM without a cluster: the array launcher's local executor, and the variables that srun sets."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from conftest import COCO, Run, check_same
from test_shards import free_port

from sapiens_pl.run.command import array_complaint

PEOPLE = [f"data.images={COCO}", "boxes=coco", f"boxes.file={COCO / 'test_coco.json'}"]


@pytest.fixture
def settings(mini):
    return [*PEOPLE, *mini, "trainer.precision=32-true", "data.batch_size=2", "data.num_workers=0"]


@pytest.fixture
def alone(predict, settings):
    run = predict(*settings, folder="alone")
    assert run.code == 0 and len(run.results) > 2, run.err
    return run


def test_an_array_of_jobs_does_one_run(start, settings, alone, tmp_path):
    array = ["experiment=slurm", "hydra/launcher=submitit_local", "data.num_shards=2", "trainer.devices=1"]
    where = [f"output.dir={tmp_path / 'array'}", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    run = start(*array, *settings, *where, fresh=True).finish()
    assert run.code == 0 and "Traceback" not in run.err, run.err
    run = Run(run.code, run.out, run.err, tmp_path / "array")
    check_same(run.results, alone.results, but_one_in=100)
    assert run.info["status"] == "complete" and run.info["processes_ended"] == 2
    assert "fastest" in run.out and "complete" in run.out  # the table of all jobs, here
    assert list((tmp_path / "sweep" / ".submitit").rglob("*_log.out"))

    refused = start(*array, *settings, *where, "data.read_timeout=0", fresh=True).finish()
    assert refused.code == 2 and "Traceback" not in refused.err, refused.err  # though it happened in other processes


def test_a_machine_that_knows_no_slurm_says_so(start, mini, tmp_path):
    no_slurm = f"import os; os.environ['PATH'] = {str(tmp_path)!r}"
    where = [f"output.dir={tmp_path / 'array'}", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    run = start("experiment=slurm", *mini, "data.num_shards=2", *where, inject=no_slurm).finish()
    assert run.code == 2 and run.err.count("\n") == 1 and "Traceback" not in run.out + run.err, run.err
    assert "cannot submit SLURM jobs" in run.err and "without experiment=slurm" in run.err
    sentence, code = array_complaint(FileNotFoundError(2, "No such file or directory", "sbatch")) or ("", 0)
    assert code == 2 and "cannot submit SLURM jobs" in sentence and "sbatch" in sentence


def srun(arguments, folder, nodes, ranks, command=(sys.executable, "-m", "sapiens_pl.predict"), **more):
    """The command as srun would start it on so many nodes, of so many ranks each."""
    common = {
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NAME": "sapiens",
        "SLURM_STEP_ID": "0",
        "SLURM_NTASKS": nodes * ranks,
        "SLURM_NNODES": nodes,
        "SLURM_NTASKS_PER_NODE": ranks,
        "SLURM_NODELIST": "localhost",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": free_port(),
        "GLOO_SOCKET_IFNAME": "lo",
    }
    running = []
    for rank in range(nodes * ranks):
        own = {"SLURM_PROCID": rank, "SLURM_LOCALID": rank % ranks, "SLURM_NODEID": rank // ranks}
        env = os.environ | {key: str(value) for key, value in (common | own | more).items() if value is not None}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        running.append(subprocess.Popen([*command, *arguments], cwd=folder, env=env, text=True, **pipes))
    ended = [(*process.communicate(timeout=240), process.returncode) for process in running]
    return [Run(code, out, err, folder / "srun") for out, err, code in ended]


@pytest.mark.parametrize("nodes, ranks", [(1, 2), (2, 1)])
def test_tasks_of_srun_share_a_run(settings, alone, tmp_path, nodes, ranks):
    runs = srun([*settings, f"hydra.run.dir={tmp_path / 'srun'}"], tmp_path, nodes, ranks)
    assert [run.code for run in runs] == [0, 0], runs[0].err + runs[1].err
    check_same(runs[0].results, alone.results, but_one_in=100)
    assert [process["rank"] for process in runs[0].info["processes"]] == [0, 1]
