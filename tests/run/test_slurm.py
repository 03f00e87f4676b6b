"""SLURM without a cluster: the array launcher's local executor, and the variables that srun sets."""

from __future__ import annotations

import pytest
from conftest import COCO, Run, check_same
from launchers import of_srun

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
    run = start(*array, *settings, *where).finish()
    assert run.code == 0 and "Traceback" not in run.err, run.err
    run = Run(run.code, run.out, run.err, tmp_path / "array")
    check_same(run.results, alone.results, but_one_in=100)
    assert run.info["status"] == "complete" and run.info["processes_ended"] == 2
    assert "fastest" in run.out and "complete" in run.out  # the table of all jobs, here
    assert list((tmp_path / "sweep" / ".submitit").rglob("*_log.out"))

    refused = start(*array, *settings, *where, "data.num_shards=1", "data.read_timeout=0").finish()
    assert refused.code == 2 and "Traceback" not in refused.err, refused.err  # though it happened in another process


def test_a_machine_that_knows_no_slurm_says_so(start, mini, tmp_path):
    no_slurm = f"import os; os.environ['PATH'] = {str(tmp_path)!r}"
    where = [f"output.dir={tmp_path / 'array'}", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    run = start("experiment=slurm", *mini, "data.num_shards=2", *where, inject=no_slurm).finish()
    assert run.code == 2 and run.err.count("\n") == 1 and "Traceback" not in run.out + run.err, run.err
    assert "cannot submit SLURM jobs" in run.err and "without experiment=slurm" in run.err
    sentence, code = array_complaint(FileNotFoundError(2, "No such file or directory", "sbatch")) or ("", 0)
    assert code == 2 and "cannot submit SLURM jobs" in sentence and "sbatch" in sentence


def srun(start, settings, **more):
    """The command as two tasks of srun, of which `more` says what else their environment has."""
    tasks = [start(*settings, environment=each) for each in of_srun(1, 2, **more)]
    return [task.finish() for task in tasks]


def test_tasks_of_srun_share_a_run(start, settings, alone):
    """Each a process of its own from the beginning, as srun starts them."""
    tasks = [start(*settings, environment=each, fresh=True) for each in of_srun(nodes=1, ranks=2)]
    check_shared([task.finish() for task in tasks], alone)


def test_tasks_of_srun_on_two_nodes_share_a_run(start, settings, alone):
    tasks = [start(*settings, environment=each) for each in of_srun(nodes=2, ranks=1)]
    check_shared([task.finish() for task in tasks], alone)


def check_shared(runs, alone):
    assert [run.code for run in runs] == [0, 0], runs[0].err + runs[1].err
    check_same(runs[0].results, alone.results, but_one_in=100)
    assert [process["rank"] for process in runs[0].info["processes"]] == [0, 1]
