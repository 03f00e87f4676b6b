"""Pictures, tars and tables behind URLs are those of the disk, and what is wrong is told in a sentence each."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import tarfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stores import Answer, Line

from sapiens_pl.core import remote
from sapiens_pl.core.errors import ConfigError, RemoteError, StoreRefusedError
from sapiens_pl.pictures import looks, scratch
from sapiens_pl.pictures.sources import open_again, open_source


@pytest.fixture
def line(s3_server: Line, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Line]:
    s3_server.lead(monkeypatch, XDG_CACHE_HOME=str(tmp_path / "cache"))
    looks.forget()
    s3_server.asked.clear()
    yield s3_server
    s3_server.seconds, s3_server.spoil = 0.0, lambda number, method, path: None


def png(shade: int) -> bytes:
    return cv2.imencode(".png", np.full((4, 4, 3), shade, np.uint8))[1].tobytes()


def shades(source) -> list[int]:
    return [int(source.read(index).pixels[0, 0, 0]) for index in range(len(source.pictures().names))]


def tar_of(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return packed.getvalue()


def gets(line: Line, part: str) -> int:
    return sum(asked.startswith("GET") and part in asked and "list-type" not in asked for asked in line.asked)


@pytest.fixture
def photos(line: Line) -> Line:
    for name, shade in (("a.png", 1), ("b/c d.png", 2), ("b/.hidden.png", 9), ("clip.mp4", 9), ("x.cr2", 9)):
        remote.put(f"s3://bucket/photos/{name}", png(shade))
    line.asked.clear()
    return line


@pytest.mark.parametrize("images", ["s3://bucket/photos/", "s3://bucket/photos", "s3://bucket/photos/**/*.png"])
def test_a_folder_of_a_bucket(photos, images):
    source = open_source(images)
    assert list(source.pictures().names) == ["a.png", "b/c d.png"] or "*" in images
    assert shades(source)[:2] in ([1, 2], [1, 9])
    assert source.pictures().path(0) == "s3://bucket/photos/a.png"
    if "*" not in images:
        assert "not read from URLs" in source.pictures().left_out.files["clip.mp4"].why
    assert open_again(images)("a.png", "s3://bucket/photos/a.png").pixels[0, 0, 0] == 1


@pytest.mark.slow
def test_what_a_run_has_left_in_a_bucket_is_no_picture(photos):
    left = ["out/run.json", "out/records/store.json", "out/overlays/a.png.jpg", "out/sheets/sheet-001.jpg"]
    beside = ["records/store.json", "run.json", "overlays/a.png.jpg", "openpose/a.png.png"]
    for name in [*left, *beside]:
        remote.put(f"s3://bucket/photos/{name}", png(7))
    try:
        looks.forget()
        pictures = open_source("s3://bucket/photos/").pictures()
        assert list(pictures.names) == ["a.png", "b/c d.png"]
        assert list(pictures.left_out.run_folders) == ["openpose", "overlays", "records", "out"]
        assert list(open_source("s3://bucket/photos/overlays/").pictures().names) == ["a.png.jpg"]
        assert len(open_source("s3://bucket/photos/out/**/*.jpg").pictures().names) == 0
    except ConfigError as error:
        assert "out/**/*.jpg holds no pictures" in str(error)
    finally:
        for name in [*left, *beside]:
            remote.remove(f"s3://bucket/photos/{name}")


@pytest.mark.slow
def test_a_run_among_the_tars_changes_nothing(line, tmp_path):
    disk = tmp_path / "set"
    for place in ("s3://bucket/set", str(disk)):
        for name in ("0.tar", "out/records/store.json", "out/records/people-0.parquet", "out/run.json"):
            remote.put(f"s3://bucket/set/{name}", data := tar_of({"a.png": png(3)}))
            (disk / name).parent.mkdir(parents=True, exist_ok=True)
            (disk / name).write_bytes(data)
        assert list(open_source(f"{place}/").pictures().names) == ["0.tar/a.png"]


def test_a_list_file_with_a_url_a_line(photos, tmp_path):
    (tmp_path / "list.txt").write_text(
        f"s3://bucket/photos/a.png\n{photos.url}/bucket/photos/b/c%20d.png?X-Amz-Signature=secret\n"
        f"{photos.url}/bucket/photos/b/c%20d.png?X-Amz-Signature=other\n"
    )
    source = open_source(str(tmp_path / "list.txt"))
    host = photos.url.removeprefix("http://")
    assert list(source.pictures().names) == [
        "bucket/photos/a.png", f"{host}/bucket/photos/b/c d.png", f"{host}/bucket/photos/b/c d~2.png"
    ]  # fmt: skip
    assert shades(source) == [1, 2, 2]
    assert "secret" not in source.pictures().path(1)


@pytest.mark.slow
def test_what_is_told_ahead_waits_together(photos):
    source = open_source("s3://bucket/photos/*.png")
    photos.seconds = 0.2
    source.ahead([0])
    assert shades(source) == [1] and gets(photos, "photos/a.png") == 1


@pytest.mark.parametrize("kind", ["tar", "parquet"])
@pytest.mark.parametrize("room", [None, 0])
def test_shards_are_those_of_the_disk(line, tmp_path, kind, room):
    for shard in range(3):
        data = [png(10 * shard + place) for place in (0, 1)]
        path = tmp_path / f"{shard}.{kind}"
        if kind == "tar":
            path.write_bytes(tar_of({f"{place}.png": each for place, each in enumerate(data)}))
        else:
            pq.write_table(pa.table({"image": data}), path)
        remote.put(f"s3://bucket/{kind}/{shard}.{kind}", path.read_bytes())
    local, line.asked[:] = open_source(str(tmp_path / f"*.{kind}")), []
    source = open_source(f"s3://bucket/{kind}/{{0..2}}.{kind}", scratch_gib=room)
    assert list(source.pictures().names) == list(local.pictures().names)
    if kind == "tar":
        source.ahead(range(6))
    assert shades(source) == shades(local) == [0, 1, 10, 11, 20, 21]
    if room is None:
        assert gets(line, f"1.{kind}") == 1  # whole, and once
    path = source.pictures().path(3)
    assert path.startswith(f"s3://bucket/{kind}/1.{kind}/")
    assert open_again(f"s3://bucket/{kind}/1.{kind}")(source.pictures().names[3], path).pixels[0, 0, 0] == 11


@pytest.mark.slow
def test_some_tars_come_and_go(line):
    for shard in range(3):
        remote.put(f"s3://bucket/some/{shard}.tar", tar_of({"0.png": png(shard)}))
    source = open_source("s3://bucket/some/", scratch_gib=1)
    assert list(source.shard_names()) == ["0.tar", "1.tar", "2.tar"]
    line.asked.clear()
    first = source.some_shards([0])
    assert shades(first) == [0] and gets(line, "some/2.tar") == 0
    stamp = first._indexes[0].stamp.mtime_ns
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(shades, (pickle.loads(pickle.dumps(first)),)) == [0]
    assert gets(line, "some/0.tar") == 1
    first.release()
    assert scratch.copy_of("s3://bucket/some/0.tar", stamp) is None
    assert shades(source.some_shards([1])) == [1] and gets(line, "some/1.tar") == 1
    stamps = [source.shard_stamp(number) for number in range(3)]
    remote.put("s3://bucket/some/2.tar", tar_of({"0.png": png(7), "1.png": png(8)}))
    looks.forget()
    again = open_source("s3://bucket/some/")
    assert [again.shard_stamp(number) == stamps[number] for number in range(3)] == [True, True, False]


def test_a_shard_that_is_not_there_costs_only_itself(line):
    remote.put("s3://bucket/gap/0.tar", tar_of({"0.png": png(5)}))
    pictures = open_source("s3://bucket/gap/{0..1}.tar").pictures()
    assert list(pictures.names) == ["0.tar/0.png"]
    assert [failure.message for failure in pictures.failures] == [
        "s3://bucket/gap/1.tar is not there; correct the name."
    ]


def test_a_picture_that_has_gone_costs_its_own_place_and_an_expired_token_the_run(photos):
    source = open_source("s3://bucket/photos/")
    remote.put("s3://bucket/photos/a.png", b"")
    with pytest.raises(Exception, match=r"^s3://bucket/photos/a.png is an empty file"):
        source.read(0)
    remote.remove("s3://bucket/photos/a.png")
    with pytest.raises(RemoteError, match=r"^s3://bucket/photos/a.png is not there"):
        source.read(0)
    photos.spoil = lambda *_: Answer(400, b"<Error><Code>ExpiredToken</Code></Error>")
    with pytest.raises(StoreRefusedError, match="have expired"):
        source.read(1)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ("s3://nobody/photos/", "There is no bucket nobody"),
        ("s3://nobody/{0..9}.tar", "There is no bucket nobody"),
        ("s3://bucket/photos/a.png/", "holds no pictures"),
        ("s3://bucket/nothing.png", "s3://bucket/nothing.png is not there"),
        ("s3://bucket/photos/clip.mp4", "is a video, and videos are not read from URLs"),
        ("nfs42://bucket/a.png", "nfs42:// is not a known protocol"),
        ("gs://bucket/photos/", r"gs:// needs gcsfs, which is not installed: pip install 'sapiens_pl\[gs\]'"),
        ("https://[bad/x.png", "is not a URL"),
    ],
)
def test_what_cannot_be_opened_is_said_at_once(photos, images, said):
    with pytest.raises(ConfigError, match=said):
        open_source(images)


@pytest.mark.slow
def test_a_busy_store_loses_nothing(line):
    names = [f"{number:02d}.png" for number in range(60)]
    for number, name in enumerate(names):
        remote.put(f"s3://bucket/busy/{name}", png(number))
    source, before = open_source("s3://bucket/busy/"), remote.retries()
    line.spoil = lambda number, *_: {0: Answer(503), 25: Answer(None)}.get(number % 50)
    source.ahead(range(60))
    assert shades(source) == list(range(60))
    assert remote.retries() > before


@pytest.mark.slow
def test_files_left_behind_go(tmp_path, monkeypatch):
    left = tmp_path / "sapiens_pl_scratch_old"
    left.mkdir()
    (left / "lock").touch()
    os.utime(left, (0, 0))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    scratch._remove_left_behind()
    assert not left.exists()
