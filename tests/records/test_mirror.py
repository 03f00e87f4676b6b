"""A run's folder at a URL: a real S3 server, several machines, lost scratch folders, and a store that refuses."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from stores import Answer, Line

from sapiens_pl.core import remote
from sapiens_pl.core.errors import ConfigError, WriteError
from sapiens_pl.core.structures import PoseResult
from sapiens_pl.models.keypoint_sets import set_of_network
from sapiens_pl.products.chosen import ChosenProduct
from sapiens_pl.products.json_files import JsonFiles
from sapiens_pl.products.making import Products
from sapiens_pl.products.picture_files import PictureFiles
from sapiens_pl.records import claims
from sapiens_pl.records.at_hand import at_hand
from sapiens_pl.records.clearing import empty_folder
from sapiens_pl.records.outlet import remove
from sapiens_pl.records.reading import Records
from sapiens_pl.records.recorder import Recorder
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.records.settling import settle
from sapiens_pl.records.store import make_store, read_store, store_files
from sapiens_pl.run.account import COMPLETE, Report, write_report
from sapiens_pl.run.summing import closes, sum_up
from tests.records.made_up import check_all_equal, pose_result

SPEC = set_of_network("It", 17)
URL = "s3://bucket/run"


@pytest.fixture
def line(s3_server: Line, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Line]:
    s3_server.lead(monkeypatch, SAPIENS_REMOTE_TRIES="3")
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.3)
    monkeypatch.setattr(claims, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(claims, "STALE_SECONDS", 30.0)  # a busy machine may let nobody beat for seconds
    for entry in remote.list_below("s3://bucket/"):
        remote.remove(entry.url)
    s3_server.asked.clear()
    yield s3_server
    s3_server.spoil = lambda number, method, path: None


def on_machine(path: Path, shard: int = 0, num_shards: int = 1, rank: int | str = 0) -> RunFolder:
    """A process of a run on some machine, which has a scratch folder of its own."""
    return RunFolder(URL, rank, shard, num_shards, str(path), 60.0)


def record(folder: RunFolder, results: list[PoseResult]) -> None:
    """What a run does from its start to its end."""
    folder.lock.acquire()
    folder.open()
    store = make_store(folder.records, SPEC, {})
    settle(folder.records, store, 0)
    recorder = Recorder(folder.records, store, folder.shard, folder.rank)
    recorder.append(results)
    recorder.close()
    folder.outlet.wait()


def end(folder: RunFolder) -> None:
    folder.close()
    folder.lock.release()


def keys(*, but: str = "") -> list[str]:
    found = [entry.url.removeprefix(f"{URL}/") for entry in remote.list_below(f"{URL}/")]
    return [key for key in found if not (but and key.startswith(but))]


def test_a_part_that_is_being_removed_there_is_not_fetched_again(line, tmp_path):
    first = on_machine(tmp_path / "first")
    record(first, [pose_result("a.jpg", 1)])
    end(first)
    second = on_machine(tmp_path / "second")
    second.lock.acquire()
    (part,) = (file.path for file in store_files(second.records) if file.kind == "pictures")
    line.spoil = lambda number, method, path: time.sleep(0.3) if method != "GET" else None
    second.outlet.put(second.records / "store.json")  # so that the removal waits
    remove(part)
    assert part not in [file.path for file in store_files(second.records)]
    second.outlet.fetch(part)
    assert not part.exists()
    second.outlet.wait()
    assert f"records/{part.name}" not in keys()
    end(second)


@pytest.mark.slow
def test_records_come_back_on_another_machine_and_are_continued_there(line, tmp_path):
    results = [pose_result(f"{name}.jpg", 2) for name in "abc"]
    first = on_machine(tmp_path / "first")
    record(first, results[:2])
    end(first)
    assert not first.path.exists()  # all that it held is there
    second = on_machine(tmp_path / "second")
    record(second, results[2:])
    check_all_equal([*second.read_records().results()], results)
    end(second)
    with at_hand(URL, only_read=True) as folder:
        check_all_equal([*Records.read(folder).results()], results)
    parts = [key for key in keys() if key.startswith("records/p")]
    assert len(parts) == 4 and all("journal" not in key and ".lock" not in key for key in keys())


@pytest.mark.slow
def test_what_is_emptied_is_empty_at_once_however_slow_the_store(line, tmp_path):
    first = on_machine(tmp_path / "first")
    record(first, [pose_result("a.jpg", 2)])
    end(first)
    line.seconds = 0.1
    try:
        second = on_machine(tmp_path / "second")
        second.lock.acquire()
        empty_folder(second.records)
        assert not store_files(second.records) and read_store(second.records) is None
        assert not keys(but=".lock")
        end(second)
    finally:
        line.seconds = 0.0


@pytest.mark.slow
def test_of_parts_only_what_is_read_is_fetched(line, tmp_path):
    first = on_machine(tmp_path / "first")
    record(first, [pose_result("a.jpg", 2)])
    end(first)
    line.asked.clear()
    second = on_machine(tmp_path / "second")
    second.lock.acquire()
    assert not [asked for asked in line.asked if "/pictures-" in asked or "/people-" in asked]
    records = second.read_records()
    assert [*records.names()] == ["a.jpg"] and not [asked for asked in line.asked if "/people-" in asked]
    check_all_equal([*records.results()], [pose_result("a.jpg", 2)])
    assert len([asked for asked in line.asked if "GET" in asked and "/people-" in asked]) == 1
    end(second)


@pytest.mark.slow
def test_a_killed_run_loses_no_part_with_its_machine_and_no_journal_without(line, tmp_path):
    folder = on_machine(tmp_path / "first")
    record(folder, [pose_result("a.jpg")])
    store = read_store(folder.records)
    Recorder(folder.records, store, 0, 0).append([pose_result("b.jpg")])  # and is killed
    folder.lock._claim.release()
    folder.lock._local.release()
    other = on_machine(tmp_path / "other")
    other.lock.acquire()
    assert [*other.read_records().names()] == ["a.jpg"]
    end(other)
    again = on_machine(tmp_path / "first")
    record(again, [pose_result("c.jpg")])
    end(again)
    with at_hand(URL, only_read=True) as found:
        assert [*Records.read(found).names()] == ["a.jpg", "b.jpg", "c.jpg"]


@pytest.mark.slow
def test_a_second_run_is_refused_in_one_sentence(line, tmp_path):
    first, second = on_machine(tmp_path / "first"), on_machine(tmp_path / "second")
    first.lock.acquire()
    with pytest.raises(ConfigError, match=rf"^s3://bucket/run is being written by another run \(process {os.getpid()}"):
        second.lock.acquire()
    assert not second.path.exists()
    with pytest.raises(ConfigError, match="by another run"):
        on_machine(tmp_path / "third", 1, 3).lock.acquire()  # a shard neither
    end(first)
    second = on_machine(tmp_path / "second")
    second.lock.acquire()
    end(second)
    assert keys() == []


@pytest.mark.slow
def test_shards_of_one_number_stand_side_by_side(line, tmp_path):
    shards = [on_machine(tmp_path / str(shard), shard, 2) for shard in range(2)]
    for shard in shards:
        shard.lock.acquire()
        shard.lock.share()
    assert [shard.lock.only_one for shard in shards] == [True, False]
    for other in (on_machine(tmp_path / "x", 1, 2), on_machine(tmp_path / "y", 2, 3)):
        with pytest.raises(ConfigError, match="by another run"):
            other.lock.acquire()
    for shard in shards:
        end(shard)


@pytest.mark.slow
def test_a_place_whose_owner_gives_no_sign_of_life_is_taken_over(line, tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "STALE_SECONDS", 1.0)
    remote.put(f"{URL}/.lock/0of1-7", b'{"machine": "elsewhere", "process": 1}')
    folder = on_machine(tmp_path)
    folder.lock.acquire()
    assert keys() == [".lock/0of1-8"]
    end(folder)


@pytest.mark.slow
def test_the_place_of_a_dead_process_of_this_machine_is_taken_at_once(line, tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "STALE_SECONDS", 1e6)
    script = (
        "import os, sys; from sapiens_pl.records.run_folder import RunFolder\n"
        f"RunFolder({URL!r}, scratch=sys.argv[1]).lock.acquire(); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path / "dead")]).returncode == 9
    assert keys() == [".lock/0of1-1"]
    folder = on_machine(tmp_path / "next")
    folder.lock.acquire()
    end(folder)


def test_who_has_lost_his_place_is_told(line, tmp_path):
    folder, told = on_machine(tmp_path), []
    folder.mirror.failed = told.append
    folder.lock.acquire()
    remote.put(f"{URL}/.lock/0of1-2", b"{}")
    while not told:
        time.sleep(0.01)
    assert told == ["Another run has replaced this one, which gave no sign of life; this one ends."]
    end(folder)


@pytest.mark.slow
def test_what_a_store_refuses_is_told_with_the_folder_and_goes_up_the_next_time(line, tmp_path):
    folder, told = on_machine(tmp_path), []
    folder.mirror.failed = told.append
    line.spoil = lambda number, method, path: Answer(403) if method == "PUT" and "pictures-" in path else None
    with pytest.raises(WriteError, match="What is done and not uploaded yet is in ") as caught:
        record(folder, [pose_result("a.jpg")])
    assert str(folder.path) in str(caught.value) and told == [str(caught.value)]
    end(folder)
    assert [*Records.read(folder.path).names()] == ["a.jpg"] and folder.path.exists()
    line.spoil = lambda number, method, path: None
    again = on_machine(tmp_path)
    record(again, [pose_result("b.jpg")])
    end(again)
    with at_hand(URL, only_read=True) as found:
        assert [*Records.read(found).names()] == ["a.jpg", "b.jpg"]
    assert not again.path.exists()


@pytest.mark.slow
def test_records_here_of_a_run_that_is_no_longer_there_are_dropped(line, tmp_path):
    folder = on_machine(tmp_path)
    record(folder, [pose_result("a.jpg")])
    folder.lock._claim.release()
    folder.lock._local.release()
    for key in keys():
        remote.remove(f"{URL}/{key}")
    again = on_machine(tmp_path)
    record(again, [pose_result("b.jpg")])
    assert [*again.read_records().names()] == ["b.jpg"]
    end(again)


def report(shard: int) -> Report:
    when = f"2026-01-0{shard + 1}T00:00:00+00:00"
    return Report(shard, 2, 0, 1, COMPLETE, when, images_listed=2, images_dealt=1, plan="same")


@pytest.mark.slow
def test_of_shards_on_two_machines_the_last_closes_for_all(line, tmp_path):
    shards = [on_machine(tmp_path / str(shard), shard, 2) for shard in range(2)]
    accounts = []
    for shard, name in zip(shards, "ab"):
        record(shard, [pose_result(f"{name}.jpg")])
        shard.lock.share()
    for shard in shards:
        write_report(shard, report(shard.shard))
        accounts.append(sum_up(shard))
    assert [account.processes_ended for account in accounts] == [1, 2]
    assert accounts[1].folder.done == 2
    assert [closes(shard, account) for shard, account in zip(shards, accounts)] == [False, True]
    accounts = [sum_up(shard) for shard in shards]  # had both seen both, one would have closed
    assert [closes(shard, account) for shard, account in zip(shards, accounts)] == [False, False]
    for shard in shards:
        end(shard)


@pytest.mark.slow
def test_products_go_up_leave_this_machine_and_are_known_by_their_names(line, tmp_path):
    folder = on_machine(tmp_path)
    record(folder, [pose_result("a.jpg"), pose_result("sub/b.jpg")])
    chosen = ChosenProduct("json", JsonFiles(), {})
    products = Products(folder, [chosen], SPEC, None)
    products.settle(["a.jpg", "sub/b.jpg"])
    for result in folder.read_records().results():
        assert products.make(result) == []
    folder.outlet.wait()
    assert not [*folder.predictions.rglob("*.json")]
    end(folder)
    again = on_machine(tmp_path / "other")
    again.lock.acquire()
    again.open()
    line.asked.clear()
    files = PictureFiles(again, chosen)
    files.settle(["a.jpg", "sub/b.jpg", "c.jpg"])
    assert files.missing(["a.jpg", "sub/b.jpg", "c.jpg"]) == ["c.jpg"]
    assert not [line for line in line.asked if "predictions/" in line and "list-type" not in line]
    other = PictureFiles(again, chosen._replace(settings={"other": 1}))
    other.settle(["a.jpg"])
    again.outlet.wait()
    assert [key for key in keys() if key.startswith("predictions")] == ["predictions/sub/b.jpg.json"]
    end(again)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("s3://nobody/run", "There is no bucket nobody"),
        ("ftpx://x/run", "ftpx:// is not a known protocol"),
        ("s3://bucket/file", "output.dir=s3://bucket/file is a file; name a folder"),
    ],
)
def test_a_url_that_cannot_be_used_is_told_at_once(line, tmp_path, url, sentence):
    remote.put("s3://bucket/file", b"x")
    with pytest.raises(ConfigError, match=sentence.replace(".", r"\.")):
        RunFolder(url, scratch=str(tmp_path)).lock.acquire()


def test_no_permission_to_write_is_told_at_once(line, tmp_path):
    line.spoil = lambda number, method, path: Answer(403) if method == "PUT" else None
    with pytest.raises(ConfigError, match="is forbidden for these credentials"):
        on_machine(tmp_path).lock.acquire()


@pytest.mark.slow
def test_no_credentials_are_told_at_once(tmp_path):
    script = (
        "from sapiens_pl.records.run_folder import RunFolder\n"
        f"RunFolder({URL!r}, scratch={str(tmp_path)!r}).lock.acquire()"
    )
    clean = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    clean |= {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=clean, capture_output=True, text=True)
    assert "ConfigError: There are no credentials for s3://bucket (" in done.stderr


def test_a_scratch_folder_that_cannot_be_written_is_told_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"^output\.scratch=.* cannot be written \(.*give output\.scratch=FOLDER"):
        RunFolder(URL, scratch=str(tmp_path / "file"))


def test_a_store_that_does_not_say_who_was_first_keeps_one(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "_SETTLING_SECONDS", 0.01)
    url = "file://" + str(tmp_path / "there")
    monkeypatch.setattr(remote, "put_if_absent", lambda url, data: remote.put(url, data) or True)
    assert claims.claim_object(f"{url}/x", b"first") and not claims.claim_object(f"{url}/x", b"second")
    shutil.rmtree(tmp_path / "there")
