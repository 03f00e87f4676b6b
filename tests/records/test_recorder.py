"""What others and disks do to the store's folder."""

from __future__ import annotations

import shutil

import pytest

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.models.keypoint_sets import set_of_network
from sapiens_pl.records.reading import Records
from sapiens_pl.records.recorder import Recorder
from sapiens_pl.records.settling import settle
from sapiens_pl.records.store import FOLDER, make_store, store_files
from tests.records.made_up import check_all_equal, make_records, pose_result

RESULTS = [pose_result(f"{index}.jpg", index % 3) for index in range(12)]


def files_of(run, kind):
    return [file.path for file in store_files(run / FOLDER) if file.kind == kind]


@pytest.mark.parametrize("kind", ["pictures", "people"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "empty"])
def test_a_damaged_part_is_set_aside_and_costs_its_own_pictures(tmp_path, caplog, kind, damage):
    store = make_records(tmp_path, RESULTS[:6])
    victim = files_of(tmp_path, kind)[0]
    make_records(tmp_path, RESULTS[6:])
    content = bytearray(victim.read_bytes())
    if damage == "gone":
        victim.unlink()
    else:
        content[len(content) // 2] ^= 4
        victim.write_bytes({"cut": content[:-20], "flipped": content, "empty": b""}[damage])
    if (kind, damage) == ("pictures", "gone"):  # nothing tells of it any more
        check_all_equal(Records.read(tmp_path).results(), RESULTS[6:])
    elif damage != "flipped":
        with pytest.raises(ConfigError, match=r"pictures-.*parquet cannot be read .*run the same command again"):
            Records.read(tmp_path)
    settle(tmp_path / FOLDER, store, 0)
    assert ("1" in caplog.text and str(tmp_path / FOLDER / "damaged") in caplog.text) or damage == "gone"
    check_all_equal(Records.read(tmp_path).results(), RESULTS[6:])
    assert len(files_of(tmp_path, "people")) == len(files_of(tmp_path, "pictures")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pictures", "people"])
def test_a_changed_byte_that_nobody_has_looked_for_is_a_sentence_or_harmless(tmp_path, kind):
    make_records(tmp_path, RESULTS)
    part = files_of(tmp_path, kind)[0]
    content, told = part.read_bytes(), 0
    for position in range(7, len(content), 61):
        part.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        try:
            check_all_equal(Records.read(tmp_path).results(), RESULTS)
        except ConfigError as error:
            assert "cannot be read" in str(error) and "run the same command again" in str(error)
            told += 1
    assert told > 20


def test_parts_that_have_not_changed_since_the_last_look_are_not_read(tmp_path):
    store = make_records(tmp_path, RESULTS)
    part = files_of(tmp_path, "people")[0]
    part.write_bytes(part.read_bytes()[:-1])
    settle(tmp_path / FOLDER, store, part.stat().st_ctime_ns + 1)
    assert part.exists()
    settle(tmp_path / FOLDER, store, part.stat().st_ctime_ns)
    assert not part.exists()


@pytest.mark.parametrize("kind", ["pictures", "journal"])
@pytest.mark.parametrize("num_keypoints", [17, 133])
def test_a_file_of_another_run_or_keypoint_set_is_refused(tmp_path, kind, num_keypoints):
    other = make_store(tmp_path / "other" / FOLDER, set_of_network("It", num_keypoints), {})
    writer = Recorder(tmp_path / "other" / FOLDER, other)
    writer.append([pose_result("x.jpg", 1, num_keypoints)])
    if kind == "pictures":
        writer.close()
    store = make_records(tmp_path / "run", RESULTS)
    for file in store_files(tmp_path / "other" / FOLDER):
        shutil.copy(file.path, tmp_path / "run" / FOLDER)
    with pytest.raises(ConfigError, match=rf"{kind}-.* belongs to another run with {num_keypoints} .*move it away"):
        Records.read(tmp_path / "run")
    if kind == "journal":
        with pytest.raises(ConfigError, match="belongs to another run"):
            settle(tmp_path / "run" / FOLDER, store, 0)
    for file in store_files(tmp_path / "other" / FOLDER):
        (tmp_path / "run" / FOLDER / file.path.name).unlink()
    check_all_equal(Records.read(tmp_path / "run").results(), RESULTS)


def test_foreign_and_hidden_files_are_nobodys_records(tmp_path):
    store = make_records(tmp_path, RESULTS)
    records = tmp_path / FOLDER
    part, people = files_of(tmp_path, "pictures")[0], files_of(tmp_path, "people")[0]
    for name in ("pictures.parquet", "notes.txt", f"copy of {part.name}", f"._{part.name}", f".{people.name}"):
        (records / name).write_bytes(b"\x00\x05\x16\x07 somebody's")
    (records / "journal-mine.arrow").write_text("mine")
    (records / part.name.replace("000001", "000009")).mkdir()
    (records / ".ipynb_checkpoints").mkdir()
    before = sorted(path.name for path in records.iterdir())
    settle(records, store, 0)
    check_all_equal(Records.read(tmp_path).results(), RESULTS)
    assert sorted(path.name for path in records.iterdir()) == before


def test_other_shards_keep_their_journals(tmp_path):
    store = make_store(tmp_path / FOLDER, set_of_network("It", 17), {})
    writers = [Recorder(tmp_path / FOLDER, store, shard=shard) for shard in range(2)]
    for writer, result in zip(writers, RESULTS):
        writer.append([result])
    settle(tmp_path / FOLDER, store, 0, shard=0)
    assert [file.kind for file in store_files(tmp_path / FOLDER)] == ["people", "pictures", "journal"] or [
        (file.kind, file.shard) for file in store_files(tmp_path / FOLDER) if file.kind == "journal"
    ] == [("journal", 1)]
    writers[1].append([RESULTS[2]])
    check_all_equal(Records.read(tmp_path).results(), RESULTS[:3])


def test_of_two_that_make_a_store_the_first_wins(tmp_path):
    first = make_store(tmp_path / FOLDER, set_of_network("It", 17), {"model.flip_test": True})
    assert make_store(tmp_path / FOLDER, set_of_network("It", 133), {}) == first
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["store.json"]
