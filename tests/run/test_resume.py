"""Coming back to a run's folder with the same and with other settings, by the real command."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
from conftest import GOLDEN

from sapiens_pl import demo


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


def test_only_what_is_missing_is_done_and_failed_images_wait_until_asked_for(predict, album, mini):
    root, settings = album
    first = predict(*mini, *settings)
    assert first.code == 0 and [row["image"] for row in first.failures] == ["broken.jpg"], first.err
    before = times(first)
    (first.folder / "predictions" / "b.jpg.json").unlink()
    cv2.imwrite(str(root / "images" / "broken.jpg"), np.zeros((80, 60, 3), np.uint8))

    second = predict(*mini, *settings)
    counts = second.info["counts"]
    assert second.code == 0 and counts["images_planned"] == counts["images_done"] == 1, second.err
    assert counts["images_done_before"] == 2 and counts["images_failed_before"] == 1
    after = times(second)
    assert after["b.jpg.json"] != before["b.jpg.json"]
    assert all(after[name] == before[name] for name in ("a.jpg.json", "c.jpg.json"))

    third = predict(*mini, *settings, "output.retry_failed=true")
    assert third.code == 0 and third.info["counts"]["images_done"] == 1 and not third.failures, third.err
    assert len(third.results) == 4


def test_other_boxes_of_a_finished_image_are_refused_others_are_not(predict, album, mini):
    root, settings = album
    assert predict(*mini, *settings).code == 0
    grown = {name: [[5, 5, 50, 60]] for name in ("a.jpg", "b.jpg", "broken.jpg", "d.jpg")}
    cv2.imwrite(str(root / "images" / "d.jpg"), np.zeros((80, 60, 3), np.uint8))
    write_boxes(root, grown)
    more = predict(*mini, *settings)
    assert more.code == 0 and list(more.results) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"], more.err
    write_boxes(root, {**grown, "b.jpg": [[5, 5, 50, 61]]})
    before = times(more)
    refused = predict(*mini, *settings)
    assert refused.code == 2 and "made with other boxes (1 images, b.jpg the first)" in refused.err, refused.err
    assert refused.err.count("\n") == 1 and times(refused) == before
    # Asking for another selection of the same file comes to the same.
    assert "other boxes" in predict(*mini, *settings, "boxes.format=xywh").err
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
    again = predict(*mini, *settings, override, "output.retry_failed=true")
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
    earlier = first.info
    del earlier["settings"]["model.numerics"]  # which that version, turning in float32, did not write
    (first.folder / "run.json").write_text(json.dumps(earlier))
    again = predict(*sapiens2, *settings)
    assert again.code == 2 and "model.numerics=None, not rotation by stored periods" in again.err, again.err
