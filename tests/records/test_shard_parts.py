"""One pair of parts a tar, whoever has written its pictures and however often he was killed."""

from __future__ import annotations

import random
import shutil

import pytest

from sapiens_pl.core.structures import ShardMember
from sapiens_pl.models.keypoint_sets import set_of_network
from sapiens_pl.records import recorder
from sapiens_pl.records.reading import Records
from sapiens_pl.records.recorder import Recorder
from sapiens_pl.records.settling import settle
from sapiens_pl.records.store import FOLDER, make_store, store_files
from tests.records.made_up import check_all_equal, failed_result, pose_result

SETTINGS = {"data.carry": ["url", "meta.size", "image"]}


def of_shard(shard: str, index: int, **changes):
    result = pose_result(f"{shard}/{index:04}.jpg", index % 3, member=ShardMember(shard, f"{index:04}"))
    carried = {"url": f"http://ö/{index}", "meta.size": None if index % 2 else str(index), "image": "\ud800"}
    nobody = dict.fromkeys(carried)
    return result._replace(carried=nobody if index % 3 == 0 else carried | {"image": "\\ud800"}, **changes)


def of_shards(num_shards: int, count: int):
    return [of_shard(f"{shard:05}.tar", index) for shard in range(num_shards) for index in range(count)]


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / FOLDER, set_of_network("It", 17), SETTINGS)


def write(run, store, results, close=True, expected=None, a_frame=7, **options):
    writer = Recorder(run / FOLDER, store, **options)
    for result in results if expected is None else expected:
        writer.expect({result.member.shard: 1})
    for start in range(0, len(results), a_frame):
        writer.append(results[start : start + a_frame])
    if close:
        writer.close()
    return writer


def labels(run):
    return sorted(file.label or "" for file in store_files(run / FOLDER) if file.kind == "pictures")


def test_each_tar_has_a_pair_and_what_is_carried_comes_back(tmp_path, store):
    results = of_shards(3, 10)
    write(tmp_path, store, results)
    assert labels(tmp_path) == ["00000", "00001", "00002"]
    assert len(list((tmp_path / FOLDER).glob("people-00001.*.parquet"))) == 1
    records = Records.read(tmp_path)
    check_all_equal(records.results(), results)
    check_all_equal(Records.read(tmp_path, ["00001.tar", "no.tar"]).results(), results[10:20])


def test_a_tar_is_sealed_as_soon_as_it_is_whole_and_the_rest_stays_in_the_journal(tmp_path, store):
    results = of_shards(2, 150)
    writer = write(tmp_path, store, results[:153], close=False, expected=results)
    assert labels(tmp_path) == ["00000"]
    check_all_equal(Records.read(tmp_path).results(), results[:153])
    check_all_equal(Records.read(tmp_path, ["00001.tar"]).results(), results[150:153])
    writer.append(results[153:])
    assert labels(tmp_path) == ["00000", "00001"] and len(store_files(tmp_path / FOLDER)) == 4
    writer.close()
    check_all_equal(Records.read(tmp_path).results(), results)


def test_parts_that_were_full_or_flushed_before_are_merged_when_the_tar_is_whole(tmp_path, store, monkeypatch):
    monkeypatch.setattr(recorder, "MAX_PICTURES", 40)
    results = of_shards(2, 130)
    writer = write(tmp_path, store, results[:100], close=False, expected=results)
    assert labels(tmp_path) == ["00000", "00000"]
    writer.flush()
    assert labels(tmp_path) == ["00000"] * 3
    for result in results[100:]:
        writer.append([result])
    writer.close()
    assert labels(tmp_path) == ["00000", "00001"] and len(store_files(tmp_path / FOLDER)) == 4
    check_all_equal(Records.read(tmp_path).results(), results)


def test_a_changed_picture_counts_however_parts_are_merged(tmp_path, store):
    results = of_shards(1, 9)
    write(tmp_path, store, results)
    shutil.copytree(tmp_path / FOLDER, tmp_path / "before")
    changed = of_shard("00000.tar", 4, image_wh=(1, 2))
    broken = failed_result("00000.tar/0005.jpg")._replace(member=ShardMember("00000.tar", "0005"))
    write(tmp_path, store, [changed, broken])
    for file in (tmp_path / "before").iterdir():  # killed before it could remove what is merged
        shutil.copy(file, tmp_path / FOLDER)
    expected = [*results[:4], changed, *results[6:]]
    for _ in range(2):
        records = Records.read(tmp_path)
        check_all_equal(records.results(), expected)
        assert records.names("failed") == ["00000.tar/0005.jpg"] and len(records) == 9
        settle(tmp_path / FOLDER, store, 0)
        assert labels(tmp_path) == ["00000"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_kills_at_any_file_operation_leave_every_picture_once(tmp_path, store, seed, monkeypatch):
    """A kill is an error that no one catches, at some step of writing; the run is begun again each time."""
    rng, results = random.Random(seed), of_shards(4, 30)
    monkeypatch.setattr(recorder, "SMALL_SHARD", 10)

    class Killed(BaseException):
        pass

    def dying(function, steps):
        def step(*given, **named):
            steps[0] -= 1
            if steps[0] == 0:
                raise Killed
            return function(*given, **named)

        return step

    for _ in range(30):
        steps = [rng.randrange(1, 25)]
        with monkeypatch.context() as patched:
            for place in ("os.replace", "pathlib.Path.unlink", "os.write", "os.unlink"):
                module, name = place.rsplit(".", 1)
                target = __import__(module) if module == "os" else __import__("pathlib").Path
                patched.setattr(target, name, dying(getattr(target, name), steps))
            try:
                settle(tmp_path / FOLDER, store, 0)
                done = {*Records.read(tmp_path).names()}
                left = [result for result in results if result.name not in done]
                rng.shuffle(left)
                write(tmp_path, store, left, expected=left)
            except Killed:
                pass
        records = Records.read(tmp_path)
        names = records.names()
        assert len(names) == len({*names}) == len(records)
        check_all_equal(records.results(), [result for result in results if result.name in {*names}])
    settle(tmp_path / FOLDER, store, 0)
    done = {*Records.read(tmp_path).names()}
    write(tmp_path, store, [result for result in results if result.name not in done])
    settle(tmp_path / FOLDER, store, 0)
    assert labels(tmp_path) == [f"{shard:05}" for shard in range(4)]
    check_all_equal(Records.read(tmp_path).results(), results)
    assert len(store_files(tmp_path / FOLDER)) == 8


def test_two_takers_of_one_tar_leave_a_pair_each(tmp_path, store):
    results = of_shards(1, 20)
    writers = [Recorder(tmp_path / FOLDER, store, rank=rank) for rank in range(2)]
    for rank, writer in enumerate(writers):
        writer.append(results[rank::2])
        writer.close()
    assert labels(tmp_path) == ["00000", "00000"]
    check_all_equal(Records.read(tmp_path).results(), results)
    write(tmp_path, store, [results[0]])
    assert labels(tmp_path) == ["00000"]
    check_all_equal(Records.read(tmp_path).results(), results)


def test_many_small_tars_share_pairs(tmp_path, store):
    results = of_shards(150, 2)
    write(tmp_path, store, results, expected=results)
    assert labels(tmp_path) == [""]
    check_all_equal(Records.read(tmp_path).results(), results)
    check_all_equal(Records.read(tmp_path, ["00007.tar"]).results(), results[14:16])


def test_tars_whose_names_look_alike_are_told_apart(tmp_path, store):
    names = ["a/0.tar", "b/0.tar", "b_0.tar", "0.tar", "ü.tar", "\udcff.tar", "0.parquet", ".tar"]
    results = [of_shard(name, index) for name in names for index in range(4)]
    write(tmp_path, store, results)
    assert len(labels(tmp_path)) == len(names)
    for place, name in enumerate(names):
        check_all_equal(Records.read(tmp_path, [name]).results(), results[place * 4 : place * 4 + 4])


def test_a_reader_goes_on_when_the_part_that_it_reads_is_merged(tmp_path, store):
    results = of_shards(1, 20)
    write(tmp_path, store, results[:10])
    records = Records.read(tmp_path)
    write(tmp_path, store, results[10:])
    assert labels(tmp_path) == ["00000"]
    check_all_equal(records.results(), results[:10])
    assert not list(records.failures())
