"""Images and runs behind URLs, from Python."""

from __future__ import annotations

import gc
import shutil
from pathlib import Path

import numpy as np
import pytest
from stores import Line

from sapiens_pl import PoseEstimator, open_run
from sapiens_pl.core import remote
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.demo import CHECKPOINT, IMAGES
from tests.records.made_up import check_all_equal, make_records, pose_result


@pytest.fixture
def line(s3_server: Line, monkeypatch: pytest.MonkeyPatch) -> Line:
    s3_server.lead(monkeypatch, SAPIENS_REMOTE_TRIES="2")
    return s3_server


@pytest.mark.slow
def test_an_image_behind_a_url_is_one_like_others(line):
    remote.put("s3://bucket/one.jpg", (IMAGES / "one.jpg").read_bytes())
    estimator = PoseEstimator.from_checkpoint(CHECKPOINT, device="cpu")
    url, path, absent = estimator.predict(["s3://bucket/one.jpg", IMAGES / "one.jpg", "s3://bucket/absent.jpg"])
    np.testing.assert_array_equal(url.keypoints, path.keypoints)
    assert url.name == url.path == "s3://bucket/one.jpg" and absent.image_failed and "absent.jpg" in absent.error
    np.testing.assert_array_equal(url.draw(), path.draw())
    (secret,) = estimator.predict(["http://127.0.0.1:9/a.jpg?X-Amz-Signature=hush"])
    assert secret.image_failed and "hush" not in secret.error + secret.name + repr(secret)


@pytest.mark.slow
def test_a_run_behind_a_url_is_read_from_a_copy_that_goes(line, tmp_path):
    results = [pose_result("a.jpg", 2), pose_result("b.jpg", 1)]
    make_records(tmp_path / "run", results)
    for file in (tmp_path / "run").rglob("*"):
        if file.is_file():
            remote.put(f"s3://bucket/run/{file.relative_to(tmp_path / 'run').as_posix()}", file.read_bytes())
    shutil.rmtree(tmp_path / "run")
    run = open_run("s3://bucket/run")
    check_all_equal(run, results)
    assert "s3://bucket/run: 2 pictures" in repr(run)
    copy = Path(run.folder)
    assert copy.is_dir()
    del run
    gc.collect()
    assert not copy.exists()
    with pytest.raises(ConfigError, match="s3://bucket/nothing holds no records"):
        open_run("s3://bucket/nothing")
