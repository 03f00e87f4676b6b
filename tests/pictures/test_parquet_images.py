"""Tables with the bytes of pictures as a source."""

from __future__ import annotations

import io
import os
import pickle

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sapiens_pl.core.errors import ConfigError, MissingImageError, SapiensError, UnreadableImageError
from sapiens_pl.pictures.parquet_images import ParquetImages
from sapiens_pl.pictures.row_bytes import RowBytes
from sapiens_pl.pictures.sources import open_again, open_source
from sapiens_pl.pictures.tar import TarShards

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def jpeg(shade: int) -> bytes:
    return cv2.imencode(".jpg", np.full((12, 16, 3), shade, np.uint8))[1].tobytes()


def write(path, data, kind=STRUCT, rows_a_group=4, **others):
    values = [{"bytes": each, "path": None} for each in data] if kind is STRUCT else data
    table = pa.table({"image": pa.array(values, kind), **others})
    pq.write_table(table, path, row_group_size=rows_a_group)
    return path


def shade_of(image) -> int:
    return int(image.pixels[5, 5, 0])


@pytest.mark.parametrize("kind", [STRUCT, pa.binary(), pa.large_binary()], ids=["struct", "binary", "large"])
def test_rows_are_pictures_in_any_order(tmp_path, kind):
    for name in ("a", "b"):
        write(tmp_path / f"{name}.parquet", [jpeg(20 * row) for row in range(10)], kind)
    source = open_source(str(tmp_path / "{a,b}.parquet"))
    pictures = source.pictures()
    assert list(pictures.names)[9:11] == ["a.parquet/000000009", "b.parquet/000000000"]
    assert pictures.dealt_whole.tolist() == [0, 4, 8, 10, 14, 18, 20]
    for index in (3, 12, 2, 2, 9, 0, 19):
        assert shade_of(source.read(index)) == 20 * (index % 10)
    assert shade_of(pickle.loads(pickle.dumps(source)).read(17)) == 140
    assert shade_of(open_again(str(tmp_path))(pictures.names[12], pictures.path(12))) == 40


def test_pixels_and_orientation_are_those_of_the_file(tmp_path):
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[274] = 6
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)).save(buffer, "JPEG", exif=exif)
    (tmp_path / "photo").mkdir()
    (tmp_path / "photo" / "a.jpg").write_bytes(buffer.getvalue())
    write(tmp_path / "a.parquet", [buffer.getvalue()])
    table, file = open_source(str(tmp_path / "a.parquet")).read(0), open_source(str(tmp_path / "photo")).read(0)
    assert table.orientation == file.orientation == 6 and table.pixels.shape == (30, 20, 3)
    assert np.array_equal(table.pixels, file.pixels)


def test_keys_name_the_rows_and_bad_ones_cost_their_own(tmp_path):
    keys = ["cat/7", "dog", "dog", None, "../out", "/root", ""]
    path = write(tmp_path / "a.parquet", [jpeg(row) for row in range(7)], name=pa.array(keys))
    source = open_source(str(path), columns={"key": "name"})
    assert list(source.pictures().names) == [
        f"a.parquet/{key}" for key in ("cat/7", "dog", *(f"{row:09d}" for row in range(2, 7)))
    ]
    assert shade_of(source.read(3)) == 3
    for row, words in {
        2: "an earlier row",
        4: "cannot be a name",
        5: "cannot be a name",
        6: "cannot be a name",
    }.items():
        with pytest.raises(UnreadableImageError, match=words):
            source.read(row)
    with pytest.raises(ConfigError, match=r"no column nom \(data.columns.key\); it has image, name"):
        open_source(str(path), columns={"key": "nom"}).pictures()


def test_nulls_and_broken_bytes_cost_their_own_row(tmp_path):
    path = write(tmp_path / "a.parquet", [None, b"", b"text", jpeg(9)[:-40], jpeg(8)])
    source, said = open_source(str(path)), []
    for row in range(4):
        with pytest.raises(SapiensError) as error:
            source.read(row)
        said.append(str(error.value))
    assert [text.startswith(f"{path}/image/{row} ") for row, text in enumerate(said)] == [True] * 4
    assert "null" in said[0] and "empty" in said[1] and "not an image" in said[2]
    assert shade_of(source.read(4)) == 8


def test_the_column_is_told_by_the_schema_or_by_name(tmp_path):
    path = write(tmp_path / "a.parquet", [jpeg(1)], mask=pa.array([jpeg(200)]), text=pa.array(["x"]))
    assert shade_of(open_source(str(path)).read(0)) == 1
    assert shade_of(open_source(str(path), columns={"image": "mask"}).read(0)) == 200
    with pytest.raises(ConfigError, match="no column text of bytes"):
        open_source(str(path), columns={"image": "text"}).pictures()
    pq.write_table(pa.table({"one": [b"1"], "two": [b"2"]}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"url": ["http://x"]}), tmp_path / "c.parquet")
    for name, words in {"b": r"several columns of bytes \(one, two\)", "c": "no column of picture bytes"}.items():
        with pytest.raises(ConfigError, match=words):
            open_source(str(tmp_path / f"{name}.parquet")).pictures()
    with pytest.raises(ConfigError, match=r"data.columns is for tables"):
        open_source(str(tmp_path), source="files", columns={"key": "name"})


def test_bad_tables_cost_their_own_pictures(tmp_path):
    whole = write(tmp_path / "0.parquet", [jpeg(1)]).read_bytes()
    (tmp_path / "1.parquet").write_bytes(whole[:-20])
    (tmp_path / "2.parquet").write_bytes(b"")
    (tmp_path / "4.parquet").mkdir()
    pictures = open_source(str(tmp_path / "{0..4}.parquet")).pictures()
    assert [failure.image for failure in pictures.failures] == [f"{number}.parquet" for number in (1, 2, 3, 4)]
    assert list(pictures.names) == ["0.parquet/000000000"]
    assert "does not exist" in pictures.failures[2].message


def test_a_table_that_changes_is_not_read_on(tmp_path):
    path = write(tmp_path / "a.parquet", [jpeg(1), jpeg(2)])
    source = open_source(str(path))
    source.pictures()
    write(path, [jpeg(3)])
    os.utime(path, ns=(1, 1))
    with pytest.raises(UnreadableImageError, match="has changed meanwhile"):
        source.read(1)


@pytest.mark.slow
def test_a_large_row_group_is_read_piece_by_piece(tmp_path):
    noise = np.random.default_rng(0).bytes(1 << 20)
    path = write(tmp_path / "a.parquet", [noise] * 2 + [noise[row:] for row in range(150)], pa.binary(), 1000)
    rows = RowBytes(str(path), "image")
    assert rows.read(151) == noise[149:] and len(rows._held) <= 64
    assert rows.read(151) == noise[149:] and rows.read(3) == noise[1:]


def test_folders_of_tables_are_told_from_tars_beside_tables(tmp_path):
    write(tmp_path / "00000.parquet", [jpeg(1)])
    assert isinstance(open_source(str(tmp_path)), ParquetImages)
    (tmp_path / "00000.tar").write_bytes(b"")
    assert isinstance(open_source(str(tmp_path)), TarShards)
    with pytest.raises(MissingImageError):
        open_again(str(tmp_path / "00000.parquet"))("x", f"{tmp_path}/00000.parquet/x")


def test_other_columns_of_a_row_are_its_values(tmp_path):
    boxes = pa.array([[[1.0, 2, 3, 4]], None, []])
    source = open_source(str(write(tmp_path / "a.parquet", [jpeg(1)] * 3, rows_a_group=2, bboxes=boxes, more=boxes)))
    assert list(source.pictures().samples.values(["bboxes"])) == [
        (0, {"bboxes": [[1, 2, 3, 4]]}), (1, {"bboxes": None}), (2, {"bboxes": []}),
    ]  # fmt: skip
