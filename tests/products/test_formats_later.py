"""A finished run gets more formats, other drawings, or a deleted file again: from its records, with no forward pass."""

from __future__ import annotations

import numpy as np
import pytest

from sapiens_pl.demo.draw import write_scenes
from sapiens_pl.demo.figures import draw_scene

ALL = "[json,parquet,coco,csv,openpose,openpose_json,coco_annotations,overlay]"
PRODUCTS = ("predictions", "parquet", "coco", "keypoints", "openpose", "overlays")
NO_FORWARD_PASS = """
from sapiens_pl.inference.module import PoseModule
def forward_pass(*given):
    raise AssertionError("a forward pass")
PoseModule.predict_step = forward_pass
"""


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("later"), np.random.default_rng(5)
    write_scenes(root, [(f"{index}.jpg", draw_scene(rng, 200, 160, index % 3)) for index in range(7)])
    return [f"data.images={root / 'images'}", "boxes=json", f"boxes.file={root / 'people.json'}", "data.num_workers=0"]


def products(run) -> dict[str, bytes]:
    paths = {path.relative_to(run.folder).as_posix(): path for path in run.folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in paths.items() if name.startswith(PRODUCTS)}


def times(run) -> dict[str, int]:
    return {name: (run.folder / name).stat().st_mtime_ns for name in products(run)}


def test_a_finished_run_gets_whatever_is_asked_for_later(predict, forked, mini, figures):
    settings = [*figures, *mini]
    whole = predict(*settings, f"output.formats={ALL}", folder="whole")
    assert whole.code == 0 and len(products(whole)) == 7 * 4 + 1 + 2 + 1 + 1, whole.err
    first = predict(*settings, "output.formats=[json]")
    assert first.code == 0 and len(products(first)) == 7 == first.info["counts"]["images_done"], first.err

    def again(*overrides):
        run = predict(*settings, f"output.formats={ALL}", *overrides, inject=NO_FORWARD_PASS)
        assert run.code == 0 and run.info["status"] == "complete" and not run.failures, run.err
        assert run.info["counts"]["images_done"] == 0
        return run

    more = again()
    assert products(more) == products(whole)
    before = times(more)
    assert times(again()) == before  # nothing is made twice
    (more.folder / "overlays" / "3.jpg.jpg").unlink()
    assert {name for name, time in times(again()).items() if time != before[name]} == {"overlays/3.jpg.jpg"}
    assert products(more) == products(whole)
    before = times(more)
    other = again("output.overlay_score_threshold=-9")
    drawn = {name for name, time in times(other).items() if time != before[name]}
    depend = ("overlays/", "openpose/", "openpose_json/", "coco_annotations")  # the last by who is among the worst
    assert drawn == {name for name in before if name.startswith(depend)}
    assert products(other)["overlays/2.jpg.jpg"] != products(whole)["overlays/2.jpg.jpg"]

    for name in ("overlays/5.jpg.jpg", "keypoints.csv", "openpose_json/0.jpg_keypoints.json"):
        (more.folder / name).unlink()
    by_hand = forked("make", more.folder, f"formats={ALL}", "overlay_score_threshold=0.3")
    assert by_hand.code == 0, by_hand.err
    assert products(more) == products(whole)


def test_the_short_name_of_overlays_and_none_at_all(predict, mini, figures):
    run = predict(*figures, *mini, "output.formats=[]")
    assert run.code == 0 and not products(run) and run.info["counts"]["images_done"] == 7, run.err
    run = predict(*figures, *mini, "output.formats=[]", "output.overlay=true", inject=NO_FORWARD_PASS)
    assert run.code == 0 and {name.partition("/")[0] for name in products(run)} == {"overlays"}, run.err
