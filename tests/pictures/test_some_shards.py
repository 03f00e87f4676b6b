"""Sources of many tars or tables are opened some at a time."""

from __future__ import annotations

import io
import os
import tarfile

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sapiens_pl.core.protocols import ShardedSource
from sapiens_pl.pictures.sources import open_source


@pytest.fixture(params=["tar", "parquet"])
def shards(request, tmp_path, monkeypatch):
    """Three with two pictures each, and a damaged one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for shard in range(3):
        data = [cv2.imencode(".png", np.full((4, 4, 3), 10 * shard + place, np.uint8))[1].tobytes() for place in (0, 1)]
        path = tmp_path / "shards" / f"{shard}.{request.param}"
        path.parent.mkdir(exist_ok=True)
        if request.param == "parquet":
            pq.write_table(pa.table({"image": data}), path)
            continue
        with tarfile.open(path, "w") as tar:
            for place, each in enumerate(data):
                info = tarfile.TarInfo(f"{place}.png")
                info.size = len(each)
                tar.addfile(info, io.BytesIO(each))
    (tmp_path / "shards" / f"3.{request.param}").write_bytes(b"no shard")
    return str(tmp_path / "shards" / f"{{0..3}}.{request.param}")


def test_some_shards_are_those_of_all(shards):
    source = open_source(shards)
    assert isinstance(source, ShardedSource)
    some, everything = source.some_shards([2, 1]), source.pictures()
    names = list(some.pictures().names)
    assert names == [name for shard in (2, 1) for name in everything.names if name.startswith(f"{shard}.")]
    assert [int(some.read(index).pixels[0, 0, 0]) for index in range(4)] == [20, 21, 10, 11]
    assert some.pictures().path(0) == everything.path(4) and some.pictures().member(0) == everything.member(4)


def test_others_are_not_opened(shards):
    source = open_source(shards)
    suffix = shards.rpartition(".")[2]
    for shard in (0, 2):
        os.remove(shards.replace(f"{{0..3}}.{suffix}", f"{shard}.{suffix}"))
    assert [name.partition(".")[0] for name in source.shard_names()] == ["0", "1", "2", "3"]
    assert len(source.some_shards([1]).pictures().names) == 2
    assert source.shard_stamp(0) is None and source.shard_stamp(1) == open_source(shards).shard_stamp(1)


def test_a_shard_without_pictures_is_none_of_an_error_but_a_failure(shards):
    pictures = open_source(shards).some_shards([3]).pictures()
    assert len(pictures.names) == 0 and [failure.image.partition(".")[0] for failure in pictures.failures] == ["3"]


def test_another_file_has_another_stamp(shards):
    source, path = open_source(shards), shards.replace("{0..3}", "1")
    before = source.shard_stamp(1)
    with open(path, "ab") as file:
        file.write(b"more")
    assert source.shard_stamp(1) != before
