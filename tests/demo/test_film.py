from __future__ import annotations

import json
import re
from fractions import Fraction

import numpy as np
import pytest

from sapiens_pl import PoseEstimator, demo
from sapiens_pl.demo.accuracy import identity, measure
from sapiens_pl.demo.film import NAME, frame_times, frames, people
from sapiens_pl.demo.telling import Truth

av = pytest.importorskip("av", reason="the demo's film needs sapiens_pl[video]")


def decoded(every: int) -> dict[int, np.ndarray]:
    """Each n-th frame of the bundled film by its index, (H, W, 3) uint8 BGR."""
    with av.open(str(demo.FILM)) as container:
        shown = enumerate(container.decode(video=0))
        return {index: frame.to_ndarray(format="bgr24") for index, frame in shown if index % every == 0}


@pytest.mark.slow
def test_the_bundled_film_can_be_drawn_again():
    assert json.loads(demo.FILM_PEOPLE.read_text()) == json.loads(json.dumps(people()))
    with av.open(str(demo.FILM)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.time_base) == ("h264", "yuv420p", Fraction(1, 90000))
        packets = [packet for packet in container.demux(stream) if packet.size]
    assert sorted(packet.pts for packet in packets) == frame_times()
    assert [packet.pts for packet in packets] != frame_times(), "it has B-frames"
    assert len(set(np.diff(frame_times()).tolist())) > 20, "its frame rate varies"
    assert demo.FILM.stat().st_size < 400_000
    shown = decoded(every=50)
    for index, frame in enumerate(frames()):
        if index in shown:
            assert np.abs(shown[index].astype(int) - frame.scene.image).mean() < 3


def test_its_people_cross_and_one_comes_late():
    truth = Truth.read(demo.FILM_PEOPLE)
    assert truth.is_film and len(truth) == len(frame_times())
    at = {name: dict(zip(each.figures, each.boxes.mean(axis=1))) for name, each in truth.items()}
    first, *_, last = at.values()
    assert first[0] < first[1] and last[0] > last[2] and set(first) == {0, 1} and set(last) == {0, 2}
    orders = {tuple(each.figures) for each in truth.values()}
    assert {(0, 1), (1, 0)} <= orders, "the order of the boxes does not say who it is"


@pytest.mark.slow
def test_the_demo_network_poses_the_films_figures():
    truth, shown = Truth.read(demo.FILM_PEOPLE), decoded(every=10)
    drawn = [truth[f"{NAME}/crossing_{index:012d}"] for index in shown]
    estimator = PoseEstimator.from_checkpoint(demo.CHECKPOINT, device="cpu")
    results = estimator.predict(list(shown.values()), [each.boxes for each in drawn], batch_size=16)
    expected, boxes = np.concatenate([each.keypoints for each in drawn]), np.concatenate([each.boxes for each in drawn])
    found = np.concatenate([result.keypoints for result in results])
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    assert measure(found, expected[..., :2], expected[..., 2] > 0, sides).pck >= 0.95


def test_ids_are_compared_with_who_it_is():
    assert identity([(0, 5), (1, 6), (0, 5), (1, 6)]) == (0, 2, 2)
    assert identity([(0, 5), (1, 6), (0, 6), (1, 5), (1, 5)]) == (2, 2, 2)
    assert identity([(0, 5), (0, 7), (0, 5)]) == (2, 2, 1)


def test_the_film_shows_poses_ids_and_how_right_they_are(predict):
    run = predict("data.images=demo-video", "trainer.accelerator=cpu", "data.num_workers=0")
    assert run.code == 0, run.err
    assert "3 figures have 3 ids over the film, with 0 id switches." in run.out
    right = re.search(r"visible keypoints of 377 figures, ([\d.]+)% lie", run.out)
    assert right and float(right[1]) > 96, run.out
    assert run.info["folder"]["tracks"] == 3 and run.info["folder"]["frames"] == len(frame_times())
    assert (run.folder / "predictions" / f"{NAME}.json").is_file()
    with av.open(str(run.folder / "videos" / f"{NAME}.mp4")) as container, av.open(str(demo.FILM)) as source:
        assert [frame.pts for frame in container.decode(video=0)] == frame_times()
        assert abs(container.duration - source.duration) < 1000  # microseconds


def test_the_film_with_its_detector(predict):
    settings = ["boxes=detector", "trainer.accelerator=cpu", "data.num_workers=0", "output.formats=[]"]
    run = predict("data.images=demo-video", *settings, "output.overlay=false")
    assert run.code == 0 and "Of 377 figures, " in run.out, run.err
    ids = re.search(r"3 figures have (\d+) ids over the film, with (\d+) id switch", run.out)
    assert ids and int(ids[1]) <= 4 and int(ids[2]) <= 2, run.out
    assert not (run.folder / "videos").exists()
