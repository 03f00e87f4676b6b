"""The command with its output in a bucket: credentials that expire in the middle, and the same records at last."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from stores import CREDENTIALS, Answer, s3_line

from sapiens_pl.core import remote
from sapiens_pl.records.at_hand import at_hand
from sapiens_pl.records.reading import Records
from tests.records.made_up import check_all_equal

EXPIRED = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
SLOWLY = """
import os, time
os.environ.update(%s)
from sapiens_pl.inference.module import PoseModule
step = PoseModule.predict_step
def slow_step(self, batch, batch_idx=0):
    time.sleep(0.3 if batch_idx < 6 else 3)  # also on a busy machine the end comes before the last batch
    return step(self, batch)
PoseModule.predict_step = slow_step
"""


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(24):
        cv2.imwrite(str(folder / f"{number:02}.png"), rng.integers(0, 255, (96, 96, 3), np.uint8))
    return folder


def test_credentials_expire_in_the_middle_and_the_same_command_goes_on(predict, mini, pictures, tmp_path, monkeypatch):
    settings = [*mini, f"data.images={pictures}", "boxes=whole_image", "data.batch_size=2", "data.num_workers=0"]
    local = predict(*settings)
    assert local.code == 0, local.err
    with s3_line() as line:
        environment = CREDENTIALS | {"AWS_ENDPOINT_URL": line.url}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        there = ["output.dir=s3://bucket/run", f"output.scratch={tmp_path}/scratch", "output.flush_seconds=0.5"]

        def spoil(number, method, path):
            parts = {asked for asked in line.asked if asked.startswith("PUT") and "pictures-" in asked}
            return Answer(403, EXPIRED) if method == "PUT" and len(parts) > 2 else None

        line.spoil = spoil
        run = predict(*settings, *there, folder="hydra", inject=SLOWLY % environment)
        assert run.code == 1
        assert "The credentials for s3://bucket have expired (ExpiredToken); get new ones" in run.err
        (scratch,) = (tmp_path / "scratch").iterdir()
        assert f"What is done and not uploaded yet is in {scratch}: run the same command again" in run.err
        line.spoil = lambda number, method, path: Answer(503) if number % 50 == 0 else None
        done_here = {*Records.read(scratch).names()}
        assert 0 < len(done_here) < 24
        run = predict(*settings, *there, folder="hydra", inject=f"import os; os.environ.update({environment})")
        assert run.code == 0, run.err
        assert f"before this run {len(done_here)} done" in run.out and "results         s3://bucket/run" in run.out
        assert not scratch.exists()
        with at_hand("s3://bucket/run", only_read=True) as folder:
            check_all_equal([*Records.read(folder).results()], [*Records.read(local.folder).results()])
            assert json.loads((folder / "run.json").read_text())["status"] == "complete"
        keys = [entry.url.removeprefix("s3://bucket/run/") for entry in remote.list_below("s3://bucket/run/")]
        assert not [key for key in keys if ".lock" in key or "journal" in key or "unfinished" in key]
