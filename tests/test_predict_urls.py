"""The whole command on a bucket: the same records as from the disk, whatever the line does, and no secret anywhere."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from stores import CREDENTIALS, Answer, Line, s3_line

from sapiens_pl.core import remote
from sapiens_pl.demo import CHECKPOINT, IMAGES, PEOPLE

FILES = sorted(path for path in IMAGES.rglob("*") if path.is_file())


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Line]:
    with s3_line() as line:
        for name, value in (CREDENTIALS | {"AWS_ENDPOINT_URL": line.url}).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        for path in FILES:
            remote.put(f"s3://bucket/photos/{path.relative_to(IMAGES)}", path.read_bytes())
        remote.put("s3://bucket/people.json", PEOPLE.read_bytes())
        remote.put("s3://bucket/network.safetensors", CHECKPOINT.read_bytes())
        yield line


def inject(line: Line) -> str:
    """The command's process is a fork of one that was there before."""
    names = [*CREDENTIALS, "AWS_ENDPOINT_URL", "XDG_CACHE_HOME"]
    return f"import os; os.environ.update({ {name: os.environ[name] for name in names} })"


def test_a_run_on_a_spoilt_line_has_the_records_of_the_disk(line, predict, tmp_path):
    local = predict("model=demo", f"data.images={IMAGES}", "boxes=json", f"boxes.file={PEOPLE}", folder="local")
    line.asked.clear()
    line.spoil = lambda number, *_: {3: Answer(503), 6: Answer(None), 9: Answer(500)}.get(number)
    signed = f"{line.url}/bucket/people.json?X-Amz-Signature=very-private"
    behind = predict(
        "model=demo", "model.checkpoint=s3://bucket/network.safetensors", "data.images=s3://bucket/photos/",
        "boxes=json", f"boxes.file='{signed}'", "output.formats=[json,overlay]", folder="behind", inject=inject(line),
    )  # fmt: skip
    assert behind.code == local.code == 0, behind.err
    assert behind.results.keys() == local.results.keys() and len(local.results) == len(FILES)
    for name, result in local.results.items():
        for person, other in zip(result["instance_info"], behind.results[name]["instance_info"], strict=True):
            np.testing.assert_array_equal(person["keypoints"], other["keypoints"])
    assert behind.info["store_retries"] == 3 and behind.info["store_requests"] > len(FILES)
    assert len(list((behind.folder / "overlays").rglob("*.jpg"))) == len(FILES)
    for path in behind.folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert b"very-private" not in content and b"very-secret" not in content, path
    assert "very-private" not in behind.out + behind.err


def test_an_expired_token_stops_the_run_and_the_next_one_goes_on(line, predict, tmp_path):
    left = [3]

    def expire(number: int, method: str, path: str) -> Answer | None:
        if "/photos/" not in path or "list-type" in path:
            return None
        left[0] -= 1
        return Answer(400, b"<Error><Code>ExpiredToken</Code></Error>") if left[0] < 0 else None

    environment = inject(line)
    command = ("model=demo", "data.images=s3://bucket/photos/", "boxes=whole_image", "data.batch_size=1")
    line.spoil = expire
    stopped = predict(*command, "data.num_workers=1", inject=environment)
    assert stopped.code == 1 and "have expired (ExpiredToken)" in stopped.err.strip().splitlines()[-1]
    assert not stopped.failures and stopped.info["status"] == "failed"
    line.spoil = lambda *_: None
    whole = predict(*command, "data.num_workers=1", inject=environment)
    assert whole.code == 0 and len(whole.results) == len(FILES) and not whole.failures


def test_tars_are_fetched_once_posed_and_gone(line, predict, tmp_path):
    for number in range(3):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for path in FILES[2 * number : 2 * number + 2]:
                tar.add(path, path.name)
        remote.put(f"s3://bucket/shards/{number}.tar", packed.getvalue())
    line.asked.clear()
    (tmp_path / "scratch").mkdir()
    keep = f"{inject(line)}; import tempfile; tempfile.tempdir = {str(tmp_path / 'scratch')!r}"
    command = (
        "model=demo",
        "data.images='s3://bucket/shards/{0..2}.tar'",
        "boxes=whole_image",
        "output.formats=[json]",
    )
    posed = predict(*command, inject=keep)
    assert posed.code == 0 and len(posed.results) == len(FILES[:6]), posed.err
    fetched = [asked for asked in line.asked if asked.startswith("GET") and asked.endswith(".tar")]
    assert sorted(fetched) == [f"GET /bucket/shards/{number}.tar" for number in range(3)]
    assert not list((tmp_path / "scratch").glob("sapiens_pl_scratch_*/*-*"))
    line.asked.clear()
    again = predict(*command, inject=keep)
    assert again.code == 0 and again.info["counts"]["images_done_before"] == len(posed.results)
    assert not [asked for asked in line.asked if asked.startswith("GET") and asked.endswith(".tar")]
