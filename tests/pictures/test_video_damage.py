"""Videos that are damaged, cut, or no videos: one sentence each, and all that can be read is read."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest

from sapiens_pl.core.errors import DamagedImageError, SapiensError, UnreadableImageError
from sapiens_pl.pictures.folder import ImageFiles

av = pytest.importorskip("av")
from clips import cut, damage, make_clip, number_of, picture  # noqa: E402


def read_all(path):
    """Pixels of each frame by its pts, and what was said of those that failed, by name."""
    images = ImageFiles(str(path))
    pictures = images.pictures()
    good, failed = {}, {}
    for index, name in enumerate(pictures.names):
        try:
            good[int(pictures.frames.pts[index])] = images.read(index).pixels.copy()
        except SapiensError as error:
            failed[name] = error
    assert images.num_decoded <= len(pictures.names)
    return good, failed


@pytest.mark.parametrize("at", [0.4, 0.5, 0.7])
@pytest.mark.parametrize("name, how", [("a.mp4", {}), ("a.mp4", {"open_gop": True}), ("a.ts", {}), ("a.mkv", {})])
def test_damage_costs_the_frames_that_build_on_it_and_no_other(name, how, at, tmp_path):
    path = make_clip(tmp_path / name, 60, **how)
    clean, _ = read_all(path)
    damage(path, at)
    good, failed = read_all(path)
    for pts, pixels in good.items():
        assert np.array_equal(pixels, clean[pts]), pts
    missing = len(clean) - len(good)
    assert 1 <= missing <= 30
    if name == "a.mp4":
        assert len(failed) == missing  # the index knows all frames
        name, error = next(iter(failed.items()))
        index = int(name[-12:])
        assert isinstance(error, DamagedImageError)
        assert f"a.mp4, frame {index} (at {index / 30:.3f} s) cannot be decoded: the video is damaged" in str(error)


def test_damaged_frames_fail_in_any_order_of_reading(tmp_path):
    path = make_clip(tmp_path / "a.mp4", 60)
    damage(path)
    good, _ = read_all(path)
    images = ImageFiles(str(path))
    pts = images.pictures().frames.pts.tolist()
    for index in np.random.default_rng(0).permutation(60).tolist():
        if pts[index] in good:
            assert np.array_equal(images.read(index).pixels, good[pts[index]])
        else:
            with pytest.raises(DamagedImageError):
                images.read(index)


FAST, FRAGMENTS = {"movflags": "faststart"}, {"movflags": "frag_keyframe+empty_moov"}
CUT = {
    "index first": ("a.mp4", {"container_options": FAST}, "ends after .. of 60 frames: it was cut"),
    "fragments": ("a.mp4", {"container_options": FRAGMENTS}, "ends after .. of .. frames: it was cut"),
    "Matroska": ("a.mkv", {}, r"ends after \d+ of \d+ bytes: it was cut"),
    "transport stream": ("a.ts", {}, r"ends after \d+ of \d+ bytes: it was cut"),
}


@pytest.mark.parametrize("kind", CUT)
def test_a_cut_video_gives_the_frames_before_and_says_what_is_missing(kind, tmp_path):
    name, how, said = CUT[kind]
    path = make_clip(tmp_path / name, 60, **how)
    clean, failed = read_all(path)
    assert len(clean) == 60 and not failed
    cut(path, 0.63)
    good, failed = read_all(path)
    assert 15 <= len(good) < 60
    assert all(np.array_equal(pixels, clean[pts]) for pts, pixels in good.items())
    of_video = failed.pop(name)
    assert isinstance(of_video, UnreadableImageError)
    assert re.search(f"{name} {said}", str(of_video))
    assert len(failed) <= 3  # the half frame at the end, and what builds on it


def test_without_its_index_a_cut_video_is_one_failure(tmp_path):
    path = make_clip(tmp_path / "a.mp4", 30)
    make_clip(tmp_path / "b.mp4", 3)
    cut(path)
    images = ImageFiles(str(tmp_path))
    assert images.pictures().names[0] == "a.mp4" and len(images.pictures().names) == 4
    with pytest.raises(UnreadableImageError, match=r"a.mp4 has no index \(moov\)"):
        images.read(0)
    assert number_of(images.read(3).pixels) == 2


def text(path):
    path.write_text("This is not a film.\n" * 50)


def empty(path):
    path.touch()


def noise(path):
    path.write_bytes(np.random.default_rng(0).integers(0, 256, 5000, np.uint8).tobytes())


def sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), "s16", "mono")
        frame.sample_rate, frame.pts = 16000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def cover(path):
    sound(path)
    with av.open(str(path)) as given, av.open(str(path.with_suffix(".tmp")), "w", format="mp4") as container:
        tone = container.add_stream_from_template(given.streams.audio[0])
        art = container.add_stream("mjpeg", rate=1)
        art.width, art.height, art.pix_fmt = 192, 96, "yuvj420p"
        art.disposition = av.stream.Disposition.attached_pic.value  # PyAV 17 takes nothing else
        for packet in given.demux(given.streams.audio[0]):
            if packet.size:
                packet.stream = tone
                container.mux(packet)
        container.mux(art.encode(av.VideoFrame.from_ndarray(picture(0), "bgr24")))
    os.replace(path.with_suffix(".tmp"), path)


def no_frames(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 192, 96, "yuv420p"
        container.start_encoding()


def codec_that_nobody_knows(path):
    make_clip(path, 3)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzz1"))


@pytest.mark.parametrize(
    "bad, said",
    [
        (text, "cannot be read as a video"),
        (empty, "is an empty file"),
        (noise, "cannot be read as a video"),
        (sound, "has no video in it, only audio"),
        (cover, "has no video in it, only audio and a cover picture"),
        (no_frames, "(holds no frame of video|has no video)"),
        (codec_that_nobody_knows, "is coded in a way that this FFmpeg has no decoder for"),
    ],
)
def test_what_is_no_video_is_one_failure_and_others_go_on(bad, said, tmp_path):
    bad(tmp_path / "a.mp4")
    make_clip(tmp_path / "b.mp4", 3)
    images = ImageFiles(str(tmp_path))
    pictures = images.pictures()
    assert list(pictures.names)[:2] == ["a.mp4", "b.mp4/b_000000000000"] and len(pictures.names) == 4
    assert pictures.frames.frame(0) is None
    with pytest.raises(UnreadableImageError, match=f"a.mp4 {said}"):
        images.read(0)
    assert [number_of(images.read(index).pixels) for index in (1, 2, 3)] == [0, 1, 2]


@pytest.mark.parametrize("read_before", [False, True])
def test_a_video_that_changes_while_it_is_read_is_told_and_others_go_on(read_before, tmp_path):
    for name in "ab":
        make_clip(tmp_path / f"{name}.ts", 30)
    images = ImageFiles(str(tmp_path))
    images.pictures()
    if read_before:
        images.read(3)
    with open(tmp_path / "a.ts", "ab") as file:
        file.write(bytes(188))
    with pytest.raises(UnreadableImageError, match=r"a.ts, frame 4 \(at .* changed since its frames were listed"):
        images.read(4)
    assert number_of(images.read(34).pixels) == 4
