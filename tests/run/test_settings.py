"""Every kind of setting that cannot work, and every error for people: one sentence and the right exit code."""

from __future__ import annotations

import errno

import pytest
from composed import composed
from conftest import COCO
from slowness import a_third

from sapiens_pl.core import errors
from sapiens_pl.predict import run_job
from sapiens_pl.run import pose_run

REFUSED = {
    "data.num_workers=-1": "data.num_workers=-1 must be a whole number",
    "data.num_workers=a": "data.num_workers=a must be a whole number",
    "data.prefetch_factor=0": "data.prefetch_factor=0 must be a whole number of at least 1",
    "data.batch_size=0": "data.batch_size=0 must be a whole number of at least 1, or auto",
    "data.batch_size=-1": "data.batch_size=-1",
    "data.batch_size=1.5": "data.batch_size=1.5",
    "data.max_megapixels=x": "data.max_megapixels=x must be a number above 0",
    "data.read_timeout=nan": "data.read_timeout=nan must be a number above 0",
    "data.num_shards=1.5": "data.num_shards=1.5 cannot work",
    "data.images=5": "quote the value for Hydra too: \"data.images='5'\"",
    "data.images=[a,b]": "is a list; several paths stand in a text file",
    "trainer.accelerator=cuda": "sapiens-pl doctor says which devices PyTorch can use",
    "data.images={a:1}": "not text but a mapping",
    "data.images=true": "not text but a yes or no",
    "data.images=nowhere": "data.images=nowhere does not exist",
    "boxes.file=5": "boxes.file=5 is not text but a number",
    "annotations=[x]": "annotations=",
    "model.checkpoint=5": "model.checkpoint=5 is not text",
    "model.num_heads=x": "model.num_heads=x must be a whole number",
    "model.compile=x": "model.compile=x must be true or false",
    "output.dir=5": "output.dir=5 is not text",
    "output.dir=null": "output.dir=null names no folder",
    "output.dir=": "output.dir= names no folder",
    "output.formats=[foo]": "output.formats=foo is not a format; choose from",
    "output.max_failures=-1": "output.max_failures=-1 must be a whole number",
    "trainer=null": "trainer=None is not a choice",
    "trainer.devices=x": "trainer.devices=x must be a number of devices",
    "trainer.devices=0": "trainer.devices=0 must be a number of devices",
    "trainer.devices=[]": "trainer.devices=[] must be",
    "trainer.devices=1.5": "trainer.devices=1.5 must be",
    "trainer.accelerator=cpu:0": "trainer.accelerator=cpu:0 must be one of auto, cpu",
    "trainer.precision=foo": "trainer.precision=foo must be one of 32-true",
    "trainer.num_nodes=0": "trainer.num_nodes=0 must be a whole number",
    "trainer.strategy=foo": "strategy='foo'",
    "trainer.logger=foo": "trainer.logger=foo must be true, false",
    "trainer.enable_progress_bar=x": "trainer.enable_progress_bar=x must be true or false",
    "+data.foo=1": "data: got an unexpected keyword argument 'foo'",
    "+trainer.foo=1": "unexpected keyword argument 'foo'",
}


def outcome(overrides, capsys) -> tuple[int, str]:
    code = run_job(composed("predict", overrides))
    return code, capsys.readouterr().err


@pytest.mark.parametrize("override, words", a_third(REFUSED.items()))
def test_a_setting_that_cannot_work_is_one_sentence(mini, tmp_path, capsys, override, words):
    key = override.partition("=")[0]
    usual = [f"data.images={COCO}", "boxes=whole_image", "data.num_workers=0", f"output.dir={tmp_path}", *mini]
    usual = [each for each in usual if each.partition("=")[0] != key]
    usual += ["+boxes.file=null"] if key == "boxes.file" else []
    if override == "trainer=null":
        cfg = composed("predict", usual)
        cfg.trainer = None
        code, err = run_job(cfg), capsys.readouterr().err
    else:
        code, err = outcome([*usual, override], capsys)
    assert code == 2 and words in err and err.count("\n") == 1 and len(err) < 600, err
    assert not (tmp_path / "run.json").exists()


ALL = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.SapiensError)]


@pytest.mark.parametrize(
    "error, code, words",
    [
        *((each("It is so."), 2 if issubclass(each, errors.ConfigError) else 1, "It is so.") for each in ALL),
        (RuntimeError("can't start new thread"), 1, "no further process or thread"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), 1, "no further process or thread"),
        (RuntimeError("could not create a primitive"), 1, "memory ran out"),
        (MemoryError(), 1, "memory ran out"),
        (OSError(errno.EIO, "Input/output error", "/a/b"), 1, "/a/b cannot be used (Input/output error)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_every_error_for_people_is_one_sentence(monkeypatch, capsys, error, code, words):
    def fail(cfg, demo):
        raise error

    monkeypatch.setattr(pose_run, "pose_run", fail)
    found, err = outcome(["output.dir=nowhere"], capsys)
    assert found == code and words in err and err.count("\n") == 1
