"""What others put among a run's files: hidden files, copies, notes; and damage to the run's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from sapiens_pl.core.columns import Names
from sapiens_pl.core.configs import config_folder
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.structures import Failure
from sapiens_pl.models.keypoint_sets import set_of_network
from sapiens_pl.records.recorder import Recorder
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.records.store import make_store, store_files
from sapiens_pl.run.account import Account, Terms, read_account, write_account
from sapiens_pl.run.collecting import put_together
from sapiens_pl.run.redo import read_redo
from sapiens_pl.run.resume import finished_pictures, prepare_folder
from tests.records.made_up import failed_result, pose_result

SETTINGS = {"model.flip_test": False}
NAMES = ("a.jpg", "b.jpg", "sub/c.jpg")
HIDDEN = (".own.jpg", "_outside/home/.cache/d.jpg")
ALL = (*NAMES, *HIDDEN)


def digest_of(name):
    return 2**63 + len(name)


def record(folder, results):
    recorder = Recorder(folder.records, make_store(folder.records, set_of_network("It", 17), SETTINGS))
    recorder.append(results, [digest_of(result.name) for result in results])
    recorder.close()


@pytest.fixture
def folder(tmp_path):
    """A run's folder with five results, two of them of images whose names are hidden, as it stands at a run's end."""
    folder = RunFolder(tmp_path / "run")
    folder.open()
    write_account(folder, Account(status="complete", terms=Terms(SETTINGS)))
    record(folder, [pose_result(name) for name in ALL])
    return folder


@lru_cache
def composed():
    with initialize_config_dir(config_folder(), version_base="1.3"):
        return compose("predict", overrides=["output.dir=somewhere"])


def resume(folder, names=ALL, overwrite=False, settings=SETTINGS, redo=None, digests=digest_of, keypoints=17):
    """As a run does it; the names that need not be done again."""
    again = RunFolder(folder.path)
    cfg = OmegaConf.merge(composed(), {"output": {"overwrite": overwrite}})
    asked = read_redo(redo)
    prepare_folder(again, cfg, dict(settings), set_of_network("It", keypoints), asked)
    write_account(again, Account(status="running", terms=Terms(settings)))
    digests = np.array([digests(name) for name in names], np.uint64)
    done, failed, *_ = finished_pictures(again, Names.of(names), digests, asked)
    again.close()
    folder.open()
    assert not (done & failed).any()
    return {name for name, is_done in zip(names, done) if is_done}


def test_hidden_and_foreign_files_are_nobodys(folder):
    part = store_files(folder.records)[0].path
    for place in (f"._{part.name}", "notes.txt", ".DS_Store", ".ipynb_checkpoints/store.json", f"{part.name} copy"):
        (folder.records / place).parent.mkdir(exist_ok=True)
        (folder.records / place).write_bytes(b"\x00\x05\x16\x07")
    folder.processes.mkdir(exist_ok=True)
    (folder.processes / "._0of1-0.json").write_bytes(b"\x00")
    assert resume(folder) == {*ALL} and resume(folder, [*ALL, "new.jpg"]) == {*ALL}
    assert folder.read_records().names() == sorted(ALL) and not (folder.records / "damaged").exists()


@pytest.mark.parametrize("kind", ["people", "pictures"])
def test_a_part_that_was_changed_is_set_aside_and_its_images_are_done_again(folder, kind, caplog):
    record(folder, [pose_result("z.jpg")])
    part = next(file.path for file in store_files(folder.records) if file.kind == kind)
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 0x10
    part.write_bytes(content)
    assert resume(folder, [*ALL, "z.jpg"]) == {"z.jpg"}
    assert "cut short or changed" in caplog.text and (folder.records / "damaged" / part.name).exists()
    caplog.clear()
    assert resume(folder, [*ALL, "z.jpg"]) == {"z.jpg"} and not caplog.text


DAMAGE = [b"", b"\xff\xfe\x00binary", b"[1, 2]", b'"text"', b"null", b'{"version": ', b'{"version": 3}']


@pytest.mark.parametrize("content", DAMAGE)
def test_a_damaged_store_file_is_a_sentence_and_no_other_settings_are_accepted(folder, content):
    whole = (folder.records / "store.json").read_bytes()
    (folder.records / "store.json").write_bytes(content)
    for settings in (SETTINGS, {"model.flip_test": True}):
        with pytest.raises(ConfigError, match=r"store\.json is damaged.*output\.overwrite=true"):
            resume(folder, settings=settings)
    (folder.records / "store.json").write_bytes(whole)
    assert resume(folder) == {*ALL}
    (folder.records / "store.json").write_bytes(content)
    assert resume(folder, overwrite=True) == set() and len(folder.read_records()) == 0


def test_a_lost_store_file_is_a_sentence_and_overwriting_needs_a_sign_that_a_run_was_here(folder):
    (folder.records / "store.json").unlink()
    with pytest.raises(ConfigError, match=r"no store\.json"):
        resume(folder)
    folder.run_file.unlink()
    with pytest.raises(ConfigError, match="remove them by hand"):
        resume(folder, overwrite=True)
    assert len(store_files(folder.records)) == 2


def test_other_settings_and_another_keypoint_set_are_refused_until_nothing_depends_on_them(folder):
    with pytest.raises(ConfigError, match=r"made with model\.flip_test=False, not True; choose another output\.dir"):
        resume(folder, settings={"model.flip_test": True})
    with pytest.raises(ConfigError, match="keypoint set coco with 17 keypoints, which is not the network's"):
        resume(folder, keypoints=133)
    assert resume(folder) == {*ALL}
    for file in store_files(folder.records):
        file.path.unlink()
    assert resume(folder, settings={"model.flip_test": True}, keypoints=133) == set()


def test_results_of_the_first_edition_are_not_mixed_with_records(tmp_path, capsys):
    folder = RunFolder(tmp_path / "run")
    folder.open()
    account = Account(status="complete", terms=Terms(SETTINGS))
    write_account(folder, account)
    (folder.path / "inputs.txt").write_text('0011 "a.jpg"\n')
    with pytest.raises(ConfigError, match=r"results of an earlier version.*output\.overwrite=true"):
        resume(folder)
    assert put_together(folder.path) == 2 and "of an earlier version" in capsys.readouterr().err
    assert read_account(folder.run_file) == account


@pytest.mark.parametrize("product", ["predictions/a.jpg.json", "overlays/sub/a.jpg.jpg", "keypoints.csv"])
def test_results_without_records_are_not_replaced(tmp_path, product):
    folder = RunFolder(tmp_path / "run")
    file = folder.path / product
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("of whom?")
    with pytest.raises(ConfigError, match=r"holds results, but no store\.json"):
        resume(folder)
    assert file.read_text() == "of whom?"
    file.rename(file.with_name(".hidden"))
    assert resume(folder) == set()


@pytest.mark.parametrize("file", ["run.json", "failures.jsonl", "changed.txt", "person_images.json"])
def test_a_folder_in_a_files_place_is_a_sentence(folder, file):
    (folder.path / file).unlink(missing_ok=True)
    (folder.path / file).mkdir()
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match=rf"{file} is a folder; move it away"):
            resume(folder, overwrite=overwrite)
    assert len(folder.read_records()) == 5


@pytest.mark.parametrize("place", [".processes", "detections"])
def test_a_file_in_a_folders_place_is_a_sentence(folder, place):
    (folder.path / place).write_text("a file")
    with pytest.raises(ConfigError, match=rf"{place} is not a folder; move it away"):
        resume(folder)


def test_the_failure_list_is_a_view_of_the_records_and_keeps_what_others_have_to_say(folder):
    box = Failure("b2.jpg", 3, "BoxError", "box 3 has no area.")
    record(folder, [failed_result("x.jpg"), pose_result("b2.jpg")._replace(failures=(box,))])
    other = Failure("nobody.jpg", 0, "BoxError", "no such image.")
    folder.failures.keep_others([other])
    missing, gone = (Failure(name, None, "ValueError", "too long", "overlay") for name in ("a.jpg", "gone.jpg"))
    with open(folder.failures.file, "ab") as file:
        file.write(b'{"image": [1], "instance_id": null}\n{"image": "c.jpg", "instance_id": "x"}\n[]\n\xff\xff\n{"ima')
    for failure in (missing, gone, box, box):
        folder.failures.append(failure)
    folder.failures.settle()
    rows = [json.loads(line) for line in folder.failures.file.read_text().splitlines()]
    assert rows == [missing.row(), box.row(), other.row(), *(f.row() for f in failed_result("x.jpg").failures)]
    resume(folder)
    assert [json.loads(line) for line in folder.failures.file.read_text().splitlines()] == rows
    resume(folder, redo="failed")
    assert folder.failures.of_products() == []
    record(folder, [pose_result("x.jpg")])
    folder.failures.keep_others([])
    folder.failures.settle()
    assert [json.loads(line)["image"] for line in folder.failures.file.read_text().splitlines()] == ["b2.jpg"]
    record(folder, [pose_result("b2.jpg")])
    folder.failures.settle()
    assert not folder.failures.file.exists()


def test_overwriting_empties_a_folder_that_is_a_link_and_leaves_the_link(folder, tmp_path):
    elsewhere = tmp_path / "other_disk"
    folder.records.rename(elsewhere)
    folder.records.symlink_to(elsewhere)
    assert resume(folder) == {*ALL}
    (elsewhere / "linked").symlink_to(tmp_path)
    assert resume(folder, overwrite=True) == set()
    assert folder.records.is_symlink() and os.listdir(elsewhere) == ["store.json"] and folder.run_file.exists()


BUSY = """
import subprocess, sys
sys.path.insert(0, {tests!r})
from test_foreign_files import *
folder = RunFolder({path!r})
def say(**options):
    try:
        print(len(resume(folder, **options)))
    except ConfigError as error:
        print(error)
def mount(path):
    subprocess.run(["mount", "--bind", path, path], check=True)
busy = folder.path / "predictions" / "b.jpg.json"
busy.parent.mkdir()
busy.touch()
mount(busy)
other = {{"model.flip_test": True}}
say(overwrite=True, settings=other)
say(settings=other)
subprocess.run(["umount", busy], check=True)
mount(folder.records)
say(overwrite=True, settings=other)
mount(folder.run_file)
say(overwrite=True)
"""


@pytest.mark.slow
def test_what_cannot_be_removed_ends_the_run_before_it_begins(folder):
    """Nobody can remove a mount point; a folder that is one is emptied."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this system does not allow mount namespaces")
    script = BUSY.format(tests=str(Path(__file__).parent), path=str(folder.path))
    command = ["unshare", "-rm", sys.executable, "-c", script]
    process = subprocess.run(command, capture_output=True, text=True, timeout=200)
    lines = process.stdout.splitlines()
    assert len(lines) == 4, process.stderr
    refused = "output.overwrite=true cannot remove {} (Device or resource busy); remove it by hand"
    assert lines[0].startswith(refused.format(folder.path / "predictions" / "b.jpg.json"))
    assert "made with model.flip_test=False, not True" in lines[1]  # what was left is not taken for the other kind
    assert lines[2] == "0" and lines[3].startswith(refused.format(folder.run_file))


def test_a_run_is_complete_only_when_the_files_that_hold_all_of_it_are_there(predict, mini):
    settings = [*mini, "output.formats=[json,coco,csv]", "data.num_workers=0", "annotations=null"]
    killed = "import os, sapiens_pl.products.csv_table as m\nm.write_csv = lambda *given: os.kill(os.getpid(), 9)"
    first = predict(*settings, inject=killed)
    assert first.code == -9 and first.results
    assert first.info["status"] == "merging" and not (first.folder / "keypoints.csv").exists()
    again = predict(*settings)
    assert again.code == 0 and again.info["status"] == "complete" and again.info["counts"]["images_done"] == 0
    assert (again.folder / "keypoints.csv").exists() and (again.folder / "coco_keypoints.json").exists()
    (again.folder / "keypoints.csv").unlink()
    assert put_together(again.folder) == 0 and (again.folder / "keypoints.csv").exists()


def test_a_log_that_cannot_be_written_is_a_sentence(predict, mini, tmp_path):
    (tmp_path / "run" / "predict.log").mkdir(parents=True)
    run = predict(*mini)
    assert run.code == 2 and "predict.log cannot be used (Is a directory)" in run.err and run.err.count("\n") == 1
