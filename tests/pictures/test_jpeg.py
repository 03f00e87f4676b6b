"""Damaged JPEGs are refused, whole ones read however odd they are."""

from __future__ import annotations

import importlib
import io
import random
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import COCO
from PIL import Image

from sapiens_pl.core.errors import DamagedImageError, UnreadableImageError
from sapiens_pl.pictures import read_image

PHOTO = (COCO / "000000000785.jpg").read_bytes()
FORMS = {"baseline": {}, "progressive": {"progressive": True}, "restart": {"restart_marker_blocks": 8}}
ODD = {
    "an unknown JFIF revision": lambda data: data.replace(b"JFIF\0\1", b"JFIF\0\7", 1),
    "a broken colour profile": lambda data: after_soi(data, b"\xff\xe2\0\x12ICC_PROFILE\0\x05\x02"),
    "an unknown Adobe transform": lambda data: after_soi(data, b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\x07"),
    "bytes between segments": lambda data: data.replace(b"\xff\xdb", b"odd bytes\xff\xdb", 1),
    "fill bytes before segments": lambda data: after_soi(data, b"\xff" * 9),
    "a maker's own segments": lambda data: after_soi(data, b"\xff\xef\0\x06abcd\xff\xfe\0\x04hi"),
    "scan parameters that baseline has no use for": lambda data: data.replace(b"\0\x3f\0", b"\0\0\0", 1),
}
"""What encoders and cameras do, and libjpeg complains of, or not."""


def after_soi(data, segment):
    return data[:2] + segment + data[2:]


def encoded(form="baseline", mode="RGB"):
    buffer = io.BytesIO()
    Image.open(io.BytesIO(PHOTO)).convert(mode).resize((320, 212)).save(buffer, "JPEG", quality=90, **FORMS[form])
    return buffer.getvalue()


def read(tmp_path, data):
    (tmp_path / "x.jpg").write_bytes(data)
    return read_image(str(tmp_path / "x.jpg")).pixels


def assert_refused(tmp_path, data):
    with pytest.raises(DamagedImageError, match=r"x\.jpg is .*(cut off or damaged|scans are missing)"):
        read(tmp_path, data)


@pytest.fixture
def damaged_jpegs(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent.parent.parent)
    return importlib.import_module("benchmarks.damaged_jpegs")


@pytest.mark.slow
def test_whole_ones_of_three_encoders_are_never_refused(damaged_jpegs, tmp_path):
    assert damaged_jpegs.refused_whole(random.Random(1), 1, tmp_path) == []


@pytest.mark.parametrize("form", FORMS)
def test_a_missing_part_is_seen(damaged_jpegs, tmp_path, form):
    """`benchmarks/damaged_jpegs.py` in small; OpenCV gives a picture for all of these."""
    row = damaged_jpegs.accepted_damaged(form, "part missing", random.Random(3), 25, tmp_path)
    assert row.accepted <= 2 and row.over_10_percent_wrong == 0


@pytest.mark.parametrize("form", ["restart", "progressive"])
def test_changed_bytes_that_shift_the_picture_are_seen(damaged_jpegs, tmp_path, form):
    row = damaged_jpegs.accepted_damaged(form, "bytes changed", random.Random(3), 25, tmp_path)
    assert row.accepted < 15 and row.over_10_percent_wrong == 0


@pytest.mark.parametrize("form", FORMS)
def test_an_end_that_is_not_written_or_filled_is_harmless(tmp_path, form):
    data = encoded(form)
    whole = read(tmp_path, data)
    for other in (
        data[:-2],
        data[:-1],
        data[:-2] + bytes(4000),  # a file made larger than what came
        data[:-2] + bytes(40) + data[-2:],
        data[:-2] + b"\xff" * 7 + data[-2:],
        data + b"trailer of a phone",
        data + data,  # a preview
    ):
        np.testing.assert_array_equal(read(tmp_path, other), whole)


@pytest.mark.parametrize("form", FORMS)
def test_an_end_that_is_made_up_hides_nothing(tmp_path, form):
    data = encoded(form)
    half = data[: len(data) // 2]
    for other in (half, half + data[-2:], half + bytes(len(half)), half + bytes(len(half)) + data[-2:], data[:-9]):
        assert_refused(tmp_path, other)
    assert_refused(tmp_path, data[:-60] + bytes(58) + data[-2:])  # the last block of a download that never came


@pytest.mark.parametrize("odd", ODD)
def test_oddities_are_harmless_and_hide_no_damage(tmp_path, odd):
    data = encoded()
    changed = ODD[odd](data)
    assert changed != data
    np.testing.assert_array_equal(read(tmp_path, changed), read(tmp_path, data))
    half = len(changed) // 2
    assert_refused(tmp_path, changed[:half])
    assert_refused(tmp_path, changed[:half] + changed[half + 3000 :])


def test_scans_that_are_missing_are_seen(tmp_path):
    data = encoded("progressive")
    ends = [i for i in range(len(data)) if data.startswith(b"\xff\xda", i)][1:]
    tables = [data.rfind(b"\xff\xc4", 0, end) for end in ends]
    for begin in [*ends, *(table for table in tables if table > ends[0])]:
        assert_refused(tmp_path, data[:begin] + b"\xff\xd9")
        assert_refused(tmp_path, data[:begin])


def test_cmyk_is_read_as_opencv_reads_it_or_refused(tmp_path):
    data = encoded(mode="CMYK")
    np.testing.assert_array_equal(read(tmp_path, data), cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
    assert_refused(tmp_path, data[: len(data) // 2] + b"\xff\xd9")


def of_flat_blocks(factors, interleaved=True):
    """A baseline JPEG of 200x104 px, each of its 8x8 blocks of one colour, with any sampling factors."""
    most_h, most_v = (max(factor[i] for factor in factors) for i in range(2))
    dc_table, ac_table = bytes([0] * 3 + [12] + [0] * 12) + bytes(range(12)), bytes([1] + [0] * 15) + b"\0"

    def segment(marker, content):
        return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content

    def scan(components):
        bits, before = [], dict.fromkeys(components, 0)
        only = factors[components[0]] if len(components) == 1 else (most_h, most_v)
        columns, rows = -(-200 * only[0] // most_h // 8), -(-104 * only[1] // most_v // 8)
        if len(components) > 1:
            columns, rows = -(-200 // (8 * most_h)), -(-104 // (8 * most_v))
        for row in range(rows):
            for column in range(columns):
                for component in components:
                    h, v = factors[component] if len(components) > 1 else (1, 1)
                    for part in range(h * v):
                        value = (row * 7 + column * 3 + part) % 50 * (8 - 3 * component) - 100
                        difference, before[component] = value - before[component], value
                        size = abs(difference).bit_length()
                        bits.append(f"{size:04b}")
                        if size:
                            bits.append(f"{difference if difference > 0 else difference + (1 << size) - 1:0{size}b}")
                        bits.append("0")
        joined = "".join(bits) + "1" * (-len("".join(bits)) % 8)
        coded = bytes(int(joined[i : i + 8], 2) for i in range(0, len(joined), 8)).replace(b"\xff", b"\xff\0")
        names = b"".join(bytes([component + 1, 0]) for component in components)
        return segment(0xDA, bytes([len(components)]) + names + b"\0\x3f\0") + coded

    frame = struct.pack(">BHHB", 8, 104, 200, len(factors))
    frame += b"".join(bytes([i + 1, h * 16 + v, 0]) for i, (h, v) in enumerate(factors))
    everyone = list(range(len(factors)))
    scans = [scan(everyone)] if interleaved else [scan([component]) for component in everyone]
    tables = segment(0xDB, b"\0" + b"\1" * 64) + segment(0xC4, b"\0" + dc_table) + segment(0xC4, b"\x10" + ac_table)
    return b"\xff\xd8" + tables + segment(0xC0, frame) + b"".join(scans) + b"\xff\xd9"


@pytest.mark.parametrize("interleaved", [True, False])
@pytest.mark.parametrize("factors", ["11 11 11", "22 11 11", "12 12 12", "31 11 11", "22 21 11", "21 12 11", "22"])
def test_any_sampling_is_read_as_opencv_reads_it(tmp_path, factors, interleaved):
    data = of_flat_blocks([(int(f[0]), int(f[1])) for f in factors.split()], interleaved)
    reference = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert reference.std() > 5
    np.testing.assert_array_equal(read(tmp_path, data), reference)
    assert_refused(tmp_path, data[: len(data) // 2])
    if not interleaved and len(factors) > 2:
        assert_refused(tmp_path, data[: data.rfind(b"\xff\xda")] + b"\xff\xd9")  # a colour is missing


@pytest.mark.parametrize(
    "data",
    [PHOTO[:3], PHOTO[:100], PHOTO[:2] + bytes(500), PHOTO[:2] * 200, PHOTO[:2] + PHOTO[-2:]],
    ids=["3 bytes", "100 bytes", "zeros", "only starts", "no frame"],
)
def test_what_has_no_picture_gives_a_sentence(tmp_path, data):
    with pytest.raises(UnreadableImageError, match=r"x\.jpg (begins as JPEG|is not an image)"):
        read(tmp_path, data)


def test_two_frames_of_two_sizes_are_refused(tmp_path):
    data = encoded()
    frame = data.find(b"\xff\xc0")
    small = bytearray(data[frame : frame + 19])
    small[5:9] = struct.pack(">HH", 16, 16)
    for other in (data[:frame] + bytes(small) + data[frame:], data[: frame + 19] + bytes(small) + data[frame + 19 :]):
        assert_refused(tmp_path, other)
