"""HEIC and HEIF: the promises of all other formats, by pillow-heif; without it a sentence with the remedy."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from sapiens_pl.core.errors import DamagedImageError, OversizedImageError, UnreadableImageError
from sapiens_pl.pictures import heif, read_image
from sapiens_pl.pictures.left_out import looks_like_picture, not_read_here


@pytest.fixture
def pillow_heif():
    return pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")


def picture(width=96, height=64):
    """Grey ramps and a red corner at the top left, RGB."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[...] = np.linspace(20, 200, width, dtype=np.uint8)[None, :, None]
    pixels[:16, :16] = (250, 10, 10)
    return pixels


def saved(pillow_heif, path, image, **options):
    held = image if isinstance(image, pillow_heif.HeifFile) else pillow_heif.from_pillow(image)
    held.save(str(path), quality=95, **options)
    return path


def test_pixels_are_those_of_the_picture_whatever_its_suffix(tmp_path, pillow_heif):
    path = saved(pillow_heif, tmp_path / "a.heic", Image.fromarray(picture()))
    loaded = read_image(str(path))
    assert loaded.orientation == 1 and loaded.pixels.dtype == np.uint8
    assert np.abs(loaded.pixels[..., ::-1].astype(int) - picture()).mean() < 3
    path.rename(tmp_path / "b.jpg")
    np.testing.assert_array_equal(read_image(str(tmp_path / "b.jpg")).pixels, loaded.pixels)
    assert looks_like_picture("a.HEIC") and looks_like_picture("a.hif") and not_read_here("a.heic") is None


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_turned_picture_is_turned_once(tmp_path, pillow_heif, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    held = pillow_heif.from_pillow(Image.fromarray(picture()))
    held.info["exif"] = exif.tobytes()
    path = saved(pillow_heif, tmp_path / "a.heic", held)  # which writes irot for it
    assert orientation == 1 or b"irot" in path.read_bytes()
    loaded = read_image(str(path))
    expected = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_CLOCKWISE, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}[orientation]
    upright = cv2.rotate(picture(), expected)
    assert loaded.pixels.shape == upright.shape
    assert np.abs(loaded.pixels[..., ::-1].astype(int) - upright).mean() < 3


def test_transparency_grey_and_ten_bits(tmp_path, pillow_heif):
    alpha = np.dstack([picture(), np.full((64, 96), 30, np.uint8)])
    loaded = read_image(str(saved(pillow_heif, tmp_path / "alpha.heic", Image.fromarray(alpha))))
    assert np.abs(loaded.pixels[..., ::-1].astype(int) - picture()).mean() < 3
    loaded = read_image(str(saved(pillow_heif, tmp_path / "grey.heic", Image.fromarray(picture()[..., 1]))))
    assert np.abs(loaded.pixels[..., 2].astype(int) - picture()[..., 1]).mean() < 3
    deep = pillow_heif.from_bytes("RGB;16", (96, 64), (picture().astype(np.uint16) * 257).tobytes())
    loaded = read_image(str(saved(pillow_heif, tmp_path / "deep.heic", deep)))
    assert loaded.pixels.dtype == np.uint8 and np.abs(loaded.pixels[..., ::-1].astype(int) - picture()).mean() < 4


def test_a_file_that_was_cut_is_refused(tmp_path, pillow_heif):
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 255, (256, 256, 3), np.uint8))
    data = saved(pillow_heif, tmp_path / "a.heic", noise).read_bytes()
    for part in (0.02, 0.3, 0.6, 0.9, 0.99):
        (tmp_path / "cut.heic").write_bytes(data[: int(part * len(data))])
        with pytest.raises((DamagedImageError, UnreadableImageError), match=r"cut\.heic .*(damaged|ends early|image)"):
            read_image(str(tmp_path / "cut.heic"))


def test_a_large_one_is_not_decoded(tmp_path, pillow_heif, monkeypatch):
    path = saved(pillow_heif, tmp_path / "a.heic", Image.fromarray(picture(640, 480)))
    monkeypatch.setattr("sapiens_pl.pictures.pixels.decode_heif", lambda data: pytest.fail("it was decoded"))
    with pytest.raises(OversizedImageError, match=r"has 0 megapixels, more than the limit of 0\.1"):
        read_image(str(path), max_megapixels=0.1)
    data = bytearray(path.read_bytes())
    place = data.find(b"ispe")
    data[place + 8 : place + 16] = (60000).to_bytes(4, "big") * 2
    path.write_bytes(data)
    with pytest.raises((OversizedImageError, UnreadableImageError)):
        read_image(str(path))


def test_without_pillow_heif_the_remedy_is_named(tmp_path, monkeypatch):
    def nothing(*given):
        return False

    for module in ("heif", "left_out"):
        monkeypatch.setattr(f"sapiens_pl.pictures.{module}.can_read_heif", nothing)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    with pytest.raises(UnreadableImageError, match=r"a\.heic is HEIC, and pillow-heif is not installed: pip install"):
        read_image(str(tmp_path / "a.heic"))
    kind = not_read_here("IMG_1.HEIC")
    assert kind.label == "HEIC" and "pip install 'sapiens_pl[heif]'" in kind.why
    assert not looks_like_picture("IMG_1.HEIC") and heif.why_no_heif()


def test_nothing_is_loaded_before_such_a_picture_comes(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, "PNG")
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    heif._module.cache_clear()
    read_image(str(tmp_path / "a.png"))
    assert heif._module.cache_info().currsize == 0
