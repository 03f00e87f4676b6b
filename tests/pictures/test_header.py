"""What a file says of itself decides who decodes it, and whether."""

from __future__ import annotations

import io
import struct

import cv2
import numpy as np
import pytest
from conftest import COCO
from PIL import Image
from tiff_files import tiff_bytes

from sapiens_pl.core.errors import DamagedImageError, OversizedImageError, UnreadableImageError
from sapiens_pl.pictures import read_image

PICTURE = Image.open(COCO / "000000000785.jpg").convert("RGB").resize((64, 48))
PIXELS = np.asarray(PICTURE)


def encoded(format, **options):
    buffer = io.BytesIO()
    PICTURE.save(buffer, format, **options)
    return buffer.getvalue()


def refusal(tmp_path, data, error, **options):
    (tmp_path / "x.bin").write_bytes(data)
    with pytest.raises(error) as caught:
        read_image(str(tmp_path / "x.bin"), **options)
    assert str(caught.value).startswith(f"{tmp_path / 'x.bin'} ") and "\n" not in str(caught.value)
    return str(caught.value)


def test_a_large_picture_behind_the_head_of_a_small_one_is_not_decoded(tmp_path):
    """Pillow takes this for a Kodak PhotoCD of 768x512 px; OpenCV would decode 12 megapixels of Radiance HDR."""
    large = bytearray(cv2.imencode(".hdr", np.ones((3000, 4000, 3), np.float32))[1].tobytes())
    comment = large.find(b"\n") + 1
    data = bytes(large[:comment]) + b"#" * (2048 - comment - 1) + b"\nPCD_IPI" + b"\n" + bytes(large[comment:])
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "PCD"
    assert "Radiance HDR" in refusal(tmp_path, data, UnreadableImageError, max_megapixels=1)


@pytest.mark.parametrize("format", ["HDR", "PCX", "TGA", "ICO", "PSD", "EXR", "HEIC", "JXL", "video", "web page"])
def test_formats_that_are_not_named_are_nobodys_way_round(tmp_path, format):
    data = {
        "HDR": lambda: cv2.imencode(".hdr", PIXELS.astype(np.float32))[1].tobytes(),
        "PSD": lambda: b"8BPS\0\1" + bytes(100),
        "EXR": lambda: b"\x76\x2f\x31\x01" + bytes(100),
        "HEIC": lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100),
        "JXL": lambda: b"\xff\x0a" + bytes(100),
        "video": lambda: b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(100),
        "web page": lambda: b"<!DOCTYPE html><html>404</html>",
    }.get(format, lambda: encoded(format))()
    said = {
        "HDR": "Radiance",
        "PSD": "Photoshop",
        "HEIC": "HEI",
        "JXL": "JPEG XL",
        "video": "video",
        "web page": "web page",
    }
    assert said.get(format, "not an image") in refusal(tmp_path, data, UnreadableImageError)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "JPEG2000", "PPM"])
def test_the_limit_holds_for_every_format(tmp_path, format):
    assert "limit of 0.003" in refusal(tmp_path, encoded(format), OversizedImageError, max_megapixels=0.003)


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (PIXELS[..., 0].astype(np.float32), "32-bit floating-point"),
        (PIXELS.astype(np.float32) / 255, "32-bit floating-point"),
        (PIXELS[..., 0].astype(np.float64), "64-bit floating-point"),
        (PIXELS.astype(np.float16), "16-bit floating-point"),
        (PIXELS[..., 0].astype(np.int32), "32-bit signed"),
        (PIXELS[..., 0].astype(np.uint32), "32-bit unsigned"),
        (PIXELS[..., 0].astype(np.int16), "16-bit signed"),
    ],
)
def test_numbers_without_black_and_white_are_called_so(tmp_path, pixels, said):
    message = refusal(tmp_path, tiff_bytes(pixels), UnreadableImageError)
    assert said in message and "convert it to 8 bits" in message


def test_tiffs_of_other_kinds_are_called_so(tmp_path):
    for photometric in (8, 32803):  # Lab, a sensor's raw values
        message = refusal(tmp_path, tiff_bytes(PIXELS, {262: photometric}), UnreadableImageError)
        assert f"photometric interpretation {photometric}" in message


def test_a_tile_larger_than_the_limit_is_not_decoded(tmp_path):
    data = tiff_bytes(PIXELS, {322: 30000, 323: 30000}, tile=64)
    assert "900 megapixels" in refusal(tmp_path, data, OversizedImageError)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "JPEG2000", "PPM"])
def test_heads_that_end_early(tmp_path, format):
    data = encoded(format)
    for length in (4, 9, 15, 30):
        refusal(tmp_path, data[:length], (UnreadableImageError, DamagedImageError))


@pytest.mark.parametrize("offset", [0, 7, 2**31, 2**32 - 1, 2**64 - 1])
def test_a_tiff_whose_directory_or_values_lie_elsewhere(tmp_path, offset):
    data, big = bytearray(tiff_bytes(PIXELS)), bytearray(tiff_bytes(PIXELS, big=True))
    struct.pack_into("<I", data, 4, offset % 2**32)
    struct.pack_into("<Q", big, 8, offset)
    refusal(tmp_path, bytes(data), UnreadableImageError)
    refusal(tmp_path, bytes(big), UnreadableImageError)
    if offset > 100_000:  # the width stands far away
        entry = bytes([0, 1, 16, 0]) + struct.pack("<Q", 1)
        big = tiff_bytes(PIXELS, big=True)
        place = big.find(entry)
        big = big[:place] + entry[:4] + struct.pack("<QQ", 99, offset) + big[place + 20 :]
        refusal(tmp_path, big, UnreadableImageError)


@pytest.mark.parametrize("form", [{}, {"save_all": True, "append_images": [Image.new("RGB", (2000, 1500))]}])
def test_an_avif_whose_boxes_say_less_than_its_codes_is_not_decoded(tmp_path, form):
    """libavif decodes them all the same, and makes the picture smaller then."""
    pytest.importorskip("PIL.AvifImagePlugin")
    buffer = io.BytesIO()
    Image.new("RGB", (2000, 1500)).save(buffer, "AVIF", speed=10, **form)
    data = bytearray(buffer.getvalue())
    (tmp_path / "x.avif").write_bytes(data)
    assert read_image(str(tmp_path / "x.avif")).pixels.shape == (1500, 2000, 3)
    place = data.find(b"ispe") + 8
    data[place : place + 8] = struct.pack(">II", 8, 8)
    assert "3 megapixels" in refusal(tmp_path, bytes(data), OversizedImageError, max_megapixels=1)
