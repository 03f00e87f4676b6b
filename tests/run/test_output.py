"""What follows from where the output goes."""

from __future__ import annotations

import os
import sys
import tarfile
from pathlib import Path

import pytest
from composed import composed
from omegaconf import DictConfig

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.products.chosen import chosen_formats
from sapiens_pl.records.scratch import scratch_folder
from sapiens_pl.run.output import run_folder_of_a_url
from sapiens_pl.run.settings import check_settings


def checked(*overrides: str) -> DictConfig:
    cfg = composed("predict", ["output.dir=out", *overrides])
    check_settings(cfg)
    return cfg


def test_formats_that_nobody_names_are_json_and_none_for_tars_and_urls(tmp_path, caplog):
    pytest.importorskip("s3fs")
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        tar.add(__file__, "a.jpg")
    (tmp_path / "a.jpg").write_bytes(b"")
    assert chosen_formats(checked(f"data.images={tmp_path}/a.jpg")) == ["json"] and not caplog.records
    assert chosen_formats(checked(f"data.images={tmp_path}/0.tar")) == []
    assert "as pictures come from tars or tables" in caplog.text
    cfg = checked("output.dir=s3://bucket/x")
    assert cfg.output.formats == [] and "as output.dir is a URL" in caplog.text
    assert chosen_formats(checked("output.dir=s3://bucket/x", "output.formats=[json]")) == ["json"]


def test_a_url_of_no_known_protocol_is_refused_with_the_settings():
    with pytest.raises(ConfigError, match="ftpx:// is not a known protocol"):
        checked("output.dir=ftpx://a/b")
    with pytest.raises(ConfigError, match=r"output\.flush_seconds=0 must be a number above 0"):
        checked("output.flush_seconds=0")


@pytest.mark.parametrize(
    ("given", "also"),
    [
        (["output.dir=s3://b/x/"], []),
        (["output.dir='s3://b/x'"], []),
        (["hydra.run.dir=s3://b/x"], ["output.dir=s3://b/x"]),
        (["hydra.run.dir=s3://b/y", "output.dir=s3://b/x"], []),
    ],
)
def test_hydras_folder_is_the_one_that_stands_for_the_url(tmp_path, monkeypatch, given, also):
    pytest.importorskip("s3fs")
    monkeypatch.setattr(sys, "argv", ["predict", *given, f"output.scratch={tmp_path}", "data.batch_size=2"])
    with run_folder_of_a_url():
        arguments = sys.argv[1:]
    assert arguments[0] == f"hydra.run.dir={scratch_folder('s3://b/x', str(tmp_path))}"
    assert not any("hydra.run.dir" in argument for argument in arguments[1:])
    assert [each for each in arguments if each.startswith("output.dir")] == [*also, given[-1]][:1]


@pytest.mark.parametrize("given", [["output.dir=here"], ["output.dir=s3://b/x", "hydra.run.dir=here"], []])
def test_hydras_folder_stays_where_it_is_otherwise(monkeypatch, given):
    pytest.importorskip("s3fs")
    monkeypatch.setattr(sys, "argv", ["predict", *given])
    with run_folder_of_a_url():
        assert sys.argv == ["predict", *given]


def test_the_scratch_folder_is_the_same_on_all_days_and_nobody_elses(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = scratch_folder("s3://b/x/")
    assert folder == scratch_folder("s3://b/x") != scratch_folder("s3://b/y")
    assert folder.parent == Path(tmp_path, f"sapiens_pl-{os.getuid()}") and folder.parent.stat().st_mode & 0o77 == 0
    folder.rmdir()
    scratch_folder("s3://b/y").rmdir()
    folder.parent.rmdir()
    (tmp_path / "elsewhere").mkdir()
    folder.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="cannot be written"):
        scratch_folder("s3://b/x")
