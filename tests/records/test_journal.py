"""Journals of killed and damaged kinds: whole frames survive."""

from __future__ import annotations

import pytest

from sapiens_pl.core.errors import WriteError
from sapiens_pl.models.keypoint_sets import set_of_network
from sapiens_pl.records.journal import Journal
from sapiens_pl.records.reading import Records
from sapiens_pl.records.recorder import Recorder
from sapiens_pl.records.settling import settle
from sapiens_pl.records.store import FOLDER, make_store, store_files
from tests.records.made_up import check_all_equal, failed_result, pose_result

FRAMES = [
    [pose_result("a.jpg", 2, 5), pose_result("b.jpg", 0, 5)],
    [failed_result("c.jpg", num_keypoints=5)],
    [pose_result("d.jpg", 1, 5)],
]


@pytest.fixture
def journal(tmp_path):
    """A journal of three frames, as a process leaves it that is killed now; and where each frame ends."""
    writer = Recorder(tmp_path / FOLDER, make_store(tmp_path / FOLDER, set_of_network("It", 5), {}))
    ends = []
    for results in FRAMES:
        writer.append(results)
        ends.append(store_files(tmp_path / FOLDER)[0].path.stat().st_size)
    return store_files(tmp_path / FOLDER)[0].path, ends


def done(count):
    return [result for frame in FRAMES[:count] for result in frame if not result.image_failed]


@pytest.mark.slow
def test_cut_at_any_byte_whole_frames_survive(tmp_path, journal, caplog):
    path, ends = journal
    content = path.read_bytes()
    for size in range(len(content) + 1):
        path.write_bytes(content[:size])
        held = Journal(path)
        whole = sum(end <= size for end in ends)
        assert held.pictures.num_rows == sum(map(len, FRAMES[:whole])) and not held.is_damaged, size
        held.close()
    for size in (0, 3, 40, ends[0] - 1, ends[0], ends[0] + 1, ends[0] + 15, ends[1] + 20, ends[2] - 1):
        path.write_bytes(content[:size])
        whole = sum(end <= size for end in ends)
        check_all_equal(Records.read(tmp_path).results(), done(whole))
    settle(tmp_path / FOLDER, make_store(tmp_path / FOLDER, set_of_network("It", 5), {}), 0)
    assert not path.exists() and not caplog.records  # a kill is nothing to complain of
    check_all_equal(Records.read(tmp_path).results(), done(2))


@pytest.mark.parametrize("flipped", ["in the header", "in the first frame", "in the last frame", "zeros at the end"])
def test_damage_costs_the_frame_that_it_is_in(tmp_path, journal, caplog, flipped):
    path, ends = journal
    content = bytearray(path.read_bytes())
    if flipped == "zeros at the end":
        content += bytes(500)  # as after a power cut
    else:
        content[
            {"in the header": 30, "in the first frame": ends[0] - 99, "in the last frame": ends[2] - 9}[flipped]
        ] ^= 1
    path.write_bytes(content)
    expected = {
        "in the header": done(3),
        "in the first frame": done(3)[2:],
        "in the last frame": done(2),
        "zeros at the end": done(3),
    }[flipped]
    check_all_equal(Records.read(tmp_path).results(), expected)
    settle(tmp_path / FOLDER, make_store(tmp_path / FOLDER, set_of_network("It", 5), {}), 0)
    check_all_equal(Records.read(tmp_path).results(), expected)
    assert "damaged inside" in caplog.text and (path.parent / "damaged" / path.name).exists() and not path.exists()


def test_what_a_full_disk_has_not_taken_is_not_recorded_and_later_frames_are(tmp_path, monkeypatch):
    writer = Recorder(tmp_path / FOLDER, make_store(tmp_path / FOLDER, set_of_network("It", 5), {}))
    writer.append(FRAMES[0])
    import os

    write = os.write

    def full(handle, data):
        if len(data) > 50:
            return write(handle, bytes(data[:50]))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(WriteError, match="No space left"):
        writer.append(FRAMES[1])
    monkeypatch.undo()
    writer.append(FRAMES[2])
    assert Records.read(tmp_path).names(None) == ["a.jpg", "b.jpg", "d.jpg"]
    writer.close()
    assert Records.read(tmp_path).names(None) == ["a.jpg", "b.jpg", "d.jpg"]


def test_where_a_part_cannot_be_written_the_journal_stays(tmp_path, monkeypatch, caplog):
    store = make_store(tmp_path / FOLDER, set_of_network("It", 5), {})
    writer = Recorder(tmp_path / FOLDER, store)
    writer.append(FRAMES[0])
    from sapiens_pl.records import part_files

    def full(*given):
        raise WriteError("No space left on device")

    monkeypatch.setattr(part_files, "put_in_place", full)
    writer.close()
    assert "could not be written" in caplog.text
    check_all_equal(Records.read(tmp_path).results(), FRAMES[0])
    monkeypatch.undo()
    settle(tmp_path / FOLDER, store, 0)
    assert [file.kind for file in store_files(tmp_path / FOLDER)] == ["people", "pictures"]
    check_all_equal(Records.read(tmp_path).results(), FRAMES[0])
