from __future__ import annotations

import pytest
from conftest import COCO

SLOW_STEP = """
import time
from sapiens_pl.inference.module import PoseModule
step = PoseModule.predict_step
PoseModule.predict_step = lambda *given: (time.sleep(0.5), step(*given))[1]
"""


@pytest.fixture
def settings(mini):
    return [f"data.images={COCO}", "boxes=coco", f"boxes.file={COCO / 'test_coco.json'}", *mini, "data.num_workers=0"]


def record_of(folder):
    return {path.name: path.read_bytes() for path in (folder / ".hydra").iterdir()}


def test_a_refused_run_leaves_the_record_and_a_run_that_goes_on_replaces_it(start, predict, settings):
    running = start(*settings, "data.batch_size=1", inject=SLOW_STEP)
    running.wait_until(lambda: running.count() > 0)
    record = record_of(running.folder)
    assert record.keys() == {"config.yaml", "hydra.yaml", "overrides.yaml"}
    assert b"data.batch_size=1" in record["overrides.yaml"] and b"checkpoint" in record["config.yaml"]
    in_use = predict(*settings, "data.batch_size=2")
    assert in_use.code == 2 and "being written by another run" in in_use.err, in_use.err
    running.kill()
    other = predict(*settings, "data.batch_size=2", "model.flip_test=true")
    assert other.code == 2 and "made with model.flip_test" in other.err, other.err
    assert record_of(running.folder) == record
    assert predict(*settings, "data.batch_size=2").code == 0
    assert b"data.batch_size=2" in record_of(running.folder)["overrides.yaml"]


def test_a_run_folder_that_hydra_cannot_use_is_a_sentence(predict, settings, tmp_path):
    (tmp_path / "run" / "predict.log").mkdir(parents=True)
    for folder in ("run", "file"):
        (tmp_path / "file").write_text("")
        run = predict(*settings, folder=folder)
        assert run.code == 2 and run.err.count("\n") == 1 and str(tmp_path / folder) in run.err, run.err
