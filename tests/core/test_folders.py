from __future__ import annotations

import os
import subprocess

import pytest

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.folders import make_folders, walk
from sapiens_pl.records.clearing import empty_folder
from sapiens_pl.records.run_folder import RunFolder

DEEP = "d/" * 1100


@pytest.mark.slow
def test_files_in_1100_folders_in_each_other_are_written_and_removed(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.open()
    try:
        folder.write(folder.prediction_path(f"{DEEP}a.jpg"), b"{}")
        folder.write(folder.prediction_path("b.jpg"), b"{}")
        found = [os.path.join(parent, file) for parent, _, files in walk(folder.predictions) for file in files]
        assert len(found) == 2 and f"{folder.predictions}/{DEEP}a.jpg.json" in found
        (folder.predictions / "linked").symlink_to(tmp_path)
        empty_folder(folder.predictions)
        assert not folder.predictions.exists() and folder.path.exists()
    finally:  # pytest could not remove it
        subprocess.run(["rm", "-rf", str(folder.predictions)], check=True)
    folder.close()


def test_a_walk_is_that_of_python(tmp_path):
    for name in ("b/x/1", "a/2", "3", "b/4"):
        make_folders((tmp_path / name).parent)
        (tmp_path / name).write_text("")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    found, expected = list(walk(tmp_path)), list(os.walk(tmp_path))
    assert sorted(found) == sorted(expected) and found[0] == expected[0]
    errors: list[OSError] = []
    assert not list(walk(tmp_path / "none", errors.append)) and len(errors) == 1


def test_a_file_in_the_way_is_an_error(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(NotADirectoryError):
        make_folders(tmp_path / "a" / "b" / "c")
    with pytest.raises(ConfigError):
        RunFolder(tmp_path / "a" / "b")
