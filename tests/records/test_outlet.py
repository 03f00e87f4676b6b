"""What stands for a URL tells its outlet of every file that outlives the process, and of no other."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sapiens_pl.core.structures import Failure
from sapiens_pl.models.keypoint_sets import set_of_network
from sapiens_pl.products.memory import Memory
from sapiens_pl.records.outlet import SeenAlready, outlet_of, stand_for, stand_no_longer
from sapiens_pl.records.recorder import Recorder
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.records.store import make_store
from tests.records.made_up import pose_result


class Noted(SeenAlready):
    """Notes what it is told."""

    def __init__(self, top: Path, flush_seconds: float | None = None) -> None:
        self.top, self.flush_seconds = top, flush_seconds
        self.told: list[str] = []

    def put(self, path: Path) -> None:
        assert path.is_file()
        self.told.append(f"put {path.relative_to(self.top)}")

    def put_first(self, path: Path) -> bool:
        self.told.append(f"first {path.relative_to(self.top)}")
        return True

    def remove(self, path: Path) -> None:
        self.told.append(f"remove {path.relative_to(self.top)}")


@pytest.fixture
def noted(tmp_path: Path) -> Iterator[Noted]:
    outlet = Noted(tmp_path)
    stand_for(tmp_path, outlet)
    yield outlet
    stand_no_longer(tmp_path)


SPEC = set_of_network("It", 17)


def test_of_a_part_the_pictures_are_shown_last_and_journals_never(tmp_path: Path, noted: Noted) -> None:
    folder = RunFolder(tmp_path)
    recorder = Recorder(folder.records, make_store(folder.records, SPEC, {}))
    recorder.append([pose_result("a.jpg")])
    assert noted.told == ["first records/store.json"]
    recorder.close()
    people, pictures = noted.told[1:]
    assert people.startswith("put records/people-") and pictures.startswith("put records/pictures-")


def test_what_is_only_in_a_journal_becomes_a_part_in_time(tmp_path: Path, noted: Noted) -> None:
    noted.flush_seconds = 0.01
    folder = RunFolder(tmp_path)
    recorder = Recorder(folder.records, make_store(folder.records, SPEC, {}))
    recorder.append([pose_result("a.jpg")])
    while not any("pictures-" in line for line in noted.told):
        pass
    recorder.append([pose_result("b.jpg")])
    recorder.close()
    assert [*folder.read_records().names()] == ["a.jpg", "b.jpg"]


def test_files_of_the_folder_are_shown_and_their_removal_too(tmp_path: Path, noted: Noted) -> None:
    folder = RunFolder(tmp_path)
    folder.open()
    memory = Memory(folder, "json")
    memory.remember({})
    memory.forget()
    folder.failures.keep_others([Failure("x", None, "BoxError", "no")])
    folder.failures.keep_others([])
    assert [line for line in noted.told if "records" not in line] == [
        "put .products/json.json",
        "remove .products/json.json",
    ]


def test_a_folder_that_stands_for_nothing_has_the_outlet_that_does_nothing(tmp_path: Path, noted: Noted) -> None:
    assert outlet_of(tmp_path / "records" / "x") is noted
    assert isinstance(outlet_of(tmp_path.parent / "other"), SeenAlready) and outlet_of("/") is not noted
