"""The colours of a frame are those that a player shows, or it is refused by name."""

from __future__ import annotations

import numpy as np
import pytest

from sapiens_pl.core.errors import UnreadableImageError
from sapiens_pl.pictures.folder import ImageFiles

pytest.importorskip("av")
import clips
from clips import make_clip, number_of

BT709, BT601, BT2020 = 1, 6, 9
LIMITED, FULL = 1, 2


def patches(wh=(192, 96)):
    """(H, W, 3) uint8 BGR: fields of 48x48 px, each of one colour."""
    colours = [(40, 60, 200), (200, 90, 30), (60, 180, 70), (30, 30, 30), (220, 220, 220), (128, 128, 128)]
    colours += [(180, 60, 160), (50, 190, 200)]
    fields = np.array(colours, np.uint8).reshape(2, 4, 3)
    pixels = np.repeat(np.repeat(fields, wh[1] // 2, 0), wh[0] // 4, 1)
    return np.ascontiguousarray(pixels)


def centres(pixels):
    height, width = pixels.shape[:2]
    rows, columns = np.arange(1, 4, 2) * height // 4, np.arange(1, 8, 2) * width // 8
    return pixels[np.ix_(rows, columns)].astype(int)


@pytest.mark.parametrize("name, pix_fmt", [("libx264", "yuv420p"), ("libx264", "yuv444p"), ("libx265", "yuv420p10le")])
@pytest.mark.parametrize("matrix", [BT709, BT601])
@pytest.mark.parametrize("light", [LIMITED, FULL])
def test_matrix_and_range_are_those_that_the_video_says(name, pix_fmt, matrix, light, tmp_path):
    colour = {"color_range": light, "colorspace": matrix}
    path = make_clip(tmp_path / "a.mp4", codec=name, pix_fmt=pix_fmt, pictures=[patches()] * 3,
                     times=[0, 1000, 2000], colour=colour, b_frames=0)  # fmt: skip
    difference = centres(ImageFiles(str(path)).read(1).pixels) - centres(patches())
    assert np.abs(difference).max() <= 6  # the coder's loss, and swscale's fast conversion, which is FFmpeg's own


@pytest.mark.parametrize("wh, matrix", [((192, 96), BT601), ((1280, 96), BT709)])
def test_what_says_nothing_is_taken_as_players_take_it(wh, matrix, tmp_path, monkeypatch):
    colours = {"color_range": LIMITED, "colorspace": matrix}
    pictures = {"pictures": [patches(wh)] * 2, "times": [0, 1000], "b_frames": 0}
    make_clip(tmp_path / "said.mkv", colour=colours, **pictures)
    way = clips._reformatting(colours)
    monkeypatch.setattr(clips, "_reformatting", lambda colour: way)  # the same coded pixels, without their matrix
    make_clip(tmp_path / "unsaid.mkv", colour={"color_range": LIMITED}, **pictures)
    said, unsaid = (centres(ImageFiles(str(tmp_path / name)).read(1).pixels) for name in ("said.mkv", "unsaid.mkv"))
    assert np.array_equal(said, unsaid)


@pytest.mark.parametrize("transfer, name", [(16, "PQ, HDR10"), (18, "HLG")])
def test_high_dynamic_range_is_refused_by_name(transfer, name, tmp_path):
    from av.video.reformatter import Colorspace

    if "BT2020" not in Colorspace.__members__:
        pytest.skip("PyAV 17.0 cannot write such videos")
    colour = {"color_range": LIMITED, "colorspace": BT2020, "color_trc": transfer, "color_primaries": BT2020}
    path = make_clip(tmp_path / "a.mp4", 3, codec="libx265", pix_fmt="yuv420p10le", colour=colour)
    with pytest.raises(UnreadableImageError, match=rf"a.mp4, frame 1 .* high dynamic range \({name}\)"):
        ImageFiles(str(path)).read(1)


def test_grey_video_has_three_equal_channels(tmp_path):
    path = make_clip(tmp_path / "a.mkv", 3, codec="ffv1", pix_fmt="gray")
    pixels = ImageFiles(str(path)).read(1).pixels
    assert pixels.shape == (96, 192, 3) and (pixels[..., :1] == pixels).all() and np.ptp(pixels) > 150


def test_transparency_is_dropped_as_in_photographs(tmp_path):
    path = make_clip(tmp_path / "a.mkv", codec="ffv1", pix_fmt="bgra", pictures=[patches()] * 2, times=[0, 1000])
    assert np.abs(centres(ImageFiles(str(path)).read(1).pixels) - centres(patches())).max() <= 1


def test_an_interlaced_frame_is_shown_as_it_is_woven(tmp_path):
    options = {"flags": "+ildct+ilme", "x264-params": "interlaced=1:keyint=3:threads=1"}
    path = make_clip(tmp_path / "a.mp4", 6, b_frames=0, options=options)
    images = ImageFiles(str(path))
    assert [number_of(images.read(index).pixels) for index in range(6)] == list(range(6))
