"""Every frame that a player shows, once, with its own time, whatever the container and the order of reading."""

from __future__ import annotations

import json
import shutil
import subprocess
from fractions import Fraction

import numpy as np
import pytest

from sapiens_pl.core.errors import ConfigError, OversizedImageError, SapiensError, UnreadableImageError
from sapiens_pl.pictures.folder import ImageFiles
from sapiens_pl.pictures.left_out import can_read_videos, why_no_videos
from sapiens_pl.pictures.sources import open_again, open_source

av = pytest.importorskip("av")
from clips import make_clip, number_of, picture, trim  # noqa: E402

VARIABLE = np.cumsum(np.random.default_rng(0).integers(300, 3000, 30)).tolist()
KINDS = {
    "closed groups": ("a.mp4", {}),
    "open groups": ("a.mp4", {"open_gop": True, "b_frames": 3}),
    "variable rate": ("a.mp4", {"times": VARIABLE}),
    "no B-frames": ("a.mp4", {"b_frames": 0}),
    "one keyframe": ("a.mp4", {"gop": 250}),
    "H.265, open groups": ("a.mp4", {"codec": "libx265", "open_gop": True}),
    "H.265, 10 bits": ("a.mp4", {"codec": "libx265", "pix_fmt": "yuv420p10le"}),
    "VP9": ("a.webm", {"codec": "libvpx-vp9"}),
    "VP8 with hidden frames": ("a.webm", {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "16"}}),
    "Motion JPEG, full range": ("a.mov", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
    "ProRes 4:2:2": ("a.mov", {"codec": "prores_ks", "pix_fmt": "yuv422p10le"}),
    "4:4:4": ("a.mkv", {"pix_fmt": "yuv444p"}),
    "transport stream with sound": ("a.ts", {"open_gop": True, "audio": True}),
    "Matroska with sound": ("a.mkv", {"open_gop": True, "audio": True}),
    "AVI, which says no times of showing": ("a.avi", {"codec": "mpeg4"}),
    "bare stream": ("a.h264", {}),
    "fragments": ("a.mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}),
}  # fmt: skip

OWN = """
class Own:
    def __init__(self, images, max_megapixels):
        self.images = images

    def pictures(self): ...

    def read(self, index): ...
"""


def source(path, **settings):
    return ImageFiles(str(path), video=settings or None)


def numbers(images, order=None):
    """What the frames show, read in an order."""
    count = len(images.pictures().names)
    return [number_of(images.read(int(index)).pixels) for index in (range(count) if order is None else order)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_comes_once_in_any_order_of_reading(kind, tmp_path):
    name, how = KINDS[kind]
    images = source(make_clip(tmp_path / name, 30, **how))
    assert list(images.pictures().names) == [f"{name}/a_{index:012d}" for index in range(30)]
    frames = images.pictures().frames
    assert numbers(images) == frames.frame_index.tolist() == list(range(30))
    assert images.num_decoded == 30
    order = np.random.default_rng(1).permutation(30)
    again = source(tmp_path / name)
    assert numbers(again, order) == order.tolist()
    assert all(np.array_equal(again.read(index).pixels, images.read(index).pixels) for index in (29, 11, 12, 3))
    assert (np.diff(frames.pts) > 0).all() and (np.diff(frames.seconds) > 0).all()


def test_times_are_those_that_were_written(tmp_path):
    images = source(make_clip(tmp_path / "a.mp4", times=VARIABLE))
    frames = images.pictures().frames
    assert np.diff(frames.pts).tolist() == np.diff(VARIABLE).tolist()
    np.testing.assert_allclose(frames.seconds, (np.array(VARIABLE) - VARIABLE[0]) / 30000, atol=1e-9)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="there is no ffprobe to compare with")
@pytest.mark.parametrize("kind", [kind for kind in KINDS if "AVI" not in kind and "bare" not in kind])
def test_times_are_those_of_ffprobe_to_the_unit(kind, tmp_path):
    name, how = KINDS[kind]
    path = make_clip(tmp_path / name, 30, **how)
    command = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_frames", "-of", "json", str(path)]
    rows = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["frames"]
    assert source(path).pictures().frames.pts.tolist() == [row["best_effort_timestamp"] for row in rows]


def test_a_stretch_goes_from_keyframe_to_keyframe_and_a_photograph_is_one_of_its_own(tmp_path):
    import cv2

    make_clip(tmp_path / "b.mp4", 30, gop=12, open_gop=True)
    for name in ("a.png", "c.png", "d.png"):
        cv2.imwrite(str(tmp_path / name), picture(7))
    images = source(tmp_path)
    pictures = images.pictures()
    assert pictures.stretches.tolist() == [0, 1, 13, 25, 31, 32, 33]
    assert pictures.frames.video.tolist() == [-1] + [0] * 30 + [-1, -1]
    assert [pictures.names[index] for index in (0, 1, 31)] == ["a.png", "b.mp4/b_000000000000", "c.png"]
    assert pictures.path(30) == str(tmp_path / "b.mp4") and pictures.path(31) == str(tmp_path / "c.png")
    assert numbers(images) == [7, *range(30), 7, 7]


@pytest.mark.parametrize("way", ["folder", "glob", "list", "one"])
def test_videos_are_found_in_every_way_that_pictures_are(way, tmp_path):
    (tmp_path / "in").mkdir()
    make_clip(tmp_path / "in" / "walk.mp4", 3)
    (tmp_path / "list.txt").write_text("in/walk.mp4\n")
    given = {"folder": "", "glob": "**/*.mp4", "list": "list.txt", "one": "in/walk.mp4"}[way]
    images = source(tmp_path / given)
    folder = "" if way == "one" else "in/"
    assert list(images.pictures().names) == [f"{folder}walk.mp4/walk_{index:012d}" for index in range(3)]
    assert numbers(images) == [0, 1, 2]


def test_an_edit_list_hides_the_frames_before_its_beginning(tmp_path):
    trim(make_clip(tmp_path / "a.mp4", 30), 5000)
    images = source(tmp_path / "a.mp4")
    assert numbers(images) == list(range(5, 30))
    frames = images.pictures().frames
    assert frames.frame_index.tolist() == list(range(25)) and frames.seconds[0] == pytest.approx(0, abs=1e-6)
    assert numbers(source(tmp_path / "a.mp4"), [24, 0, 13]) == [29, 5, 18]


def test_a_stream_that_begins_in_the_middle_begins_with_its_first_keyframe(tmp_path):
    path = make_clip(tmp_path / "a.ts", 60, open_gop=True)
    path.write_bytes(path.read_bytes()[188 * 40 :])
    images = source(path)
    shown = numbers(images)
    assert shown == list(range(shown[0], 60)) and shown[0] in (12, 24, 36)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("mirror", [False, True])
def test_frames_are_turned_as_a_player_turns_them(rotation, mirror, tmp_path):
    images = source(make_clip(tmp_path / "a.mp4", 3, rotation=rotation, mirror=mirror))
    image = images.read(2)
    assert image.pixels.shape == (96, 192, 3) and number_of(image.pixels) == 2
    assert image.pixels.flags.c_contiguous


@pytest.mark.parametrize("aspect, wh", [(Fraction(4, 3), (256, 96)), (Fraction(1, 2), (192, 192))])
def test_pixels_become_square(aspect, wh, tmp_path):
    images = source(make_clip(tmp_path / "a.mp4", 3, pixel_aspect=aspect))
    pixels = images.read(2).pixels
    assert pixels.shape[1::-1] == wh
    assert number_of(pixels[:: wh[1] // 96, np.arange(192) * wh[0] // 192]) == 2


def test_sizes_that_are_odd_and_change_in_mid_stream(tmp_path):
    first, second = make_clip(tmp_path / "a.ts", 12), make_clip(tmp_path / "b.ts", 12, wh=(320, 192), first_number=12)
    both = tmp_path / "c.ts"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    images = source(both)
    # The last packet before the joint, and what builds on it, count as damaged: the stream's counter leaps there.
    assert numbers(images, [*range(10), *range(12, 24)]) == [*range(10), *range(12, 24)]
    assert images.read(2).pixels.shape == (96, 192, 3) and images.read(20).pixels.shape == (192, 320, 3)
    odd = source(make_clip(tmp_path / "o.mkv", 3, wh=(193, 97), codec="ffv1", pix_fmt="yuv444p"))
    assert odd.read(1).pixels.shape == (97, 193, 3)


def test_the_best_stream_of_several_and_no_cover(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        streams = [container.add_stream("libx264", rate=30) for _ in range(2)]
        for stream, wh in zip(streams, [(192, 96), (384, 192)]):
            stream.width, stream.height, stream.pix_fmt = *wh, "yuv420p"
        for index in range(5):
            for stream, wh in zip(streams, [(192, 96), (384, 192)]):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index, wh), "bgr24")))
        for stream in streams:
            container.mux(stream.encode(None))
    images = source(tmp_path / "a.mkv")
    shape = images.read(0).pixels.shape
    assert numbers(images) == [0, 1, 2, 3, 4] and shape in [(96, 192, 3), (192, 384, 3)]
    with av.open(str(tmp_path / "a.mkv")) as container:
        best = container.streams.best("video")
        assert (best.height, best.width) == shape[:2]


def test_settings_choose_frames_and_frames_keep_their_index(tmp_path):
    path = make_clip(tmp_path / "a.mp4", 30)
    every = source(path, every=7)
    assert numbers(every) == [0, 7, 14, 21, 28] == every.pictures().frames.frame_index.tolist()
    assert every.pictures().names[1].endswith("a_000000000007")
    assert every.pictures().frames.num_frames.tolist() == [30]
    assert numbers(source(path, fps=10)) == list(range(0, 30, 3))
    assert numbers(source(path, fps=30)) == numbers(source(path, fps=1000)) == list(range(30))
    assert numbers(source(path, start=0.5, end=0.7)) == list(range(15, 21))
    assert numbers(source(path, every=2, fps=5, start=0.5)) == [16, 18, 24]
    assert numbers(source(make_clip(tmp_path / "m.mkv", 30), fps=30)) == list(range(30))  # times in milliseconds


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"every": 0}, "video.every|every=0 must be"),
        ({"fps": -1}, "fps=-1 must be"),
        ({"start": 3, "end": 2}, "start=3 must be less than"),
        ({"step": 2}, "step is not a setting"),
    ],
)
def test_settings_that_cannot_be_meant(settings, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        source(tmp_path, **settings)


def test_a_time_in_which_the_video_has_no_frame_is_told(tmp_path):
    images = source(make_clip(tmp_path / "a.mp4", 30), start=5)
    assert list(images.pictures().names) == ["a.mp4"]
    with pytest.raises(UnreadableImageError, match="a.mp4 has no frame in the time that is asked for .* ends at 0.967"):
        images.read(0)


def test_frames_are_read_again_by_name_without_a_search(tmp_path, monkeypatch):
    path = make_clip(tmp_path / "walk.mp4", 30)
    images = open_source(str(tmp_path))
    read = open_again(str(tmp_path))
    monkeypatch.setattr("sapiens_pl.pictures.folder.list_images", lambda images: pytest.fail("it was listed again"))
    for index in (3, 4, 25):
        again = read(f"walk.mp4/walk_{index:012d}", str(path))
        assert number_of(again.pixels) == index
    with pytest.raises(UnreadableImageError, match="walk.mp4 has no frame 99 any more"):
        read("walk.mp4/walk_000000000099", str(path))
    assert isinstance(images, ImageFiles)


def test_a_source_of_ones_own_need_not_know_of_videos(tmp_path, monkeypatch):
    (tmp_path / "own_source_module.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    assert open_source("x", source="own_source_module.Own", video={"every": 2, "fps": None}).images == "x"


def test_large_frames_are_refused_before_they_are_decoded(tmp_path):
    images = ImageFiles(str(make_clip(tmp_path / "a.mp4", 3)), max_megapixels=0.01)
    with pytest.raises(OversizedImageError, match=r"a.mp4, frame 1 \(at 0.033 s\) is 192x96 px, more than the limit"):
        images.read(1)
    assert images.num_decoded == 0


def test_a_decoder_goes_to_no_other_process(tmp_path):
    import pickle

    images = source(make_clip(tmp_path / "a.mp4", 12))
    images.read(3)
    assert number_of(pickle.loads(pickle.dumps(images)).read(4).pixels) == 4


def test_without_pyav_videos_are_left_out_with_the_remedy(tmp_path, monkeypatch):
    import cv2

    make_clip(tmp_path / "a.mp4", 3)
    cv2.imwrite(str(tmp_path / "b.png"), picture(0))
    monkeypatch.setattr("sapiens_pl.pictures.left_out.find_spec", lambda name: None)
    can_read_videos.cache_clear()
    try:
        pictures = source(tmp_path).pictures()
        assert list(pictures.names) == ["b.png"] and pictures.frames is None
        assert "pip install 'sapiens_pl[video]'" in " ".join(pictures.left_out.sentences())
        with pytest.raises(ConfigError, match=r"a.mp4 is a video .* pip install 'sapiens_pl\[video\]'"):
            source(tmp_path / "a.mp4").pictures()
    finally:
        can_read_videos.cache_clear()


def test_pyav_that_cannot_be_loaded_costs_the_videos_only(tmp_path, monkeypatch):
    import cv2

    def broken(name):
        raise ImportError("libavcodec.so.62: cannot open shared object file")

    make_clip(tmp_path / "a.mp4", 3)
    cv2.imwrite(str(tmp_path / "b.png"), picture(0))
    again = open_again(str(tmp_path))
    monkeypatch.setattr("sapiens_pl.pictures.left_out.import_module", broken)
    why_no_videos.cache_clear()
    try:
        images = source(tmp_path)
        assert list(images.pictures().names) == ["a.mp4", "b.png"]
        says = "a.mp4 is a video, and PyAV cannot be loaded .*libavcodec.*pip install --force-reinstall av"
        with pytest.raises(UnreadableImageError, match=says):
            images.read(0)
        with pytest.raises(UnreadableImageError, match=says):
            again("a.mp4/a_000000000001", str(tmp_path / "a.mp4"))
        assert images.read(1).pixels.any()
    finally:
        why_no_videos.cache_clear()


def test_a_table_is_remembered_until_the_file_changes(tmp_path, monkeypatch):
    from sapiens_pl.pictures import video_tables

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(video_tables, "_LEAST_PACKETS", 10)
    path = make_clip(tmp_path / "a.mp4", 30)
    first = source(path).pictures()
    with monkeypatch.context() as patch:
        patch.setattr(video_tables, "scan", lambda path: pytest.fail("it was scanned again"))
        images = source(path)
        assert images.pictures().frames.pts.tolist() == first.frames.pts.tolist() and numbers(images, [17]) == [17]
    make_clip(tmp_path / "a.mp4", 20)
    assert len(source(path).pictures().names) == 20
    for kept in (tmp_path / "cache" / "sapiens_pl" / "videos").iterdir():
        kept.write_bytes(b"broken")
    assert len(source(path).pictures().names) == 20
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert len(source(path).pictures().names) == 20


def test_what_cannot_be_read_raises_for_people(tmp_path):
    images = source(make_clip(tmp_path / "a.mp4", 3))
    images.pictures()
    (tmp_path / "a.mp4").unlink()
    with pytest.raises(SapiensError, match=r"a.mp4, frame 0 \(at 0.000 s\) does not exist any more"):
        images.read(0)
