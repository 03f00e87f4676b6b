"""A network of 17 keypoints that are not COCO's: a YAML tells what they are, and everything goes by it."""

from __future__ import annotations

import csv
import json

import cv2
import numpy as np
import pyarrow.parquet
import pytest
import yaml
from conftest import COCO

from sapiens_pl import PoseEstimator
from sapiens_pl.models.keypoint_sets import named_set
from sapiens_pl.products.overlay import overlay_jpeg
from sapiens_pl.records.reading import Records

NAMES = [*(f"{side} leg {number}" for number in range(8) for side in ("left", "right")), "eyes"]
SPIDER = {
    "dataset": "spider",
    "names": NAMES,
    "skeleton": [["eyes", name] for name in NAMES[:-1]],
    "flip_pairs": [[f"left leg {number}", f"right leg {number}"] for number in range(8)],
}
PHOTOGRAPH = "000000000785.jpg"


@pytest.fixture
def spider(tmp_path):
    path = tmp_path / "spider.yaml"
    path.write_text(yaml.safe_dump(SPIDER))
    return path


def test_everything_goes_by_the_names_pairs_and_skeleton_of_the_file(predict, mini, spider):
    settings = [*mini, f"data.images={COCO / PHOTOGRAPH}", "boxes=whole_image", "data.num_workers=0"]
    settings += ["model.flip_test=true", "output.overlay_score_threshold=-1000"]
    run = predict(*settings, f"model.keypoint_set={spider}", "output.formats=[json,csv,coco,parquet,overlay]")
    assert run.code == 0, run.err
    told, keypoint_set = run.results[PHOTOGRAPH], named_set(spider)
    assert told["meta_info"] == {"dataset_name": "spider", "num_keypoints": 17, "keypoint_names": NAMES}
    with open(run.folder / "keypoints.csv", newline="") as file:
        assert [row["keypoint"] for row in csv.DictReader(file)] == NAMES
    (category,) = json.loads((run.folder / "coco_images.json").read_text())["categories"]
    assert category["keypoints"] == NAMES and category["skeleton"] == [[17, number] for number in range(1, 17)]
    assert len(json.loads((run.folder / "coco_keypoints.json").read_text())[0]["keypoints"]) == 3 * 17
    (part,) = (run.folder / "parquet").glob("*.parquet")
    assert json.loads(pyarrow.parquet.read_metadata(part).metadata[b"keypoint_names"]) == NAMES

    records = Records.read(run.folder)
    (result,) = records.results()
    assert records.keypoint_set == result.keypoint_set == keypoint_set and "eyes_x" in result.dataframe().columns
    drawn = overlay_jpeg(cv2.imread(str(COCO / PHOTOGRAPH)), result, keypoint_set, -1000.0)
    assert (run.folder / "overlays" / f"{PHOTOGRAPH}.jpg").read_bytes() == drawn

    checkpoint, heads = (setting.partition("=")[2] for setting in mini[:2])
    estimators = [
        PoseEstimator.from_checkpoint(
            checkpoint, device="cpu", flip_test=True, num_heads=int(heads), keypoint_set=chosen
        ).predict([COCO / PHOTOGRAPH])[0]
        for chosen in (spider, "coco_17")
    ]
    np.testing.assert_allclose(told["instance_info"][0]["keypoints"], estimators[0].keypoints[0], atol=2e-3)
    assert np.abs(estimators[0].keypoints - estimators[1].keypoints).max() > 1, "the pairs are those of the file"

    again = predict(*settings, "model.keypoint_set=coco_17")
    assert again.code == 2 and "spider" in again.err and again.err.count("\n") == 1, again.err
    assert run.results[PHOTOGRAPH] == told


REFUSED = {
    "openpose": (
        ["output.formats=[json,openpose]"],
        "=openpose needs to know which keypoints are the body",
    ),
    "openpose_json": (["output.formats=openpose_json"], "output.formats=openpose_json needs to know which"),
    "accuracy": ([f"annotations={COCO / 'test_coco_wholebody.json'}"], "cannot be compared with COCO's annotations"),
    "another number": (["model.keypoint_set=goliath_308"], "has 17 keypoints, but model.keypoint_set=goliath_308 has"),
    "no such set": (["model.keypoint_set=coco17"], "model.keypoint_set=coco17 is not a keypoint set; did you mean"),
    "no such file": (["model.keypoint_set=absent.yaml"], "model.keypoint_set=absent.yaml does not exist"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_set_does_not_tell_is_refused_before_anything_is_loaded(predict, mini, spider, what, tmp_path):
    overrides, sentence = REFUSED[what]
    kept = tmp_path / "run" / "predictions" / "kept.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("{}")
    checkpoint = [] if what == "another number" else ["model.checkpoint=absent.safetensors"]
    settings = [*mini, *checkpoint, f"data.images={COCO}", "boxes=whole_image", "output.overwrite=true"]
    run = predict(*settings, f"model.keypoint_set={spider}", *overrides)
    assert run.code == 2 and sentence in run.err and run.err.count("\n") == 1, run.err
    assert "absent.safetensors" not in run.err and kept.exists()


def test_a_flip_test_without_pairs_is_refused_before_anything_is_loaded(predict, mini, spider):
    spider.write_text(yaml.safe_dump({"names": NAMES}))
    settings = [*mini, "model.checkpoint=absent.safetensors", f"data.images={COCO}", "boxes=whole_image"]
    run = predict(*settings, f"model.keypoint_set={spider}", "model.flip_test=true")
    assert run.code == 2 and "needs to know left from right, which the keypoint set spider" in run.err, run.err
    assert run.err.count("\n") == 1
