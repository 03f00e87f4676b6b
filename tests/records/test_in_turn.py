"""What is counted of a run some files at a time is what all its records say."""

from __future__ import annotations

import random

import pytest

from sapiens_pl.core.errors import MissingImageError
from sapiens_pl.core.structures import Failure, ShardMember, VideoFrame
from sapiens_pl.models.keypoint_sets import set_of_network
from sapiens_pl.records import recorder, sealing
from sapiens_pl.records.in_turn import Group, read_in_turn, tally_of
from sapiens_pl.records.reading import Records
from sapiens_pl.records.recorder import Recorder
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.records.schema import WITHDRAWN
from sapiens_pl.records.store import FOLDER, make_store, store_files
from tests.records.made_up import failed_result, pose_result

_TARS = [f"{number:05}.tar" for number in range(4)]


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / FOLDER, set_of_network("It", 5), {})


def record(run, store, results, close=True):
    writer = Recorder(run / FOLDER, store)
    for start in range(0, len(results), 7):
        writer.append(results[start : start + 7])
    if close:
        writer.close()
    return writer


def of_tar(shard, index, outcome):
    """A picture of a tar, or of none (None), or a frame."""
    name = f"film.mp4/{index:03}" if shard == "film" else f"{shard}/{index:03}.jpg" if shard else f"{index:03}.jpg"
    member = ShardMember(shard, str(index)) if shard in _TARS else None
    frame = VideoFrame("film.mp4", index, index, index / 25) if shard == "film" else None
    if outcome in ("failed", "absent", "withdrawn"):
        error = {"absent": MissingImageError.__name__, "withdrawn": WITHDRAWN}.get(outcome, "UnreadableImageError")
        return failed_result(name)._replace(failures=(Failure(name, None, error, "So it is."),), member=member)
    box = (Failure(name, 7, "OutsideBoxError", "It lies outside."),) if outcome == "box" else ()
    return pose_result(name, index % 3, num_keypoints=5, member=member, frame=frame, failures=box)


def check(run, shards=None):
    records = Records.read(run, shards)
    tallies = read_in_turn(run, Group.tally, shards)
    found = tallies[0] if tallies else tally_of(records)
    for tally in tallies[1:]:
        found = found.plus(tally)
    expected = tally_of(records)
    assert dict(+found.pictures) == dict(+expected.pictures) and found[1:] == expected[1:]
    failures = [failure for some in read_in_turn(run, Group.failures, shards) for failure in some]
    assert failures == list(records.failures())


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 12))])
def test_counts_and_failures_are_those_of_all_records(seed, tmp_path, store, monkeypatch):
    rng = random.Random(seed)
    monkeypatch.setattr(recorder, "MAX_PICTURES", rng.choice([20, 10_000]))
    monkeypatch.setattr(sealing, "MANY_SHARDS", rng.choice([0, 100]))
    shards = [_TARS, [*_TARS, None, "film"]][seed % 2]
    at_work = []
    for _ in range(rng.randint(1, 4)):
        outcomes = rng.choice([["done"], ["done"] * 9 + ["failed", "absent", "box", "withdrawn"]])
        places = [(shard, index) for shard in shards for index in range(30) if rng.random() < 0.5]
        rng.shuffle(places)
        results = [of_tar(shard, index, rng.choice(outcomes)) for shard, index in places]
        at_work.append(record(tmp_path, store, results, close=rng.random() < 0.6))
        check(tmp_path)
        check(tmp_path, _TARS[1:3])
    assert RunFolder(tmp_path).has_results() == (len(Records.read(tmp_path)) > 0)


def test_where_the_footers_tell_no_row_is_read(tmp_path, store):
    record(tmp_path, store, [of_tar(shard, index, "done") for shard in _TARS for index in range(120)])
    expected = tally_of(Records.read(tmp_path))
    for file in store_files(tmp_path / FOLDER):
        if file.kind == "pictures":
            content = bytearray(file.path.read_bytes())
            content[4:200] = bytes(196)
            file.path.write_bytes(content)
    assert RunFolder(tmp_path).tally() == expected
    assert expected.pictures["done"] == 480 and expected.people == 480
    assert read_in_turn(tmp_path, Group.failures) == [[]] * 4


def test_a_folder_with_what_was_withdrawn_only_has_no_results(tmp_path, store):
    record(tmp_path, store, [of_tar(_TARS[0], 1, "failed")])
    assert RunFolder(tmp_path).has_results()
    record(tmp_path, store, [of_tar(_TARS[0], 1, "withdrawn")])
    assert not RunFolder(tmp_path).has_results()
