"""Every format that carries an orientation comes upright, and boxes on its raw pixels turn with it."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from tiff_files import tiff_bytes

from sapiens_pl.pictures import read_image, upright_bboxes

WITHOUT_LOSS = {"PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}}
OPTIONS = {"JPEG": {"quality": 95}, "MPO": {"quality": 95}, "AVIF": {"quality": 90}, **WITHOUT_LOSS}
TURNS = {
    1: lambda raw: raw,
    2: lambda raw: raw[:, ::-1],
    3: lambda raw: raw[::-1, ::-1],
    4: lambda raw: raw[::-1],
    5: lambda raw: raw.transpose(1, 0, 2),
    6: lambda raw: np.rot90(raw, 3),
    7: lambda raw: np.rot90(raw, 2).transpose(1, 0, 2),
    8: lambda raw: np.rot90(raw, 1),
}
"""Exif's eight, as numpy says them (degrees anticlockwise)."""


def corners(dtype=np.uint8):
    """(48, 80, 3) RGB: three corners of three colours, so that no two of the eight look alike."""
    raw = np.full((48, 80, 3), 120, np.uint8)
    raw[:16, :32], raw[:16, 48:], raw[32:, :32] = (240, 20, 20), (20, 240, 20), (20, 20, 240)
    return raw.astype(dtype) * (257 if dtype == np.uint16 else 1)


def exif(orientation, endian=">"):
    order = "MM" if endian == ">" else "II"
    return b"Exif\0\0" + order.encode() + struct.pack(f"{endian}HIHHHIHHI", 42, 8, 1, 274, 3, 1, orientation, 0, 0)


def encoded(format, **options):
    buffer = io.BytesIO()
    Image.fromarray(corners()).save(buffer, format, **OPTIONS[format], **options)
    return buffer.getvalue()


def read(tmp_path, data):
    (tmp_path / "x.bin").write_bytes(data)
    image = read_image(str(tmp_path / "x.bin"))
    return image.pixels[..., ::-1], image.orientation


def assert_lies_so(tmp_path, data, orientation):
    pixels, undone = read(tmp_path, data)
    expected = TURNS[orientation](corners())
    assert undone == orientation and pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < 5


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", OPTIONS)
def test_upright_in_every_format_both_ways(tmp_path, format, orientation):
    if format == "AVIF":
        pytest.importorskip("PIL.AvifImagePlugin")
    form = Image.Exif()
    form[274] = orientation
    data = encoded(format, exif=form)
    assert_lies_so(tmp_path, data, orientation)
    # The red corner, as a box on the raw pixels, is where the upright picture is red.
    pixels, undone = read(tmp_path, data)
    box = upright_bboxes(np.array([[0.0, 0.0, 32.0, 16.0]]), undone, pixels.shape[1::-1])[0].astype(int)
    inside = pixels[box[1] : box[3], box[0] : box[2]]
    assert inside.shape[0] * inside.shape[1] == 32 * 16
    assert np.abs(inside.astype(int) - (240, 20, 20)).mean() < 12


@pytest.mark.parametrize("orientation", (2, 6))
@pytest.mark.parametrize("endian", "<>")
@pytest.mark.parametrize("form", [{}, {"planar": 2}, {"tile": 16}, {"big": True}, {"dtype": np.uint16}])
def test_tiff_in_all_its_forms(tmp_path, form, endian, orientation):
    raw = corners(form.pop("dtype", np.uint8))
    assert_lies_so(tmp_path, tiff_bytes(raw, {274: orientation}, endian=endian, **form), orientation)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_both_byte_orders_and_values_that_are_none(tmp_path, format):
    for endian in "<>":
        assert_lies_so(tmp_path, encoded(format, exif=exif(6, endian)), 6)
        assert_lies_so(tmp_path, encoded(format, exif=exif(0, endian)), 1)
        assert_lies_so(tmp_path, encoded(format, exif=exif(9, endian)), 1)
    assert_lies_so(tmp_path, encoded(format, exif=exif(6)[:-8]), 1)
    assert_lies_so(tmp_path, encoded(format, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"), 1)
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6"/></x:xmpmeta>'
    assert_lies_so(tmp_path, encoded(format, xmp=xmp), 1)
    for odd in (0, 9):
        assert_lies_so(tmp_path, tiff_bytes(corners(), {274: odd}), 1)


def test_a_png_may_say_it_behind_its_pixels(tmp_path):
    data, block = encoded("PNG"), b"eXIf" + exif(8)[6:]
    chunk = struct.pack(">I", len(block) - 4) + block + struct.pack(">I", zlib.crc32(block))
    assert_lies_so(tmp_path, data[:-12] + chunk + data[-12:], 8)


@pytest.mark.parametrize("axis", (0, 1))
@pytest.mark.parametrize("angle", range(4))
def test_avif_turns_first_and_mirrors_then(tmp_path, angle, axis):
    """All of `irot` (angle x 90 degrees anticlockwise) with all of `imir` (0 exchanges top and bottom)."""
    pytest.importorskip("PIL.AvifImagePlugin")
    data = bytearray(encoded("AVIF", exif=exif(5)))
    data[data.find(b"irot") + 4], data[data.find(b"imir") + 4] = angle, axis
    expected = np.flip(np.rot90(corners(), angle), axis)
    pixels, _ = read(tmp_path, bytes(data))
    assert pixels.shape == expected.shape and np.abs(pixels.astype(int) - expected).mean() < 5


@pytest.mark.parametrize("turned", (1, 6))
def test_avif_exif_does_not_count_beside_its_properties(tmp_path, turned):
    pytest.importorskip("PIL.AvifImagePlugin")
    form = Image.Exif()
    form[274], form[0x0128] = turned, 3  # the resolution's unit becomes an orientation of 3
    data = encoded("AVIF", exif=form).replace(b"\x01\x28\0\x03\0\0\0\1", b"\x01\x12\0\x03\0\0\0\1")
    data = data.replace(b"\x28\x01\x03\0\1\0\0\0", b"\x12\x01\x03\0\1\0\0\0")
    assert b"\x12\x01\x03\0\1\0\0\0" in data or b"\x01\x12\0\x03\0\0\0\1" in data
    assert_lies_so(tmp_path, data, turned)
