"""`predict.log` in the run's folder: its lines, and what is held back until the folder is the run's."""

from __future__ import annotations

import logging
import re
import warnings

import pytest
from conftest import COCO
from records.made_up import make_records, pose_result

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.logs import note, quieten_libraries
from sapiens_pl.records.at_hand import at_hand
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.run.run_log import held_back, log_into, log_name, logged_in

log = logging.getLogger("sapiens_pl.test")
STAMP = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\]"


@pytest.fixture(autouse=True)
def everything_is_said():
    ours = logging.getLogger("sapiens_pl")
    level = ours.level
    ours.setLevel(logging.INFO)
    yield
    ours.setLevel(level)


def test_what_is_said_before_the_folder_is_the_runs_stands_there_too(tmp_path):
    with held_back():
        log.warning("early")
        assert not [*tmp_path.iterdir()]
        log_into(tmp_path)
        log.info("late")
        note("a table\n\nof two lines")
    log.info("after the end")
    lines = (tmp_path / "predict.log").read_text().splitlines()
    assert [re.sub(STAMP, "", line) for line in lines] == [
        "[WARNING] early", "[INFO] late", "[INFO] a table", "[INFO] of two lines",
    ]  # fmt: skip


def test_a_refused_run_leaves_no_log(tmp_path):
    with held_back():
        log.warning("refused")
    assert not [*tmp_path.iterdir()]


def test_a_line_says_which_rank_it_is_of_and_which_library_and_tells_no_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "3")
    with held_back(), warnings.catch_warnings():
        warnings.simplefilter("always")
        quieten_libraries()
        log_into(tmp_path)
        log.warning("a\nb of %s", "https://me:secret@host/x?token=secret")
        logging.getLogger("torch.export").warning("mind that")
        warnings.warn("old\nthing", FutureWarning, stacklevel=1)
        warnings.warn("The dataloader does not have many workers", stacklevel=1)
    ours, theirs, warned = (tmp_path / "predict.log").read_text().splitlines()
    assert re.fullmatch(STAMP + r"\[WARNING\]\[rank 3\] a\\nb of https://host/x\S*", ours) and "secret" not in ours
    assert re.fullmatch(STAMP + r"\[WARNING\]\[rank 3\]\[torch\] mind that", theirs)
    assert re.search(r"\] old\\nthing \(FutureWarning, .*test_run_log.py:\d+\)$", warned)


def test_a_command_on_a_run_goes_on_in_its_log(tmp_path):
    (tmp_path / "predict.log").write_text("of the run\n")
    with held_back(), logged_in(tmp_path, "make https://me:secret@host/run"):
        log.info("making")
    first, command, making = (tmp_path / "predict.log").read_text().splitlines()
    assert first == "of the run" and command.endswith(": make https://host/run") and making.endswith("making")


def test_at_a_url_it_goes_on_too(forked, tmp_path):
    there = tmp_path / "run"
    make_records(there, [pose_result("000000000785.jpg", 1)])
    (there / "predict.log").write_text("of the run\n")
    with at_hand(there.as_uri(), only_read=True) as folder, held_back(), logged_in(folder, "make"):
        log.info("making")
    evaluated = forked("evaluate", f"predictions={there.as_uri()}", f"annotations={COCO / 'test_coco.json'}")
    assert evaluated.code == 0, evaluated.err
    said = (there / "predict.log").read_text().splitlines()
    assert (
        said[0] == "of the run" and said[2].endswith("making") and f": evaluate predictions={there.as_uri()}" in said[3]
    )


def test_each_process_has_a_file_of_its_own(tmp_path):
    folders = [
        RunFolder(tmp_path, rank, shard, num) for num, shard, rank in ((1, 0, 0), (1, 0, 2), (4, 3, 0), (4, 3, 1))
    ]
    names = ["predict.log", "predict-rank2.log", "predict-shard3.log", "predict-shard3-rank1.log"]
    assert [log_name(folder) for folder in folders] == names


def test_a_file_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "predict.log").mkdir()
    with held_back(), pytest.raises(ConfigError, match=r"predict\.log cannot be used \(Is a directory\); fix that"):
        log_into(tmp_path)
