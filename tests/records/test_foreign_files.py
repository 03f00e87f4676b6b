"""What others put among a run's files: hidden files, copies, notes; and damage to the run's own."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from omegaconf import OmegaConf
from sapiens_pl.products.merge import all_results, merge
from sapiens_pl.records.parts import PartWriter

from sapiens_pl.core.columns import Names, whole_pictures
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.structures import Failure, PoseResult
from sapiens_pl.data.digests import digests
from sapiens_pl.models.keypoint_sets import keypoint_spec
from sapiens_pl.products.json_files import result_json
from sapiens_pl.records import parts
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.run.account import Account, Terms, read_reports, write_account
from sapiens_pl.run.collecting import put_together
from sapiens_pl.run.resume import finished_names, prepare_folder
from sapiens_pl.run.sweep_report import account_of

APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        \xb0"
SETTINGS = {"model.flip_test": False}
NAMES = ("a.jpg", "b.jpg", "sub/c.jpg")
HIDDEN = (".own.jpg", "_outside/home/.cache/d.jpg")


def result_of(name, num_people=1):
    rng = np.random.default_rng(len(name))
    keypoints, scores = rng.uniform(0, 60, (num_people, 17, 2)), rng.uniform(0, 1, (num_people, 17))
    boxes, ones = np.tile([1.0, 2, 50, 60], (num_people, 1)), np.ones(num_people)
    ids = np.arange(num_people)
    return PoseResult("", np.float32(keypoints), np.float32(scores), boxes, ones, ids, (80, 60), name, ())


@pytest.fixture
def folder(tmp_path):
    """A run's folder with five results, two of them of images whose names are hidden, as it stands at a run's end."""
    folder = RunFolder(tmp_path / "run")
    folder.open()
    write_account(folder, Account(status="complete", terms=Terms(SETTINGS, {"output": {"formats": ["json", "coco"]}})))
    names = (*NAMES, *HIDDEN)
    digest_of = digests(whole_pictures(len(names))).tolist()
    folder.write_inputs((name, f"{digest:016x}") for name, digest in zip(names, digest_of))
    for name in (*NAMES, *HIDDEN):
        folder.write(folder.prediction_path(name), result_json(result_of(name), keypoint_spec(17)))
    return folder


def resume(folder, names=(*NAMES, *HIDDEN), overwrite=False, settings=SETTINGS):
    """As a run does it; the names that need not be done again."""
    again = RunFolder(folder.path)
    options = {"overwrite": overwrite, "resume": True, "retry_failed": False}
    prepare_folder(again, OmegaConf.create({"output": options}), dict(settings))
    write_account(again, Account(status="running", terms=Terms(settings)))
    done, _ = finished_names(again, Names.of(names), digests(whole_pictures(len(names))))
    again.close()
    folder.open()
    return {name for name, is_done in zip(names, done.tolist()) if is_done}


def test_hidden_files_are_nobodys_results_unless_an_image_has_that_name(folder):
    for place in ("._a.jpg.json", "sub/._c.jpg.json", ".ipynb_checkpoints/a.jpg-checkpoint.json", ".DS_Store"):
        path = folder.predictions / place
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(APPLE_DOUBLE)
    folder.processes.mkdir()
    for path in (folder.processes / "._0of1-0.json", folder.predictions / "Thumbs.db"):
        path.write_bytes(APPLE_DOUBLE)
    folder.parquet.mkdir()
    (folder.parquet / "._poses-0-0-1.parquet").write_bytes(APPLE_DOUBLE)
    (folder.parquet / "others.parquet").write_bytes(b"somebody's table")
    expected = {*NAMES, *HIDDEN}
    assert folder.done() == expected and resume(folder) == expected
    assert [result.name for result in all_results(folder)[0]] == sorted(expected)
    merge(folder, ["json", "coco", "csv", "parquet"])
    assert len(json.loads(folder.coco_images_file.read_text())["images"]) == 5
    assert folder.done() == expected and not read_reports(folder) and not folder.damaged.exists()


def test_copies_and_notes_among_the_results_are_left_out_with_a_sentence(folder, caplog):
    shutil.copy(folder.prediction_path("a.jpg"), folder.predictions / "a.jpg copy.json")
    (folder.predictions / "todo.json").write_text('["buy milk"]')
    (folder.predictions / "empty.json").touch()
    assert resume(folder) >= set(NAMES)
    assert sorted(result.name for result in all_results(folder)[0]) == sorted([*NAMES, *HIDDEN])
    said = [record.message for record in caplog.records]
    assert len(said) == 3 and all("is no result of this run" in sentence for sentence in said)
    assert (folder.predictions / "empty.json").exists()


@pytest.mark.parametrize("content", [b"", b'{"meta_info": {"dataset', bytes(900)])
def test_results_that_are_empty_or_cut_short_are_done_again_and_that_is_said(folder, content, caplog):
    assert resume(folder) == {*NAMES, *HIDDEN}
    for name in ("b.jpg", ".own.jpg"):
        folder.prediction_path(name).write_bytes(content)
    assert resume(folder) == {"a.jpg", "sub/c.jpg", HIDDEN[1]}
    assert "2 files in predictions/ were empty, cut short" in caplog.text
    assert (folder.path / "damaged" / "predictions" / "b.jpg.json").read_bytes() == content
    caplog.clear()
    assert resume(folder) == {"a.jpg", "sub/c.jpg", HIDDEN[1]} and not caplog.text


def test_links_to_nothing_folders_and_pipes_are_no_results(folder):
    for name, make in (("a.jpg", lambda path: path.symlink_to("gone")), ("b.jpg", os.mkfifo)):
        folder.prediction_path(name).unlink()
        make(folder.prediction_path(name))
    assert resume(folder) == {"sub/c.jpg", *HIDDEN}


def test_a_changed_byte_in_a_part_is_noticed_and_its_images_are_done_again(folder, monkeypatch, caplog):
    monkeypatch.setattr(parts, "MAX_IMAGES", 2)
    writer = PartWriter(folder, keypoint_spec(17), replace_json=True)
    for name in (*NAMES, *HIDDEN):
        writer.add(result_of(name))
    writer.close()
    whole = folder.parts()
    assert resume(folder) == {*NAMES, *HIDDEN} and len(whole) == 3 and not list(folder.with_json())
    for place in (200, -200):
        part = folder.parts()[0]
        content = bytearray(part.read_bytes())
        content[place] ^= 0x10
        part.write_bytes(content)
        left = resume(folder)
        assert len(folder.parts()) == len(whole) - 1 and (folder.damaged / "parquet" / part.name).exists()
        whole = folder.parts()
    assert len(left) == 1 and "1 files in parquet/ were empty, cut short or changed" in caplog.text


def test_a_part_that_was_changed_after_the_look_is_a_sentence(folder):
    writer = PartWriter(folder, keypoint_spec(17), replace_json=True)
    writer.add(result_of("a.jpg", 30))
    writer.close()
    part = folder.parts()[0]
    content = bytearray(part.read_bytes())
    content[len(content) // 3] ^= 0x10
    part.write_bytes(content)
    with pytest.raises(ConfigError, match=r"poses-.*parquet cannot be read .*remove it"):
        list(all_results(folder)[0])


DAMAGE = [b"", b"\xff\xfe\x00binary", b"[1, 2]", b'"text"', b"null", b'{"settings": ', b'{"settings": 3}']


@pytest.mark.parametrize("content", DAMAGE)
def test_a_damaged_run_file_is_a_sentence_and_no_other_settings_are_accepted(folder, content, tmp_path):
    folder.run_file.write_bytes(content)
    for settings in (SETTINGS, {"model.flip_test": True}):
        with pytest.raises(ConfigError, match=r"run\.json.*output\.overwrite=true"):
            resume(folder, settings=settings)
    assert len(folder.done()) == 5
    assert account_of(folder.path).status == "its run.json is damaged"
    assert resume(folder, overwrite=True) == set()


def test_a_lost_run_file_is_a_sentence_and_overwriting_needs_a_sign_that_a_run_was_here(folder):
    folder.run_file.unlink()
    with pytest.raises(ConfigError, match=r"no run\.json"):
        resume(folder)
    folder.inputs_file.unlink()
    with pytest.raises(ConfigError, match="remove them by hand"):
        resume(folder, overwrite=True)
    assert len(list(folder.predictions.rglob("*.json"))) == 5


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"{}", b'"a.jpg"', b'0011 "a.jpg', b"0011 3\n", None])
def test_a_damaged_or_lost_list_of_inputs_lets_no_other_boxes_in(folder, content):
    for name in HIDDEN:  # else even the listing needs it
        folder.prediction_path(name).unlink()
    whole = folder.inputs_file.read_bytes()
    folder.inputs_file.unlink() if content is None else folder.inputs_file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"inputs\.txt.*not known with which boxes.*output\.overwrite=true"):
        resume(folder, NAMES)
    folder.inputs_file.write_bytes(whole[:-20])
    with pytest.raises(ConfigError, match=r"inputs\.txt is damaged \(after 4 lines\)"):
        resume(folder, NAMES)
    folder.inputs_file.write_bytes(whole)
    assert resume(folder, NAMES) == set(NAMES)


@pytest.mark.parametrize("file", ["run.json", "inputs.txt", "failures.jsonl"])
def test_a_folder_in_a_files_place_is_a_sentence(folder, file):
    (folder.path / file).unlink(missing_ok=True)
    (folder.path / file).mkdir()
    with pytest.raises(ConfigError, match=rf"{file} is a folder; move it away"):
        resume(folder)


def test_a_damaged_failure_list_costs_only_its_own_lines_and_a_torn_one_swallows_nothing(folder, caplog):
    folder.failures.append(Failure("x.jpg", None, "E", "m"))
    with open(folder.failures.file, "ab") as file:
        file.write(
            b'{"image": [1], "instance_id": null}\n{"image": "c.jpg", "instance_id": "x"}\n[]\n\xff\xff\n{"image": "y'
        )
    folder.failures.append(Failure("z.jpg", None, "E", "m"))
    assert folder.failures.images() == {"x.jpg", "z.jpg"}
    resume(folder)
    assert "2 of 7 can be read" in caplog.text
    assert [json.loads(line)["image"] for line in folder.failures.file.read_text().splitlines()] == ["x.jpg", "z.jpg"]


def test_overwriting_empties_a_folder_that_is_a_link_and_leaves_the_link(folder, tmp_path):
    elsewhere = tmp_path / "other_disk"
    folder.predictions.rename(elsewhere)
    folder.predictions.symlink_to(elsewhere)
    (elsewhere / "linked").symlink_to(tmp_path)
    assert resume(folder) == {*NAMES, *HIDDEN}
    assert resume(folder, overwrite=True) == set()
    assert folder.predictions.is_symlink() and not os.listdir(elsewhere) and folder.run_file.exists()


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
busy = folder.prediction_path("b.jpg")
mount(busy)
other = {{"model.flip_test": True}}
say(overwrite=True, settings=other)
say(settings=other)
subprocess.run(["umount", busy], check=True)
mount(folder.predictions)
say(overwrite=True, settings=other)
mount(folder.run_file)
say(overwrite=True)
"""


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
    assert lines[0].startswith(refused.format(folder.prediction_path("b.jpg")))
    assert "made with model.flip_test=False, not True" in lines[1]  # what was left is not taken for the other kind
    assert lines[2] == "0" and lines[3].startswith(refused.format(folder.run_file))


def test_names_that_a_spreadsheet_would_calculate_are_paths_in_the_csv_file(folder):
    names = ("=1+1.jpg", "+a.jpg", "-b.jpg", "@c.jpg", "\td.jpg", "plain.jpg", "-dir/e.jpg")
    folder.write_inputs((name, "") for name in names)
    for name in names:
        folder.write(folder.prediction_path(name), result_json(result_of(name), keypoint_spec(17)))
    merge(folder, ["json", "csv"])
    with open(folder.csv_file, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {row["image"] for row in rows}
    assert {f"./{name}" for name in names if name != "plain.jpg"} | {"plain.jpg"} <= found
    assert {os.path.normpath(name) for name in found} >= set(names)
    assert not any(name[0] in "=+-@\t" for name in found)
    assert all(float(row["x"]) == float(row["x"]) and row["x"][0] != "." for row in rows)


def test_ids_that_no_column_holds_stay_in_json_coco_and_the_parts_own_list(folder, monkeypatch):
    ids = {"a.jpg": 2**63, "b.jpg": -(2**70), "sub/c.jpg": 2**63 - 1}
    for name, image_id in ids.items():
        result = result_of(name)._replace(image_id=image_id)
        folder.write(folder.prediction_path(name), result_json(result, keypoint_spec(17)))
    merge(folder, ["parquet", "coco"])
    listing = json.loads(folder.coco_images_file.read_text())["images"]
    assert {row["file_name"]: row["id"] for row in listing if row["file_name"] in ids} == ids
    assert {result.name: result.image_id for result in all_results(folder)[0] if result.name in ids} == ids
    table = pyarrow.parquet.read_table(folder.parts()[0]).to_pylist()
    assert {row["image"]: row["image_id"] for row in table if row["image"] in ids} == ids | dict.fromkeys(
        ("a.jpg", "b.jpg")
    )


def test_a_run_is_complete_only_when_the_files_that_hold_all_of_it_are_there(predict, mini):
    settings = [*mini, "output.formats=[json,coco,csv]", "data.num_workers=0", "annotations=null"]
    killed = "import os, sapiens_pl.products.merge as m\nm.write_csv = lambda *given: os.kill(os.getpid(), 9)"
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


@pytest.mark.parametrize(
    "place", ["coco_keypoints.json", "keypoints.csv", "person_images.json", "parquet", ".processes"]
)
def test_whatever_stands_where_the_run_will_write_is_said_before_it_begins(folder, place):
    if "." in place[1:]:
        (folder.path / place).mkdir()
    else:
        (folder.path / place).write_text("a file")
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match=rf"{place} is (a|no) folder; move it away"):
            resume(folder, overwrite=overwrite)
    assert len(folder.done()) == 5
