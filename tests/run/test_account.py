"""`run.json` and what it is the sum of: as it is written, watched, damaged and read again."""

from __future__ import annotations

import json

import pytest
from records.made_up import make_records, pose_result

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.not_counted import FilesNotCounted, NotCounted, RowsNotCounted, Some
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.run import lives
from sapiens_pl.run.account import (
    COMPLETE,
    POSING,
    RUNNING,
    VERSION,
    Account,
    Counts,
    Live,
    Memory,
    Progress,
    Report,
    Terms,
    Work,
    read_account,
    read_reports,
    write_account,
    write_report,
)
from sapiens_pl.run.collecting import put_together
from sapiens_pl.run.lives import progress_of, read_lives, write_live
from sapiens_pl.run.summing import summed
from sapiens_pl.run.table import summary_table

WORK = Work("2026-01-01T00:00:00+00:00", "a chip", 8, 10, 5.0, 6.0, 2.0, 2.5, Memory(1.5))


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.processes.mkdir()
    folder.open()
    yield folder
    folder.close()


def report(shard=0, num_shards=1, rank=0, planned=5, work=WORK, when="2026-01-01T00:00:00+00:00", **more):
    counts = Counts(images_planned=planned, images_done=planned, people=2 * planned)
    said = {"counts": counts, "work": work, "terms": Terms({"a": 1})}
    return Report(shard, num_shards, rank, 1, COMPLETE, when, **said, **more)


def test_what_is_written_is_read_again_and_stands_side_by_side(folder):
    account = summed([report()], Account())
    write_account(folder, account)
    assert read_account(folder.run_file) == account
    content = json.loads(folder.run_file.read_text())
    assert content["version"] == VERSION and content["counts"]["images_done"] == 5
    assert content["crops_per_second"] == 2.0 and content["settings"] == {"a": 1}  # not in folders of their own
    assert "error" not in content and "settings" not in content["processes"][0]


@pytest.mark.parametrize("content", [b"", b"[]", b"3", b'{"shard": "0"}', b'{"shard": 0, "rank": 0}', b"\xff"])
def test_a_damaged_report_is_none(folder, content, capsys):
    write_report(folder, report()._replace(world_size=2))
    (folder.processes / "0of1-1.json").write_bytes(content)
    (folder.processes / "0of1-1.progress").write_bytes(content)
    folder.run_file.write_bytes(b"{}")
    assert [report.rank for report in read_reports(folder)] == [0]
    assert progress_of(read_lives(folder))[:4] == progress_of([])[:4]
    assert put_together(folder.path) == 1 and "incomplete" in capsys.readouterr().out


def test_a_killed_run_is_told_from_one_that_is_at_work(folder, capsys):
    make_records(folder.path, [pose_result("a.jpg")])
    write_account(folder, Account(status=RUNNING, progress=Progress(POSING, 5, 1)))
    assert put_together(folder.path, with_files=False) == 1
    said = capsys.readouterr().out
    assert "posing          1 of 5 images done" in said
    assert "No process is at work: the run was killed, with 1 image done; the same" in said


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[]", "remove it: the results stay"),
        (b'{"status": 3}', "status is a int"),
        (b'{"counts": {"images_done": "6"}}', "images_done is a str"),
        (b'{"counts": 5}', "counts is a int"),
        (b'{"processes": [1]}', "processes is a int"),
        (b'{"peak_memory": {"host_gib": true}}', "host_gib is a bool"),
        (b'{"version": 99}', "later version of sapiens_pl"),
    ],
)
def test_a_run_file_that_is_damaged_or_of_a_later_form_is_told(folder, capsys, content, words):
    folder.run_file.write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        read_account(folder.run_file)
    assert put_together(folder.path) == 2 and words in capsys.readouterr().err


def test_a_run_that_finds_nothing_left_keeps_what_the_work_has_cost(folder):
    first = summed([report()], Account())
    later = "2026-01-02T00:00:00+00:00"
    again = summed([report(planned=0, work=None, when=later)], first)
    assert again.work == WORK and again.looked_at == later and first.looked_at is None
    assert again.counts.images_planned == again.counts.images_done == 0
    worked = summed([report(work=WORK._replace(crops=3))], again)
    assert worked.work.crops == 3 and worked.looked_at == later


def test_the_work_of_shards_adds_up(folder):
    slow = WORK._replace(device="another chip", seconds=10.0, peak_memory=Memory(1.0, 7.0), largest_working_batch=4)
    account = summed([report(0, 2), report(1, 2, work=slow)], Account())
    assert account.status == COMPLETE and account.counts.people == 20
    assert account.work.crops_per_second == 2.0 and account.work.warm_crops_per_second == 5.0
    assert account.work.device == "a chip, another chip" and account.work.peak_memory == Memory(1.5, 7.0)
    assert account.work.largest_working_batch == 4
    assert summed([report(1, 2)], Account()).status == "incomplete"


def test_how_far_all_processes_are_is_the_sum_of_what_each_has_left(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(lives, "now", lambda: "then")
    write_live(folder, Live(POSING, 30, 100, 10, 1, 40, 2.0))
    other = RunFolder(folder.path, rank=1)
    other.open()
    write_live(other, Live(POSING, 50, 50, 20, 0, 20, 5.0))
    other.close()
    progress = progress_of(read_lives(folder))
    assert progress == (POSING, 60, 30, 1, 2.0, 35.0, "then", None, None)  # the second one is at its end
    assert progress_of([Live(POSING, 0, 100)]).seconds_left is None  # nobody knows yet
    assert progress_of([Live(POSING, 9, 9)]).seconds_left == 0
    broken_off = progress_of(read_lives(folder), "interrupted")
    assert broken_off.state == "interrupted" and broken_off.seconds_left is None and broken_off.images_done == 30


def test_what_was_not_counted_is_read_again_and_stands_in_the_closing_table(folder):
    files = FilesNotCounted(4, {"HEIC": 3, "CR2": 1}, ["a.heic", "b.heic", "c.cr2"], "is HEIC")
    rows = RowsNotCounted(
        "b.csv", 20, 11, {"person": 14, "dog": 6}, 6, unusable=3, inverted=2, unnamed=Some(1, ["d.png"])
    )
    account = summed([report(not_counted=NotCounted(files, rows)), report(1, 2)], Account())
    write_account(folder, account)
    assert read_account(folder.run_file).not_counted == NotCounted(files, rows)
    told = [line.strip() for line in summary_table(account).splitlines()]
    assert "not read        4 files (HEIC 3, CR2 1): a.heic, b.heic, c.cr2, ... (4 in all)" in told
    start = told.index("boxes left out  9 of 20:")
    assert told[start + 1 : start + 3] == ["6 of other classes (person 14, dog 6)", "3 that are not boxes (2 inverted)"]
    assert told[start + 3] == "without boxes   1 picture not in the box file: d.png"
    later = summed([report(not_counted=NotCounted(files))], account)  # which has found nobody's boxes to look at
    assert later.not_counted == NotCounted(files, rows)
    assert summed([report(not_counted=NotCounted())], Account()).not_counted is None
