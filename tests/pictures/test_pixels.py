"""Pixels as OpenCV gives them, wherever it is right."""

from __future__ import annotations

import gc
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from conftest import COCO
from PIL import Image
from tiff_files import tiff_bytes

from sapiens_pl.core.devices import host_peak_gib, start_afresh
from sapiens_pl.core.errors import DamagedImageError
from sapiens_pl.pictures import read_image

PICTURE = Image.open(COCO / "000000000785.jpg").convert("RGB").resize((64, 48))
PIXELS = np.asarray(PICTURE)
BGR = PIXELS[..., ::-1]


def encoded(format, picture=PICTURE, **options):
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def read(tmp_path, data):
    (tmp_path / "x.bin").write_bytes(data)
    return read_image(str(tmp_path / "x.bin")).pixels


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


HEAVY = {
    "compressed text": lambda: chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(70 << 20))),
    "international text": lambda: chunk(b"iTXt", b"k\0\1\0\0\0" + zlib.compress(bytes(2 << 20))),
    "profile": lambda: chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(9 << 20))),
    "text": lambda: chunk(b"tEXt", b"k\0" + b"a" * (9 << 20)),
    "many texts": lambda: b"".join(chunk(b"tEXt", b"k%d\0abc" % i) for i in range(30000)),
    "a maker's own": lambda: chunk(b"prVt", bytes(10 << 20)),
    "a broken text": lambda: chunk(b"tEXt", b"k\0abc")[:-4] + bytes(4),
}


@pytest.mark.parametrize("heavy", HEAVY)
def test_what_a_png_carries_besides_its_pixels_is_no_reason(tmp_path, heavy):
    data, chunks = encoded("PNG"), HEAVY[heavy]()
    for position in (33, len(data) - 12):  # before the pixels and after
        np.testing.assert_array_equal(read(tmp_path, data[:position] + chunks + data[position:]), BGR)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (lambda: tiff_bytes(PIXELS.astype(np.uint16) * 257), BGR),
        (lambda: tiff_bytes(PIXELS, tile=16), BGR),
        (lambda: tiff_bytes(PIXELS, planar=2, endian=">"), BGR),
        (lambda: tiff_bytes(PIXELS, big=True), BGR),
        (lambda: tiff_bytes(PIXELS[..., 0].astype(np.uint16) * 257), PIXELS[..., :1].repeat(3, 2)),
        (lambda: tiff_bytes(255 - PIXELS[..., 0], {262: 0}), PIXELS[..., :1].repeat(3, 2)),
        (lambda: encoded("TIFF", compression="tiff_lzw"), BGR),
        (lambda: encoded("TIFF", save_all=True, append_images=[Image.new("RGB", (900, 900))]), BGR),
        (lambda: encoded("GIF", PICTURE.quantize(), save_all=True, append_images=[Image.new("P", (64, 48))]), None),
        (lambda: encoded("WEBP", lossless=True, save_all=True, append_images=[Image.new("RGB", (64, 48))]), BGR),
        (lambda: encoded("PNG", save_all=True, append_images=[Image.new("RGB", (64, 48))]), BGR),
        (lambda: cv2.imencode(".png", BGR.astype(np.uint16) * 257)[1].tobytes(), BGR),
        (lambda: encoded("JPEG2000"), BGR),
        (lambda: encoded("JPEG2000", no_jp2=True), BGR),
        (lambda: upside_down(encoded("BMP")), BGR[::-1]),
        (lambda: b"P6 # 64\n64 48\n#\n255\n" + PIXELS.tobytes(), BGR),
        (lambda: b"P6\n64 48\n65535\n" + (PIXELS.astype(">u2") * 257).tobytes(), BGR),
    ],
)
def test_the_first_picture_of_every_kind(tmp_path, data, expected):
    pixels = read(tmp_path, data())
    if expected is None:  # a palette
        expected = np.asarray(PICTURE.quantize().convert("RGB"))[..., ::-1]
    np.testing.assert_allclose(pixels, expected, atol=1)


def upside_down(bmp):
    return bmp[:22] + struct.pack("<i", -48) + bmp[26:]


def test_a_gif_whose_frame_is_larger_than_its_screen(tmp_path):
    data = bytearray(encoded("GIF"))
    data[6:10] = struct.pack("<HH", 10, 10)
    assert read(tmp_path, bytes(data)).shape == (48, 64, 3)


def test_a_size_that_the_pixels_do_not_have_is_refused(tmp_path):
    """JPEG 2000 says its size twice."""
    data = bytearray(encoded("JPEG2000"))
    place = data.find(b"ihdr") + 4
    data[place : place + 8] = struct.pack(">II", 8, 8)
    with pytest.raises(DamagedImageError, match=r"x\.bin"):
        read(tmp_path, bytes(data))


@pytest.mark.slow
def test_a_png_that_announces_gigabytes_costs_no_memory(tmp_path):
    data = bytearray(encoded("PNG"))
    place = data.find(b"IDAT") - 4
    data[place : place + 4] = b"\xc0\0\0\0"
    gc.collect()
    start_afresh()
    before = host_peak_gib()
    with pytest.raises(DamagedImageError, match="ends early"):
        read(tmp_path, bytes(data))
    assert host_peak_gib() - before < 0.1


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "tiff_adobe_deflate"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_packed_tiff_with_a_hole_is_refused(tmp_path, compression, mode):
    """OpenCV gives a picture."""
    whole = encoded("TIFF", PICTURE.convert(mode).resize((320, 240)), compression=compression)
    np.testing.assert_array_equal(read(tmp_path, whole), cv2.imread(str(tmp_path / "x.bin")))
    middle = len(whole) // 2
    with pytest.raises(DamagedImageError, match=r"x\.bin is damaged"):
        read(tmp_path, whole[:middle] + bytes(200) + whole[middle + 200 :])
    assert cv2.imread(str(tmp_path / "x.bin")) is not None
