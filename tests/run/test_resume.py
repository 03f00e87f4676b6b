"""Coming back to a run's folder with the same and with other settings, by the real command."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
from conftest import GOLDEN

from sapiens_pl import demo
from sapiens_pl.records.reading import Records


@pytest.fixture
def album(tmp_path):
    """Three pictures and a broken one, the box file `boxes.json`, and overrides for both."""
    (tmp_path / "images").mkdir()
    for name in ("a", "b", "c"):
        pixels = np.random.default_rng(ord(name)).integers(0, 256, (80, 60, 3)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "images" / f"{name}.jpg"), pixels)
    (tmp_path / "images" / "broken.jpg").write_bytes(b"text")
    write_boxes(tmp_path, {name: [[5, 5, 50, 60]] for name in ("a.jpg", "b.jpg", "broken.jpg")})
    settings = [f"data.images={tmp_path / 'images'}", "boxes=json", f"boxes.file={tmp_path / 'boxes.json'}"]
    return tmp_path, [*settings, "data.num_workers=0"]


def write_boxes(root, boxes):
    (root / "boxes.json").write_text(json.dumps(boxes))


def times(run):
    return {path.name: path.stat().st_mtime_ns for path in (run.folder / "predictions").iterdir()}


def rows_of(run):
    """What the records say, by name: the size of the file is not part of it."""
    records = Records.read(run.folder)
    return {result.name: [value.tolist() for value in result[1:6]] for result in records.results()}


def test_only_what_is_missing_is_done_and_failed_images_wait_until_asked_for(predict, album, mini):
    root, settings = album
    first = predict(*mini, *settings)
    assert first.code == 0 and [row["image"] for row in first.failures] == ["broken.jpg"], first.err
    before = times(first)
    cv2.imwrite(str(root / "images" / "broken.jpg"), np.zeros((80, 60, 3), np.uint8))
    shutil.copy(root / "images" / "a.jpg", root / "images" / "new.jpg")

    second = predict(*mini, *settings)
    counts = second.info["counts"]
    assert second.code == 0 and counts["images_planned"] == counts["images_done"] == 1, second.err
    assert counts["images_done_before"] == 3 and counts["images_failed_before"] == 1
    assert second.info["folder"] == {"done": 4, "failed": 1, "absent": 0, "people": 2}
    assert times(second).keys() - before.keys() == {"new.jpg.json"} and before.items() <= times(second).items()

    third = predict(*mini, *settings, "output.redo=failed")
    assert third.code == 0 and third.info["counts"]["images_done"] == 1 and not third.failures, third.err
    assert len(third.results) == 5 and times(second).items() <= times(third).items()


def test_a_product_that_is_gone_is_made_again_without_the_network(predict, album, mini):
    _, settings = album
    first = predict(*mini, *settings)
    content = (first.folder / "predictions" / "b.jpg.json").read_bytes()
    (first.folder / "predictions" / "b.jpg.json").unlink()
    no_network = """
from sapiens_pl.inference.module import PoseModule
def refuse(*given):
    raise AssertionError("a forward pass")
PoseModule.predict_step = refuse
"""
    second = predict(*mini, *settings, inject=no_network)
    assert second.code == 0 and second.info["counts"]["images_planned"] == 0, second.err
    assert (second.folder / "predictions" / "b.jpg.json").read_bytes() == content


def test_changed_boxes_are_done_again_when_asked_for_and_nothing_else(predict, tmp_path, mini):
    names = [f"{number:02}.jpg" for number in range(40)]
    (tmp_path / "images").mkdir()
    for name in names:
        pixels = np.random.default_rng(int(name[:2])).integers(0, 256, (80, 60, 3)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "images" / name), pixels)
    boxes = {name: [[5, 5, 50, 60], [1, 1, 40, 70]] for name in names[1:]}
    write_boxes(tmp_path, boxes)
    settings = [f"data.images={tmp_path / 'images'}", "boxes=json", f"boxes.file={tmp_path / 'boxes.json'}"]
    settings += ["data.num_workers=0", "data.batch_size=8", *mini, "output.formats=[json,csv]"]
    first = predict(*settings)
    before, files = rows_of(first), times(first)
    assert first.code == 0 and len(before) == 40 and before["00.jpg"][3] == [], first.err
    changed = ["07.jpg", "19.jpg", "33.jpg"]
    write_boxes(
        tmp_path, {**boxes, "00.jpg": [[2, 2, 30, 60]] * 2, **{n: [[9, 5, 50, 60], [1, 1, 40, 70]] for n in changed}}
    )

    refused = predict(*settings)
    assert refused.code == 2 and "made with other boxes (3 images, 07.jpg the first; all are listed in" in refused.err
    assert "output.redo=changed" in refused.err and refused.err.count("\n") == 1, refused.err
    assert (refused.folder / "changed.txt").read_text().split() == changed
    account = json.loads((refused.folder / "run.json").read_text())  # a refusal takes nothing from what is complete
    assert account["status"] == "complete" and "error" not in account and account["counts"]["images_done"] == 40
    assert rows_of(refused) == before and times(refused) == files

    of_file = predict(*settings, f"output.redo={tmp_path / 'none.txt'}")
    assert of_file.code == 2 and "there is no such file" in of_file.err and times(of_file) == files
    redone = predict(*settings, "output.redo=changed")
    assert redone.code == 0 and redone.info["counts"]["images_done"] == 4, redone.err
    assert redone.info["counts"]["people"] == 8 and redone.info["counts"]["images_done_before"] == 36
    after, done = rows_of(redone), {"00.jpg", *changed}
    assert {name for name in names if after[name] != before[name]} == done
    assert {f"{name}.json" for name in done} == {name for name, time in times(redone).items() if time != files[name]}
    assert redone.results["07.jpg"]["instance_info"][0]["bbox"] == [9, 5, 50, 60]
    assert len((redone.folder / "keypoints.csv").read_text().splitlines()) == 80 * 17 + 1

    again = predict(*settings, "output.redo=changed")
    assert again.code == 0 and again.info["counts"]["images_planned"] == 0 and rows_of(again) == after
    assert not (again.folder / "changed.txt").exists()


def test_what_a_file_names_is_done_again_and_unknown_names_are_told(predict, album, mini):
    root, settings = album
    first = predict(*mini, *settings)
    before = times(first)
    write_boxes(root, {name: [[5, 6, 50, 60]] for name in ("a.jpg", "b.jpg", "broken.jpg")})
    (root / "some.txt").write_bytes(b'b.jpg\r\n\n"c.jpg"\nnobody.jpg\n')
    refused = predict(*mini, *settings, f"output.redo={root / 'some.txt'}")  # a.jpg has changed too
    assert refused.code == 2 and "(1 images, a.jpg the first" in refused.err and times(refused) == before
    (root / "some.txt").write_bytes(b"b.jpg\nc.jpg\nnobody.jpg\na.jpg\nbroken.jpg")
    redone = predict(*mini, *settings, f"output.redo={root / 'some.txt'}")
    assert redone.code == 0 and "names 1 pictures that are none of this run's (nobody.jpg the first)" in redone.out
    counts = redone.info["counts"]
    assert (counts["images_done"], counts["images_failed"], counts["images_planned"]) == (3, 1, 4)
    assert not set(times(redone).values()) & set(before.values())
    (root / "some.txt").write_text("nobody.jpg\n")
    none = predict(*mini, *settings, f"output.redo={root / 'some.txt'}")
    assert none.code == 0 and none.info["counts"]["images_planned"] == 0 and "(nobody.jpg the first)" in none.out
    (root / "some.txt").write_bytes(b"\n \n")
    empty = predict(*mini, *settings, f"output.redo={root / 'some.txt'}")
    assert empty.code == 2 and "names no picture" in empty.err


def test_pictures_that_are_not_there_yet_are_no_failures_and_are_done_when_they_come(predict, album, mini):
    root, settings = album
    write_boxes(root, {name: [[5, 5, 50, 60]] for name in ("a.jpg", "later.jpg")})
    for absent in (1, 0):
        run = predict(*mini, *settings)
        assert run.code == 0, run.err
        assert run.info["folder"] == {"done": 3, "failed": 1, "absent": 1, "people": 1}
        assert [row["error"] for row in run.failures] == ["UnreadableImageError", "MissingImageError"]
        assert run.info["counts"]["images_absent"] == absent and ("not there yet" in run.out) == bool(absent)
        assert len(list((run.folder / "records").glob("pictures-*"))) == 1  # which is said once
    shutil.copy(root / "images" / "a.jpg", root / "images" / "later.jpg")
    come = predict(*mini, *settings)
    assert come.code == 0 and come.info["counts"]["images_done"] == 1, come.err
    assert come.info["folder"] == {"done": 4, "failed": 1, "absent": 0, "people": 2}
    assert [row["image"] for row in come.failures] == ["broken.jpg"]


def test_a_setting_that_went_names_its_successor(predict, album, mini):
    _, settings = album
    run = predict(*mini, *settings, "output.retry_failed=true")
    assert run.code == 2 and "output.redo=failed" in run.err, run.err


def test_other_boxes_of_a_finished_image_are_refused_others_are_not(predict, album, mini):
    root, settings = album
    assert predict(*mini, *settings).code == 0
    grown = {name: [[5, 5, 50, 60]] for name in ("a.jpg", "b.jpg", "broken.jpg", "d.jpg")}
    cv2.imwrite(str(root / "images" / "d.jpg"), np.zeros((80, 60, 3), np.uint8))
    write_boxes(root, grown)
    more = predict(*mini, *settings)
    assert more.code == 0 and list(more.results) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"], more.err
    # Asking for another selection of the same file comes to the same.
    before = times(more)
    refused = predict(*mini, *settings, "boxes.format=xywh")
    assert refused.code == 2 and "other boxes" in refused.err and times(refused) == before
    over = predict(*mini, *settings, "output.overwrite=true")
    assert over.code == 0 and times(over) != before, over.err


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.flip_test=true", "model.flip_test=False, not True"),
        ("trainer.precision=bf16-mixed", "trainer.precision=32-true, not bf16-mixed"),
        (f"model.checkpoint={demo.CHECKPOINT}", "model.checkpoint=SHA-256 "),
    ],
)
def test_what_makes_a_result_must_stay(predict, album, mini, override, words):
    _, settings = album
    first = predict(*mini, *settings)
    before = times(first)
    again = predict(*mini, *settings, override, "output.redo=failed")
    assert again.code == 2 and words in again.err and "output.overwrite=true" in again.err, again.err
    assert times(again) == before and again.failures == first.failures


def test_batches_workers_and_the_place_of_the_checkpoint_may_change(predict, album, mini):
    root, settings = album
    assert predict(*mini, *settings).code == 0
    checkpoint = mini[0].removeprefix("model.checkpoint=")
    shutil.copy(checkpoint, root / "copy.safetensors")
    moved = f"model.checkpoint={root / 'copy.safetensors'}"
    again = predict(*mini, *settings, moved, "data.batch_size=1", "data.num_workers=1")
    assert again.code == 0 and again.info["counts"]["images_planned"] == 0, again.err


def test_a_sapiens2_run_of_an_earlier_version_is_not_gone_on_with(predict, album):
    _, settings = album
    sapiens2 = [
        "model=sapiens2",
        f"model.checkpoint={GOLDEN / 'tiny_sapiens2_pose.safetensors'}",
        "model.input_hw=[64,48]",
    ]
    first = predict(*sapiens2, *settings)
    assert first.code == 0, first.err
    assert predict(*sapiens2, *settings).code == 0
    file = first.folder / "records" / "store.json"
    earlier = json.loads(file.read_text())
    del earlier["settings"]["model.numerics"]  # which that version, turning in float32, did not write
    file.write_text(json.dumps(earlier))
    again = predict(*sapiens2, *settings)
    assert again.code == 2 and "model.numerics=None, not rotation by stored periods" in again.err, again.err
