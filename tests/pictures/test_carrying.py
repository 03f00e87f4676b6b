"""What stands beside pictures of tars and tables comes with them: `data.carry`."""

from __future__ import annotations

import io
import json
import tarfile
from datetime import date

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sapiens_pl.core.carried import carried_column, carry_of
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.pictures.carrying import check_carry
from sapiens_pl.pictures.sources import open_source

JPEG = cv2.imencode(".jpg", np.full((12, 16, 3), 90, np.uint8))[1].tobytes()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write_tar(path, notes):
    with tarfile.open(path, "w") as tar:
        for index, note in enumerate(notes):
            for name, data in ((f"{index}.jpg", JPEG), (f"{index}.json", note)):
                if data is not None:
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))


def carried(images, *carry, **options):
    source = open_source(str(images), carry=list(carry), **options)
    return [source.read(index).carried for index in range(len(source.pictures().names))]


def test_fields_of_a_tars_json_come_as_text(tmp_path):
    notes = [
        {"url": "http://ö/\U0001f9cd", "meta": {"size": [1, {"a": None}]}, "n": 1.5, "a.b": "flat", "a": {"b": "deep"}},
        {"url": None, "meta": [], "a": {"b": "deep"}},
    ]
    encoded = [json.dumps(note).encode() for note in notes]
    write_tar(tmp_path / "0.tar", [*encoded, None, b"{broken", b"[1]", json.dumps({"url": ""}).encode()])
    nothing = (None,) * 4
    assert carried(tmp_path / "0.tar", "url", "meta.size", "n", "a.b") == [
        ("http://ö/\U0001f9cd", '[1, {"a": null}]', "1.5", "flat"),
        (None, None, None, "deep"),
        nothing,
        nothing,
        nothing,
        ("", None, None, None),
    ]
    assert carried(tmp_path / "0.tar") == [()] * 6


def test_columns_of_a_table_come_as_text_in_any_order_of_reading(tmp_path):
    rows = 600
    columns = {
        "caption": [None if index % 7 == 0 else f"ü{index}" for index in range(rows)],
        "image": [{"bytes": JPEG, "path": str(index)} for index in range(rows)],
        "tags": [[index, None] for index in range(rows)],
        "day": [date(2020, 1, 1)] * rows,
        "raw": [b"text" if index % 2 else b"\xff" for index in range(rows)],
        "meta": [{"url": f"u{index}"} for index in range(rows)],
    }
    pq.write_table(pa.table(columns), tmp_path / "0.parquet", row_group_size=280)
    source = open_source(str(tmp_path / "0.parquet"), carry=["meta.url", "caption", "tags", "day", "raw", "gone"])
    for row in (0, 1, 279, 280, 599, 7, 300):
        caption = None if row % 7 == 0 else f"ü{row}"
        raw = "text" if row % 2 else "/w=="
        expected = (f"u{row}", caption, f"[{row}, null]", '"2020-01-01"', raw, None)
        assert source.read(row).carried == expected, row


def test_what_no_sample_has_is_refused_after_a_look_at_as_few_as_possible(tmp_path):
    for shard in range(3):
        note = {"url": "u"} | ({"caption": "c"} if shard == 1 else {})
        write_tar(tmp_path / f"{shard}.tar", [None, json.dumps(note).encode()])
    (tmp_path / "2.tar").write_bytes(b"damaged")
    images = str(tmp_path / "{0..2}.tar")
    check_carry(open_source(images, carry=["url", "caption"]), ["url", "caption"], images)
    for missing in (["nope", "url"], ["url.deep"]):
        with pytest.raises(ConfigError, match=rf"no sample of .* has {missing[0]}; there are caption, url; correct"):
            check_carry(open_source(images, carry=missing), missing, images)
    pq.write_table(pa.table({"image": [JPEG], "caption": ["c"]}), tmp_path / "0.parquet")
    table = str(tmp_path / "0.parquet")
    check_carry(open_source(table, carry=["caption"]), ["caption"], table)
    for missing in (["image"], ["nope"]):  # the pictures themselves are carried by nobody
        with pytest.raises(ConfigError, match=f"no sample of .* has {missing[0]}.*correct the names"):
            check_carry(open_source(table, carry=missing), missing, table)


def test_sources_without_samples_refuse_it_and_so_does_what_is_no_list_of_names(tmp_path):
    (tmp_path / "a.jpg").write_bytes(JPEG)
    with pytest.raises(ConfigError, match=r"data\.carry is for tars and tables of pictures, and .* is none; omit it"):
        open_source(str(tmp_path / "a.jpg"), carry=["url"])
    for wrong in (7, {"url": 1}, [1], [""]):
        with pytest.raises(ConfigError, match=r"data\.carry=.* is not a list of columns"):
            carry_of(wrong)
    with pytest.raises(ConfigError, match="more than once"):
        carry_of(["image", "carried_image"])
    assert carry_of("url") == ("url",) and carry_of(None) == carry_of([]) == ()
    assert [carried_column(name) for name in ("url", "image", "bbox")] == ["url", "carried_image", "carried_bbox"]
