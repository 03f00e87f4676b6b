from __future__ import annotations

import dataclasses
import logging
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

av = pytest.importorskip("av", reason="videos need sapiens_pl[video]")

from clips import make_clip, picture  # noqa: E402
from products.browser import CHROMIUM, play  # noqa: E402

from sapiens_pl.core.errors import ConfigError, MissingImageError  # noqa: E402
from sapiens_pl.core.protocols import Film, MakingStopped  # noqa: E402
from sapiens_pl.core.structures import NO_TRACK_ID, PoseResult, SmoothedPoses, VideoFrame  # noqa: E402
from sapiens_pl.models.keypoint_sets import set_of_network  # noqa: E402
from sapiens_pl.products import h264  # noqa: E402
from sapiens_pl.products.annotated_video import AnnotatedVideo, draw_people  # noqa: E402
from sapiens_pl.products.drawing import track_colour  # noqa: E402

SET = set_of_network("It", 17)
UNEVEN = [0, 1001, 1800, 4004, 5005, 6500, 7007, 9009, 9500, 11011, 12012, 15000]
"""Times of frames, in thirtieths of a millisecond."""
POINT = (60.0, 60.0)


def pose(left: float, top: float, side: float = 30) -> np.ndarray:
    """(17, 2): the keypoints of somebody who is a square."""
    angle = np.arange(17) * 2 * np.pi / 17
    return np.stack([left + side / 2 * (1 + np.cos(angle)), top + side / 2 * (1 + np.sin(angle))], 1).astype(np.float32)


def result(clip: Path, index: int, pts: int, wh: tuple[int, int], lefts: tuple[float, ...] = (40,)) -> PoseResult:
    keypoints = np.array([pose(left, 40) for left in lefts], np.float32).reshape(-1, 17, 2)
    num = len(lefts)
    return PoseResult(
        path=str(clip),
        keypoints=keypoints,
        keypoint_scores=np.ones((num, 17), np.float32),
        bboxes=np.array([[left, 40.0, left + 30, 70.0] for left in lefts]).reshape(-1, 4),
        bbox_scores=np.ones(num),
        instance_ids=np.arange(num),
        image_wh=wh,
        name=f"{clip.name}/{clip.stem}_{index:012}",
        failures=(),
        frame=VideoFrame(clip.name, index, pts, 0.0),
        track_ids=np.arange(1, num + 1),
    )


def film_of(clip: Path, every: int = 1, stopped=lambda: False, **changes) -> Film:
    """Each n-th frame of a clip, with one person."""
    with av.open(str(clip)) as container:
        frames = list(container.decode(video=0))
    pixels = [frame.to_ndarray(format="bgr24") for frame in frames]
    wh = pixels[0].shape[1], pixels[0].shape[0]
    results = [result(clip, index, frame.pts, wh)._replace(**changes) for index, frame in enumerate(frames)][::every]
    return Film(clip.name, str(clip), SET, lambda: iter(results), lambda each: pixels[each.frame.frame_index], stopped)


def annotated(film: Film, target: Path, crf: float = 20, max_side: int | None = None) -> Path:
    AnnotatedVideo(0.3, crf, max_side).write(film, target)
    return target


@dataclasses.dataclass
class Facts:
    """Of a video's file: what its stream is, pts of the frames in seconds, the sound's packets, and its length."""

    kind: tuple[str, str, int, int]
    times: list[Fraction]
    pixels: list[np.ndarray]
    sound: list[tuple[bytes, Fraction]]
    seconds: float


def facts(path: Path) -> Facts:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        kind = (stream.codec_context.name, stream.codec_context.pix_fmt, stream.width, stream.height)
        times = [frame.pts * stream.time_base for frame in frames]
        seconds = container.duration / 1e6
    with av.open(str(path)) as container:
        packets = container.demux(container.streams.audio) if container.streams.audio else ()
        sound = [(bytes(packet), packet.pts * packet.time_base) for packet in packets if packet.size]
    shown = [frame.to_ndarray(format="bgr24") for frame in frames]
    return Facts(kind, [time - times[0] for time in times], shown, sound, seconds)


def boxes_of(data: bytes) -> list[bytes]:
    """The types of the boxes that an MP4 is made of."""
    kinds, place = [], 0
    while place < len(data):
        kinds.append(data[place + 4 : place + 8])
        place += int.from_bytes(data[place : place + 4], "big")
    return kinds


def make_pcm_clip(path: Path) -> Path:
    """A second of video with sound that MP4 does not hold."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 192, 96, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        for index in range(25):
            frame = av.VideoFrame.from_ndarray(picture(index), "bgr24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.int16), "s16", "mono")
        tone.sample_rate, tone.pts = 16000, 0
        container.mux(sound.encode(tone))
        container.mux(sound.encode(None))
    return path


def test_it_is_what_browsers_play_at_the_sources_times_with_its_sound(tmp_path):
    clip = make_clip(tmp_path / "walk.mp4", times=UNEVEN, audio=True)
    found, source = facts(annotated(film_of(clip), tmp_path / "out.mp4")), facts(clip)
    assert found.kind == ("h264", "yuv420p", 192, 96)
    assert found.times == source.times, "to the unit"
    assert abs(found.seconds - source.seconds) < 0.001
    assert found.sound == source.sound and len(found.sound) > 5
    kinds = boxes_of((tmp_path / "out.mp4").read_bytes())
    assert kinds.index(b"moov") < kinds.index(b"mdat")


def test_the_last_frame_lasts_to_the_end_and_frames_that_were_not_posed_are_not_shown(tmp_path):
    clip = make_clip(tmp_path / "walk.mp4", times=UNEVEN)
    whole = facts(clip)
    found = facts(annotated(film_of(clip, every=5), tmp_path / "out.mp4"))
    assert found.times == whole.times[::5] and abs(found.seconds - whole.seconds) < 0.001
    late = film_of(clip)
    late = late._replace(results=lambda results=late.results: iter(list(results())[3:6]))
    found = facts(annotated(late, tmp_path / "late.mp4"))
    assert abs(found.seconds - whole.seconds) < 0.001 and found.times == [0, *whole.times[3:6]]
    assert found.pixels[0].max() < 10 and found.pixels[1].max() > 200, "it is black until the first one"


@pytest.mark.parametrize("suffix, codec", [(".mkv", "libx264"), (".ts", "libx264"), (".avi", "mpeg4")])
def test_other_containers(tmp_path, suffix, codec):
    time_base = Fraction(1, 25) if suffix == ".avi" else Fraction(1, 30000)
    times = None if suffix == ".avi" else UNEVEN
    clip = make_clip(tmp_path / f"walk{suffix}", 12, fps=25, times=times, time_base=time_base, codec=codec)
    found, source = facts(annotated(film_of(clip), tmp_path / "out.mp4")), facts(clip)
    assert found.times == source.times and len(found.times) == 12
    assert abs(found.seconds - source.seconds) < 0.04


def test_sound_that_mp4_does_not_hold_is_left_out_and_said(tmp_path, caplog):
    clip = make_pcm_clip(tmp_path / "walk.mkv")
    with caplog.at_level(logging.WARNING):
        found = facts(annotated(film_of(clip), tmp_path / "out.mp4"))
    assert not found.sound and len(found.times) == 25
    assert "walk.mkv" in caplog.text and "pcm_s16le" in caplog.text


@pytest.mark.slow
def test_the_same_records_give_the_same_bytes(tmp_path):
    clip = make_clip(tmp_path / "walk.mp4", 40, audio=True)
    one, other = annotated(film_of(clip), tmp_path / "1.mp4"), annotated(film_of(clip), tmp_path / "2.mp4")
    assert one.read_bytes() == other.read_bytes()


def test_people_are_drawn_on_their_frames(tmp_path):
    clip = make_clip(tmp_path / "walk.mp4", 6, wh=(201, 97), codec="libx264", pix_fmt="yuv444p")
    plain = film_of(clip)
    found = facts(annotated(plain, tmp_path / "out.mp4", crf=5))
    assert found.kind == ("h264", "yuv420p", 202, 98), "even sides"
    for shown, each in zip(found.pixels, plain.results()):
        before = plain.photograph(each).astype(int)
        changed = np.abs(shown[:97, :201].astype(int) - before).max(axis=2) > 60
        assert changed[38:73, 38:73].mean() > 0.1
        changed[15:75, 36:75] = False  # with the label above the box
        assert changed.mean() < 0.02
    small = facts(annotated(plain, tmp_path / "small.mp4", max_side=100))
    assert small.kind[2:] == (100, 48)


def test_who_it_is_shows_by_colour_and_number_and_smoothed_poses_go_first():
    canvas, again, nobody, moved = (np.full((96, 192, 3), 120, np.uint8) for _ in range(4))
    known = result(Path("walk.mp4"), 0, 0, (192, 96), lefts=(20, 120))
    draw_people(canvas, known._replace(track_ids=np.array([3, 8])), SET, 0.3)
    draw_people(again, known._replace(track_ids=np.array([8, 3])), SET, 0.3)
    draw_people(nobody, known._replace(track_ids=np.full(2, NO_TRACK_ID)), SET, 0.3)
    left, right = canvas[38:72, 15:55].reshape(-1, 3), again[38:72, 115:155].reshape(-1, 3)
    colour = np.array(track_colour(3))
    assert (left == colour).all(axis=1).sum() > 30 and (right == colour).all(axis=1).sum() > 30
    assert not (nobody == colour).all(axis=2).any() and not (again[:, :60] == colour).all(axis=2).any()
    assert len({track_colour(track_id) for track_id in range(1, 60)}) == 59
    smoothed = SmoothedPoses(
        known.keypoints[[0, 1, 0]] + (0, 20),
        known.keypoint_scores[[0, 1, 0]],
        known.bboxes[[0, 1, 0]] + (0, 20, 0, 20),
        np.array([3, 8, 9]),
    )
    draw_people(moved, known._replace(track_ids=np.array([3, 8]), smoothed=smoothed), SET, 0.3)
    assert (moved[92:] != 120).any() and (moved == track_colour(9)).all(axis=2).sum() > 30
    assert (canvas[92:] == 120).all()


def test_what_ends_it(tmp_path, monkeypatch):
    clip = make_clip(tmp_path / "walk.mp4", 5)
    with pytest.raises(MakingStopped):
        annotated(film_of(clip, stopped=lambda: True), tmp_path / "out.mp4")
    film = film_of(clip)
    clip.unlink()
    with pytest.raises(MissingImageError, match=r"walk\.mp4 is not there any more; put it back"):
        annotated(film, tmp_path / "out.mp4")
    clip = make_clip(clip, 5)
    monkeypatch.setattr(h264, "ENCODER", "libx999")
    with pytest.raises(ConfigError, match=r"has no encoder libx999; install PyAV's own wheel"):
        annotated(film, tmp_path / "out.mp4")


@pytest.mark.parametrize("settings", [(None, 23, None), (0.3, 52, None), (0.3, -1, None), (0.3, 23, 1.5)])
def test_settings_that_cannot_be(settings: Any):
    with pytest.raises(ConfigError, match=r"output\.\w+=\S+ must be"):
        AnnotatedVideo(*settings)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
def test_a_browser_plays_it(tmp_path):
    clip = make_clip(tmp_path / "walk.mp4", times=[30 * time for time in UNEVEN], audio=True)
    target = annotated(film_of(clip), tmp_path / "out.mp4", crf=5)
    source, times = facts(clip), facts(clip).times
    played = play(target, [float(times[2]) + 0.001, float(times[9]) + 0.001])
    assert abs(played.duration - source.seconds) < 0.001
    for shown, index in zip(played.pictures, (2, 9)):
        drawn = facts(target).pixels[index].astype(int)
        assert np.abs(shown.astype(int) - drawn).mean() < 4
        before = source.pixels[index].astype(int)
        assert (np.abs(shown - before).max(axis=2) > 60)[38:73, 38:73].mean() > 0.1
