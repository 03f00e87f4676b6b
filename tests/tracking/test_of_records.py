"""The records with ids and smoothed poses filled in: the same whoever has recorded what in which order."""

from __future__ import annotations

import numpy as np
import pytest
from composed import composed
from products.made import run_folder
from records.made_up import pose_result
from slowness import a_third
from tracking.walkers import COCO_17, walk, without

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.structures import NO_TRACK_ID
from sapiens_pl.products.of_run import make_of_run
from sapiens_pl.records.reading import Records
from sapiens_pl.records.recorder import Recorder
from sapiens_pl.records.store import FOLDER, make_store
from sapiens_pl.tracking.of_records import TrackingOfRun


def settings(*overrides: str):
    return composed("make", overrides)


def record(run, results, a_batch: int, ranks: int = 1) -> None:
    """By some processes, each of which has a share of the batches."""
    store = make_store(run / FOLDER, COCO_17, {})
    batches = [results[start : start + a_batch] for start in range(0, len(results), a_batch)]
    for rank in range(ranks):
        recorder = Recorder(run / FOLDER, store, rank=rank)
        for batch in batches[rank::ranks]:
            recorder.append(batch)
        recorder.close()


def film(video: str):
    frames = [without(one, 1) if 20 <= index < 23 else one for index, one in enumerate(walk(25, 2.0))]
    return [
        one._replace(
            name=f"{video}/{video[:-4]}_{one.frame.frame_index:012}", frame=one.frame._replace(video=video), path=video
        )
        for one in frames
    ]


@pytest.fixture
def results():
    return [pose_result("a.jpg", 2), *film("b.mp4"), pose_result("c.jpg"), *film("d.mp4")]


def told(run, *overrides) -> list:
    tracked = TrackingOfRun(settings(*overrides))(Records.read(run))
    return [
        (one.name, one.track_ids, one.keypoints, *(one.smoothed or ()))
        for one in [*tracked.results(), *tracked.frames_of("d.mp4")]
    ]


def same(found, expected) -> None:
    for one, other in zip(found, expected, strict=True):
        for value, wanted in zip(one, other, strict=True):
            np.testing.assert_array_equal(value, wanted)


@pytest.mark.parametrize("smoothing", a_third(["savitzky_golay", "none", "one_euro"]))
def test_ids_and_smoothed_poses_depend_on_no_batches_ranks_or_order(tmp_path, results, smoothing):
    record(tmp_path / "one", results, 1000)
    expected = told(tmp_path / "one", f"smoothing={smoothing}")
    shuffled = [results[index] for index in np.random.default_rng(0).permutation(len(results))]
    for name, order, a_batch, ranks in (("eights", results, 8, 1), ("ranks", shuffled, 5, 3)):
        record(tmp_path / name, order, a_batch, ranks)
        same(told(tmp_path / name, f"smoothing={smoothing}"), expected)


def test_frames_have_ids_and_photographs_none_and_the_tracks_are_counted(tmp_path, results):
    record(tmp_path, results, 8)
    tracked = TrackingOfRun(settings())(Records.read(tmp_path))
    assert tracked.videos() == ["b.mp4", "d.mp4"] and tracked.num_tracks == 6
    found = {one.name: one for one in tracked.results()}
    assert found["a.jpg"].track_ids is None and found["a.jpg"].smoothed is None
    assert found["b.mp4/b_000000000021"].track_ids.tolist() == [1, 3]
    assert found["d.mp4/d_000000000049"].track_ids.tolist() == [1, 2, 3]
    none = TrackingOfRun(settings("tracking=none"))(Records.read(tmp_path))
    assert {*np.concatenate([one.track_ids for one in none.frames_of("b.mp4")])} == {NO_TRACK_ID}
    assert none.num_tracks == 0


def test_frames_that_are_named_are_smoothed_with_those_that_are_not(tmp_path, results):
    record(tmp_path, results, 8)
    tracked = TrackingOfRun(settings("smoothing=savitzky_golay"))(Records.read(tmp_path))
    whole = {one.name: one for one in tracked.results()}
    names = ["a.jpg", "b.mp4/b_000000000021", "d.mp4/d_000000000049", "nobody.jpg"]
    some = list(tracked.results(names))
    assert [one.name for one in some] == names[:3] and len(some[1].smoothed.track_ids) == 3
    for one in some[1:]:
        same([one.smoothed], [whole[one.name].smoothed])


@pytest.mark.slow
def test_products_of_a_run_with_videos_follow_the_settings_and_others_stay(tmp_path, results):
    def made(folder, *overrides):
        cfg = settings("output.formats=[csv]", *overrides)
        return make_of_run(run, cfg, TrackingOfRun(cfg)).counts

    record(tmp_path / "film", results, 8)
    run = run_folder(tmp_path / "film")
    assert made(run) == {"csv": 1} and not made(run)
    table = (run.path / "keypoints.csv").read_bytes()
    for overrides in (["tracking=none"], ["smoothing=one_euro"], ["smoothing=one_euro", "smoothing.beta=0"]):
        assert made(run, *overrides) == {"csv": 1} and not made(run, *overrides)
        assert (run.path / "keypoints.csv").read_bytes() != table
    assert made(run) == {"csv": 1} and (run.path / "keypoints.csv").read_bytes() == table
    record(tmp_path / "photographs", [pose_result("a.jpg", 2)], 8)
    run = run_folder(tmp_path / "photographs")
    assert made(run) == {"csv": 1} and not made(run, "tracking=none")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("tracking.high_score=much", "tracking.high_score=much must be a number."),
        ("smoothing._target_=null", "smoothing={'_target_': None} is not a choice; see conf/smoothing/"),
    ],
)
def test_settings_that_cannot_be_are_a_sentence(override, words):
    with pytest.raises(ConfigError) as refused:
        TrackingOfRun(settings(override))
    assert words in str(refused.value)
