from __future__ import annotations

import gc
import io
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import COCO
from PIL import Image

from sapiens_pl.core.devices import host_peak_gib, start_afresh
from sapiens_pl.core.errors import DamagedImageError, MissingImageError, OversizedImageError, UnreadableImageError
from sapiens_pl.pictures import read_image, upright_bboxes

PHOTO = COCO / "000000000785.jpg"


def encoded(format, mode="RGB", **options):
    buffer = io.BytesIO()
    Image.open(PHOTO).convert(mode).save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_pictures_come_upright_as_opencv_reads_them(tmp_path, orientation, format):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"x.{format.lower()}"
    path.write_bytes(encoded(format, exif=exif))
    np.testing.assert_array_equal(read_image(str(path)).pixels, cv2.imread(str(path)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_raw_boxes_turn_with_the_picture(tmp_path, orientation):
    raw = np.zeros((60, 100, 3), np.uint8)
    raw[10:20, 30:70] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "x.png"
    Image.fromarray(raw).save(path, exif=exif)
    image = read_image(str(path))
    height, width = image.pixels.shape[:2]
    (box,) = upright_bboxes(np.array([[30.0, 10.0, 70.0, 20.0]]), image.orientation, (width, height)).astype(int)
    drawn = np.zeros_like(image.pixels)
    drawn[box[1] : box[3], box[0] : box[2]] = 255
    np.testing.assert_array_equal(drawn, image.pixels)


@pytest.mark.parametrize(
    ("format", "mode"),
    [("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGBA"), ("PNG", "P"), ("PNG", "LA"), ("WEBP", "RGB"), ("BMP", "RGB")]
    + [("TIFF", "RGB")],
)
def test_every_usual_kind_is_read_as_opencv_reads_it(tmp_path, format, mode):
    path = tmp_path / "x.bin"
    path.write_bytes(encoded(format, mode))
    np.testing.assert_array_equal(read_image(str(path)).pixels, cv2.imread(str(path)))


def test_the_first_frame_of_an_animation_counts(tmp_path):
    """Read by OpenCV where it was built with GIF, else by Pillow."""
    frames = [Image.new("RGB", (40, 30), colour) for colour in ((250, 10, 20), (0, 200, 0))]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    pixels = read_image(str(tmp_path / "x.gif")).pixels
    assert pixels.shape == (30, 40, 3)
    np.testing.assert_allclose(pixels, np.broadcast_to([20, 10, 250], (30, 40, 3)), atol=8)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_cut_pictures_are_never_half_a_result(tmp_path, format):
    path = tmp_path / "x.bin"
    data = encoded(format)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises((DamagedImageError, UnreadableImageError), match=r"x\.bin"):
        read_image(str(path))


def test_a_jpeg_cut_in_the_middle_is_found(tmp_path):
    """Whole to its last byte, but with a part missing: OpenCV paints the rest grey and says nothing."""
    data = PHOTO.read_bytes()
    path = tmp_path / "x.jpg"
    path.write_bytes(data[:50000] + data[70000:])
    assert cv2.imread(str(path)) is not None
    with pytest.raises(DamagedImageError, match="cut off or damaged"):
        read_image(str(path))


def test_a_jpeg_with_something_behind_it_is_fine(tmp_path):
    path = tmp_path / "x.jpg"
    path.write_bytes(PHOTO.read_bytes() + b"trailer of a phone" * 100)
    np.testing.assert_array_equal(read_image(str(path)).pixels, cv2.imread(str(PHOTO)))


def test_what_is_no_picture_gives_a_sentence(tmp_path):
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "fifo.jpg")
    for name, error in [
        ("empty.jpg", UnreadableImageError),
        ("text.jpg", UnreadableImageError),
        ("folder.jpg", UnreadableImageError),
        ("fifo.jpg", UnreadableImageError),
        ("absent.jpg", MissingImageError),
        ("nul\0.jpg", UnreadableImageError),
    ]:
        with pytest.raises(error, match=r"\.jpg"):
            read_image(str(tmp_path / name))


@pytest.mark.slow
def test_a_bomb_costs_no_memory(tmp_path):
    Image.new("1", (16_000, 10_000)).save(tmp_path / "bomb.png")
    gc.collect()
    start_afresh()
    before = host_peak_gib()
    with pytest.raises(OversizedImageError, match="160 megapixels"):
        read_image(str(tmp_path / "bomb.png"), max_megapixels=50)
    assert host_peak_gib() - before < 0.1  # decoded it would be 0.15


def test_bombs_are_refused_before_decoding(tmp_path):
    path = tmp_path / "x.png"
    Image.fromarray(np.zeros((2000, 3000), np.uint8)).save(path)
    with pytest.raises(OversizedImageError, match="6 megapixels, more than the limit of 5"):
        read_image(str(path), max_megapixels=5)
    assert read_image(str(path)).pixels.shape == (2000, 3000, 3)


def test_files_of_no_size_are_not_opened():
    """Some of the kernel's own files are regular, of 0 bytes, and give bytes without end or none for ever."""
    if not os.path.exists("/proc/self/environ"):
        pytest.skip("needs /proc")
    with pytest.raises(UnreadableImageError, match="is an empty file"):
        read_image("/proc/self/environ")


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_lack_of_memory_is_no_damage(tmp_path, suffix):
    """In a process whose memory is limited."""
    Image.new("RGB", (6000, 6000)).save(tmp_path / f"x{suffix}")
    code = (
        "import resource, sys; from sapiens_pl.pictures import read_image; "
        "pages = int(open('/proc/self/statm').read().split()[0]); "
        "resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (90 << 20),) * 2)\n"
        "try: read_image(sys.argv[1])\nexcept Exception as error: print(type(error).__name__, error)"
    )
    if not os.path.exists("/proc/self/statm"):
        pytest.skip("needs /proc")
    command = [sys.executable, "-c", code, str(tmp_path / f"x{suffix}")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent.parent, timeout=120)
    assert done.stdout.startswith("UnreadableImageError") and "more memory than there is" in done.stdout, done
