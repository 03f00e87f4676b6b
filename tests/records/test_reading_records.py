"""What is recorded comes back exactly, whoever wrote it and whenever it is read."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import threading

import numpy as np
import pytest

from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.structures import NO_TRACK_ID, Failure, VideoFrame
from sapiens_pl.models.keypoint_sets import set_of_network
from sapiens_pl.records import part_files, reading, recorder
from sapiens_pl.records.reading import Records
from sapiens_pl.records.recorder import Recorder
from sapiens_pl.records.settling import settle
from sapiens_pl.records.store import FOLDER, make_store, store_files
from tests.records.made_up import check_all_equal, check_equal, failed_result, make_records, pose_result

NOT_UNICODE = os.fsdecode(b"caf\xe9/\xff.jpg")
ODD_NAMES = [
    "b.jpg",
    "a b.jpg",
    "a/ü.jpg",
    "\U0001f9cd.jpg",
    "line\nbreak.jpg",
    'quote".jpg',
    "\ud800.jpg",
    NOT_UNICODE,
]


@pytest.mark.parametrize("num_keypoints", [17, 308, 5])
def test_everything_comes_back_exactly(tmp_path, num_keypoints):
    results = [pose_result(name, index % 4, num_keypoints) for index, name in enumerate(ODD_NAMES)]
    results[1] = results[1]._replace(image_id=10**40)
    results[2] = results[2]._replace(image_id=-1, path="")
    bad_box = Failure(results[3].name, 7, "BoxError", f"box 7 of {NOT_UNICODE} has no area.")
    results[3] = results[3]._replace(failures=(bad_box, bad_box._replace(instance_id=8)), image_id=0)
    results[3] = results[3]._replace(instance_ids=np.array([0, 5, 2**62]))
    failed = [failed_result(f"{NOT_UNICODE}x", num_keypoints=num_keypoints)]
    failed.append(failed_result("gone.jpg", "MissingImageError", num_keypoints))
    make_records(tmp_path, [*results, *failed], num_keypoints)
    records = Records.read(tmp_path)
    check_all_equal(records.results(), results)
    assert records.keypoint_set == set_of_network("It", num_keypoints)
    assert records.names() == sorted(ODD_NAMES)
    known = [name for name in ODD_NAMES if name != "\ud800.jpg"]  # which is not a name of a file
    assert (records.positions(Names.of(known)) >= 0).all() and records.done_among(Names.of([*known, "x"])) == known
    assert records.names("failed") == [failed[0].name] and records.names("absent") == ["gone.jpg"]
    assert records.names(None) == sorted([*ODD_NAMES, *(result.name for result in failed)])
    expected = [*results[3].failures, *failed[0].failures, *failed[1].failures]
    assert list(records.failures()) == sorted(expected, key=lambda failure: failure.image)
    assert [records.count(status) for status in ("done", "failed", "absent")] == [len(ODD_NAMES), 1, 1]


def test_results_of_some_names(tmp_path):
    results = [pose_result(f"{index}.jpg", index % 3) for index in range(30)]
    make_records(tmp_path, results)
    check_all_equal(Records.read(tmp_path).results(["7.jpg", "22.jpg", "nobody's.jpg"]), [results[7], results[22]])
    assert not list(Records.read(tmp_path).results([]))


def test_people_of_one_picture_may_lie_in_several_groups_and_parts_are_of_bounded_size(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "MAX_PICTURES", 7)
    monkeypatch.setattr(part_files, "_PEOPLE_A_GROUP", 3)
    monkeypatch.setattr(part_files, "_PICTURES_A_GROUP", 2)
    monkeypatch.setattr(reading, "_PICTURES_AT_ONCE", 5)
    results = [pose_result(f"{index * 7 % 40:02}.jpg", index * 5 % 9) for index in range(40)]
    make_records(tmp_path, results)
    assert len([file for file in store_files(tmp_path / FOLDER) if file.kind == "pictures"]) == 5  # 9, 9, 9, 9, 4
    check_all_equal(Records.read(tmp_path).results(), results)


def test_the_later_generation_counts(tmp_path):
    first = [pose_result(f"{index}.jpg", 2) for index in range(9)]
    store = make_records(tmp_path, first)
    again = [pose_result("3.jpg", 5, seed=1), failed_result("4.jpg"), pose_result("9.jpg")]
    writer = Recorder(tmp_path / FOLDER, store)
    writer.append(again, [11, 12, 13])  # in a journal still
    expected = [result for result in first if result.name not in ("3.jpg", "4.jpg")] + [again[0], again[2]]
    for _ in range(2):
        records = Records.read(tmp_path)
        check_all_equal(records.results(), expected)
        assert records.names("failed") == ["4.jpg"] and len(records) == 10
        places = records.positions(Names.of(["3.jpg", "0.jpg", "nobody's.jpg"]))
        assert records.boxes_digests[places[:2]].tolist() == [11, 0] and places[2] == -1
        writer.close()
    make_records(tmp_path, [pose_result("4.jpg", 1, seed=2)])
    check_all_equal(Records.read(tmp_path).results(["4.jpg"]), [pose_result("4.jpg", 1, seed=2)])


def test_a_kill_between_part_and_journal_leaves_each_row_once(tmp_path):
    results = [pose_result(f"{index}.jpg", index) for index in range(5)]
    store = make_store(tmp_path / FOLDER, set_of_network("It", 17), {})
    writer = Recorder(tmp_path / FOLDER, store)
    writer.append(results)
    journal = next(file.path for file in store_files(tmp_path / FOLDER))
    shutil.copy(journal, tmp_path / "journal")
    writer.close()
    assert not journal.exists()
    shutil.copy(tmp_path / "journal", journal)
    check_all_equal(Records.read(tmp_path).results(), results)
    settle(tmp_path / FOLDER, store, 0)
    assert not journal.exists()
    check_all_equal(Records.read(tmp_path).results(), results)
    # ... and one between the parts of people and of pictures: the people alone count for nothing.
    shutil.copy(tmp_path / "journal", journal)
    next(file.path for file in store_files(tmp_path / FOLDER) if file.kind == "pictures").unlink()
    check_all_equal(Records.read(tmp_path).results(), results)
    settle(tmp_path / FOLDER, store, 0)
    assert [file.kind for file in store_files(tmp_path / FOLDER)] == ["people", "pictures"]
    check_all_equal(Records.read(tmp_path).results(), results)


def write_in_turns(run, rank, num_frames):
    recorder.MAX_PICTURES = 10
    store = make_store(run / FOLDER, set_of_network("It", 17), {})
    writer = Recorder(run / FOLDER, store, rank=rank)
    threads = [
        threading.Thread(target=lambda t=t: [writer.append(frame(rank, t, number)) for number in range(num_frames)])
        for t in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()


def frame(rank, thread, number):
    return [pose_result(f"{rank}-{thread}-{number:03}-{index}.jpg", index) for index in range(3)]


@pytest.mark.slow
def test_two_processes_of_two_threads_write_while_a_third_reads(tmp_path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_in_turns, args=(tmp_path, rank, 60)) for rank in range(2)]
    for writer in writers:
        writer.start()
    seen, looks = 0, 0
    while any(writer.is_alive() for writer in writers):
        records = Records.read(tmp_path)
        assert len(records) >= seen and len(records) % 3 == 0
        seen, looks = len(records), looks + 1
        for result in records.results(records.names()[-3:]):
            check_equal(result, pose_result(result.name, len(result.instance_ids)))
    assert [writer.exitcode for writer in writers] == [0, 0] and looks > 0
    expected = [result for r in range(2) for t in range(2) for n in range(60) for result in frame(r, t, n)]
    check_all_equal(Records.read(tmp_path).results(), expected)


def test_a_reader_goes_on_when_the_journal_that_it_reads_becomes_a_part(tmp_path):
    results = [pose_result(f"{index}.jpg", index % 3) for index in range(9)]
    store = make_store(tmp_path / FOLDER, set_of_network("It", 17), {})
    writer = Recorder(tmp_path / FOLDER, store)
    writer.append(results)
    records = Records.read(tmp_path)
    writer.append([pose_result("later.jpg")])
    writer.close()
    check_all_equal(records.results(), results)
    assert len(Records.read(tmp_path)) == 10


def test_nothing_recorded(tmp_path):
    for _ in range(2):
        records = Records.read(tmp_path)
        assert len(records) == 0 and records.names(None) == [] and not list(records.results())
        assert not list(records.failures())
        make_store(tmp_path / FOLDER, set_of_network("It", 133), {})
    assert records.keypoint_set == set_of_network("It", 133)


def test_records_without_their_store_file_are_a_sentence(tmp_path):
    make_records(tmp_path, [pose_result("a.jpg")])
    content = (tmp_path / FOLDER / "store.json").read_text()
    (tmp_path / FOLDER / "store.json").write_text(content[:-30])
    with pytest.raises(ConfigError, match=r"store\.json is damaged .*restore"):
        Records.read(tmp_path)
    (tmp_path / FOLDER / "store.json").write_text(content.replace('"version": 3', '"version": 99'))
    with pytest.raises(ConfigError, match=r"store\.json is of version 99"):
        Records.read(tmp_path)
    (tmp_path / FOLDER / "store.json").unlink()
    with pytest.raises(ConfigError, match=r"no store\.json .*put it back"):
        Records.read(tmp_path)


def test_frames_of_a_video_come_back_in_order_with_the_ids_given(tmp_path):
    frames = [pose_result(f"a/walk.mp4/walk_{index:012}", index % 3) for index in (10, 2, 0, 1)]
    given = []
    for result, index in zip(frames, (10, 2, 0, 1)):
        ids = np.where(np.arange(index % 3) == 1, 7, NO_TRACK_ID)
        given.append(result._replace(frame=VideoFrame("a/walk.mp4", index, index * 512, index / 30), track_ids=ids))
    make_records(tmp_path, [pose_result("a.jpg", 1), *given])
    records = Records.read(tmp_path)
    assert records.videos() == ["a/walk.mp4"]
    found = list(records.frames_of("a/walk.mp4"))
    assert [result.frame for result in found] == [result.frame for result in (given[2], given[3], given[1], given[0])]
    for result, wanted in zip(found, (given[2], given[3], given[1], given[0])):
        np.testing.assert_array_equal(result.track_ids, wanted.track_ids)
    assert next(records.results(["a.jpg"])).frame is None and next(records.results(["a.jpg"])).track_ids is None
