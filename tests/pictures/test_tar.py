"""Tars as a source of pictures, and everything that may be wrong with one."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sapiens_pl.core.errors import ConfigError, DamagedImageError, MissingImageError, UnreadableImageError
from sapiens_pl.pictures.braces import expand_braces
from sapiens_pl.pictures.folder import ImageFiles
from sapiens_pl.pictures.kept_indexes import tar_index
from sapiens_pl.pictures.sources import open_again, open_source
from sapiens_pl.pictures.tar import TarShards


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "sapiens_pl" / "tars"


def jpeg(shade: int) -> bytes:
    return cv2.imencode(".jpg", np.full((12, 16, 3), shade, np.uint8))[1].tobytes()


def write_tar(path: Path, members: dict[str, bytes], form: int = tarfile.GNU_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in members.items():
            add(tar, name, data)
    return path


def add(tar: tarfile.TarFile, name: str, data: bytes = b"", **header: object) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in header.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(data))


def three(shard: int) -> dict[str, bytes]:
    return {f"{shard}{index}.jpg": jpeg(10 * index + 100 * shard) for index in range(3)}


def shade_of(image) -> int:
    return int(image.pixels[5, 5, 0])


@pytest.mark.parametrize(
    "form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["ustar", "gnu", "pax"]
)
def test_members_are_found_where_tarfile_finds_them(tmp_path, form):
    long = "/".join(["a_folder_with_a_name"] * 6) + "/" + "b" * 60 + ".jpg"
    names = ["x.jpg", "./y/z.jpg", long, *([f"ü{'ö' * 80}.png", f"{'c' * 300}.jpg"] if form else [])]
    path = write_tar(tmp_path / "a.tar", {name: jpeg(index) for index, name in enumerate(names)}, form)
    with tarfile.open(path) as tar:
        found = [(member.name.removeprefix("./"), member.offset_data, member.size) for member in tar]
    index = tar_index(str(path))
    assert list(zip(index.names, index.starts.tolist(), index.sizes.tolist())) == found
    assert [name.removeprefix("./") for name in names] == list(index.names) and not index.damage


def test_pictures_are_read_from_several_tars_under_names_below_them(tmp_path):
    for shard in range(2):
        write_tar(tmp_path / f"0000{shard}.tar", three(shard))
    source = open_source(str(tmp_path / "{00000..00001}.tar"))
    pictures = source.pictures()
    assert list(pictures.names) == [f"0000{shard}.tar/{shard}{index}.jpg" for shard in (0, 1) for index in range(3)]
    assert pictures.dealt_whole.tolist() == [0, 3, 6] and not pictures.complete and not pictures.failures
    assert [shade_of(source.read(index)) for index in (5, 0, 3)] == [120, 0, 100]
    assert pictures.path(4) == f"{tmp_path}/00001.tar/11.jpg"
    sent = pickle.loads(pickle.dumps(source))
    assert shade_of(sent.read(4)) == 110


def test_globs_folders_lists_and_single_tars_name_the_same(tmp_path):
    for name in ("b/1", "b/0"):
        write_tar(tmp_path / f"{name}.tar", three(0))
    (tmp_path / "tars.txt").write_text("b/0.tar\n\n'b/1.tar'\n")
    of_folder = open_source(str(tmp_path / "b"))
    assert isinstance(of_folder, TarShards) and of_folder.pictures().complete
    assert list(of_folder.pictures().names)[::3] == ["0.tar/00.jpg", "1.tar/00.jpg"]
    for images in (f"{tmp_path}/b/*.tar", f"{tmp_path}/b/{{0,1}}.tar"):
        assert open_source(images).pictures().names == of_folder.pictures().names
    listed = open_source(str(tmp_path / "tars.txt"), source="tar")
    assert list(listed.pictures().names)[::3] == ["b/0.tar/00.jpg", "b/1.tar/00.jpg"]
    assert open_source(str(tmp_path / "b" / "1.tar")).pictures().names[0] == "1.tar/00.jpg"


def test_a_folder_with_pictures_beside_a_tar_is_read_as_one(tmp_path):
    write_tar(tmp_path / "a.tar", three(0))
    (tmp_path / "photo.jpg").write_bytes(jpeg(3))
    assert isinstance(open_source(str(tmp_path)), ImageFiles)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("{00008..00010}.tar", ["00008.tar", "00009.tar", "00010.tar"]),
        ("{8..10}", ["8", "9", "10"]),
        ("{3..1}", ["3", "2", "1"]),
        ("{0..4..2}", ["0", "2", "4"]),
        ("{a,b{1..2}}.tar", ["a.tar", "b1.tar", "b2.tar"]),
        ("{x..z}", ["x", "y", "z"]),
        ("{a}{1,2}", ["{a}1", "{a}2"]),
        ("a.tar::{1..2}.tar", ["a.tar", "1.tar", "2.tar"]),
        ("{1..2}/{a,b}", ["1/a", "1/b", "2/a", "2/b"]),
    ],
)
def test_braces_mean_what_webdataset_means(text, meant):
    assert expand_braces(text) == meant


def test_bad_members_cost_their_own_place(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        add(tar, "folder", type=tarfile.DIRTYPE)
        add(tar, "good.jpg", jpeg(50))
        add(tar, "good.jpg", jpeg(60))
        add(tar, "text.jpg", b"not a picture")
        add(tar, "empty.jpg")
        add(tar, "link.jpg", type=tarfile.SYMTYPE, linkname="good.jpg")
        add(tar, "hard.jpg", type=tarfile.LNKTYPE, linkname="good.jpg")
        add(tar, "pipe.jpg", type=tarfile.FIFOTYPE)
        add(tar, "../out.jpg", jpeg(1))
        add(tar, "/root.jpg", jpeg(1))
        add(tar, "._good.jpg", b"Mac")
        add(tar, "lonely.json", b"{}")
        add(tar, "raw.nef", b"x")
        add(tar, "last.jpg", jpeg(70))
    source = open_source(str(path))
    pictures = source.pictures()
    said = {}
    for index, name in enumerate(pictures.names):
        try:
            said[name] = shade_of(source.read(index))
        except (UnreadableImageError, DamagedImageError) as error:
            assert str(error).startswith(str(path))
            said[name] = str(error).removeprefix(f"{pictures.path(index)} ")
    assert said["a.tar/good.jpg"] == 50 and said["a.tar/last.jpg"] == 70
    rest = {name: text for name, text in said.items() if isinstance(text, str)}
    told = {
        "a.tar/good.jpg (2)": "once more",
        "a.tar/text.jpg": "not an image",
        "a.tar/empty.jpg": "empty",
        "a.tar/link.jpg": "is a link",
        "a.tar/hard.jpg": "is a link",
        "a.tar/pipe.jpg": "is not a file",
        "a.tar/__/out.jpg": "leads out",
        "a.tar/root.jpg": "leads out",
        "a.tar/lonely": "has no picture in its tar, only .json",
    }
    assert rest.keys() == told.keys() and all(told[name] in rest[name] for name in told)
    assert {name: kind.label for name, kind in pictures.left_out.files.items()} == {
        "a.tar/._good.jpg": "hidden",
        "a.tar/raw.nef": "NEF",
    }


def test_a_cut_tar_costs_its_tail_and_names_what_an_earlier_index_knew(tmp_path):
    write_tar(tmp_path / "0.tar", three(0))
    path = write_tar(tmp_path / "1.tar", three(1))
    whole = path.read_bytes()
    with tarfile.open(path) as tar:
        cut_at = tar.getmember("11.jpg").offset_data + 100
    path.write_bytes(whole[:cut_at])
    source = open_source(f"{tmp_path}/*.tar")
    (failure,) = source.pictures().failures
    assert failure.image == "1.tar" and f"ends at byte {cut_at}, in the middle of 11.jpg" in failure.message
    assert list(source.pictures().names)[3:] == ["1.tar/10.jpg", "1.tar/11.jpg"]
    assert shade_of(source.read(3)) == 100
    with pytest.raises(DamagedImageError, match=r"1.tar/11.jpg is cut off"):
        source.read(4)
    path.write_bytes(whole)
    assert len(open_source(f"{tmp_path}/*.tar").pictures().names) == 6
    path.write_bytes(whole[:cut_at])
    again = open_source(f"{tmp_path}/*.tar")
    assert list(again.pictures().names)[3:] == ["1.tar/10.jpg", "1.tar/11.jpg", "1.tar/12.jpg"]
    with pytest.raises(DamagedImageError, match=r"1.tar/12.jpg is missing"):
        again.read(5)


def test_damaged_headers_lacking_ends_and_joined_tars_are_told(tmp_path):
    whole = write_tar(tmp_path / "whole.tar", three(0)).read_bytes()
    with tarfile.open(tmp_path / "whole.tar") as tar:
        second, end = tar.getmembers()[1].offset, tar.getmembers()[2].offset_data + 1024
    (tmp_path / "1.tar").write_bytes(whole[: second + 9] + b"?" + whole[second + 10 :])
    (tmp_path / "2.tar").write_bytes(whole[:end])
    (tmp_path / "3.tar").write_bytes(whole + whole)
    (tmp_path / "4.tar").write_bytes(b"a text\n" * 200)
    (tmp_path / "5.tar").write_bytes(gzip.compress(whole))
    (tmp_path / "6.tar").write_bytes(b"")
    pictures = open_source(f"{tmp_path}/{{whole,1,2,3,4,5,6,7}}.tar").pictures()
    told = ["damaged at byte", "without the mark", "joined", "is not a tar", "gunzip", "empty", "does not exist"]
    assert [failure.image for failure in pictures.failures] == [f"{number}.tar" for number in range(1, 8)]
    assert all(words in failure.message for words, failure in zip(told, pictures.failures))
    assert pictures.dealt_whole.tolist() == [0, 3, 4, 7, 10, 10, 10, 10]


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.tar"])
def test_compressed_tars_are_refused_with_the_remedy(tmp_path, name):
    (tmp_path / name).write_bytes(gzip.compress(write_tar(tmp_path / "b" / "c.tar", three(0)).read_bytes()))
    with pytest.raises(ConfigError, match=rf"{name} is compressed with gzip.*gunzip"):
        open_source(str(tmp_path / name)).pictures()


def test_the_index_is_kept_and_made_anew_where_the_tar_has_changed(tmp_path, cache):
    path = write_tar(tmp_path / "a.tar", three(0))
    source = open_source(str(path))
    assert len(source.pictures().names) == 3
    (kept,) = cache.iterdir()
    told = kept.stat().st_mtime_ns
    assert open_source(str(path)).pictures().names == source.pictures().names
    assert kept.stat().st_mtime_ns == told
    kept.write_bytes(b"damaged")
    assert len(open_source(str(path)).pictures().names) == 3
    write_tar(path, three(0) | three(1))
    assert len(open_source(str(path)).pictures().names) == 6
    source._open.__init__()
    with pytest.raises(UnreadableImageError, match="has changed meanwhile"):
        source.read(0)


def test_a_picture_is_read_again_by_its_path_alone(tmp_path):
    path = write_tar(tmp_path / "x.tar" / "a.tar", {"f/1.jpg": jpeg(77), "2.jpg": b"none"})
    read = open_again(str(path))
    assert shade_of(read("a.tar/f/1.jpg", f"{path}/f/1.jpg")) == 77
    with pytest.raises(MissingImageError, match="not in its tar"):
        read("a.tar/3.jpg", f"{path}/3.jpg")
    with pytest.raises(UnreadableImageError, match=r"a.tar/2.jpg is not an image"):
        read("a.tar/2.jpg", f"{path}/2.jpg")


def test_rows_that_img2dataset_did_not_download_are_pictures_that_fail(tmp_path):
    members = {"000.jpg": jpeg(5), "000.json": b'{"key": "000"}', "000.txt": b"a caption"}
    write_tar(tmp_path / "00000.tar", members)
    rows = [("000", "success", None), ("001", "failed_to_download", "HTTP Error 404"), ("002", "success", None)]
    table = [dict(zip(("key", "status", "error_message"), row)) for row in rows]
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "00000.parquet")
    (tmp_path / "00000_stats.json").write_text("{}")
    source = open_source(str(tmp_path))
    assert list(source.pictures().names) == ["00000.tar/000.jpg", "00000.tar/001", "00000.tar/002"]
    assert source.pictures().dealt_whole.tolist() == [0, 3] and shade_of(source.read(0)) == 5
    with pytest.raises(MissingImageError, match=r"was not downloaded \(failed_to_download: HTTP Error 404\)"):
        source.read(1)
    with pytest.raises(MissingImageError, match="not in its tar"):
        source.read(2)


def test_samples_give_what_their_json_says(tmp_path):
    members = {
        "0.jpg": jpeg(0), "0.json": json.dumps({"bboxes": [[1, 2, 3, 4]]}).encode(), "0.mask.png": jpeg(1),
        "1.jpg": jpeg(1), "2.left.jpg": jpeg(2), "2.right.jpg": jpeg(2), "2.json": b"{}",
        "3.jpg": jpeg(3), "3.json": b"{broken", "4.seg.jpg": jpeg(4), "4.json": b'{"a": 1}',
    }  # fmt: skip
    source = open_source(str(write_tar(tmp_path / "a.tar", members)))
    names, samples = list(source.pictures().names), source.pictures().samples
    values = {names[index].removeprefix("a.tar/"): value for index, value in samples.values(["bboxes"])}
    assert values["0.jpg"] == {"bboxes": [[1, 2, 3, 4]]} and values["4.seg.jpg"] == {"a": 1}
    assert "several pictures" in values["2.left.jpg"] and "not JSON" in values["3.jpg"]
    assert values.keys() == {"0.jpg", "2.left.jpg", "2.right.jpg", "3.jpg", "4.seg.jpg"}
