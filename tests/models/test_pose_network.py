"""A network of somebody else's: one file of code, one YAML, and the whole command runs it."""

from __future__ import annotations

import importlib
import sys

import cv2
import numpy as np
import pytest
import torch
import yaml

from sapiens_pl import PoseEstimator
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.models.pose_network import checked_network

CODE = '''
import torch
from sapiens_pl.core.geometry import SAPIENS_CROPS
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.models.keypoint_sets import named_set


class Squares(torch.nn.Module):
    """Looks for red and for blue squares."""

    input_hw, crop_settings = (64, 48), SAPIENS_CROPS

    def __init__(self, keypoint_set=None, slope=1.0):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor(slope))
        names = ("red", "blue")
        self.keypoint_set = KeypointSet("squares", names) if keypoint_set is None else named_set(keypoint_set)

    @property
    def identity(self):
        return f"squares of slope {self.slope.item()}"

    def forward(self, crops):
        red, _, blue = torch.nn.functional.avg_pool2d(crops, 4).mul(self.slope).float().chunk(3, dim=1)
        return torch.cat([red - blue, blue - red], 1)
'''
YAML = {
    "defaults": ["_network", "_self_"],
    "network": {"_target_": "squares.Squares", "slope": 2.0},
}
BOX = [10, 20, 106, 148]


@pytest.fixture
def squares(tmp_path, monkeypatch):
    """Overrides for a picture, its box and the network; the module is there for this process too."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "squares.py").write_text(CODE)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "squares.yaml").write_text(yaml.safe_dump(YAML, sort_keys=False))
    (tmp_path / "images").mkdir()
    picture = np.full((160, 120, 3), 127, np.uint8)
    picture[30:50, 20:40], picture[110:130, 70:90] = (0, 0, 255), (255, 0, 0)
    cv2.imwrite(str(tmp_path / "images" / "a.png"), picture)
    (tmp_path / "boxes.json").write_text(f'[{{"image": "a.png", "bboxes": [{BOX}]}}]')
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    monkeypatch.delitem(sys.modules, "squares", raising=False)
    return [
        f"--config-dir={tmp_path / 'conf'}",
        "model=squares",
        "trainer.accelerator=cpu",
        "data.num_workers=0",
        f"data.images={tmp_path / 'images'}",
        "boxes=json",
        f"boxes.file={tmp_path / 'boxes.json'}",
    ]


def test_a_network_of_ones_own_goes_through_the_whole_command(predict, squares, tmp_path):
    path = f"import sys; sys.path.insert(0, {str(tmp_path / 'code')!r})"
    run = predict(*squares, "output.formats=[json,csv,coco]", "data.batch_size=auto", inject=path)
    assert run.code == 0, run.err
    result = run.results["a.png"]
    assert result["meta_info"] == {"dataset_name": "squares", "num_keypoints": 2, "keypoint_names": ["red", "blue"]}
    expected = np.array([[29.5, 39.5], [79.5, 119.5]])
    np.testing.assert_allclose(result["instance_info"][0]["keypoints"], expected, atol=5)
    rows = (run.folder / "keypoints.csv").read_text().splitlines()
    assert [row.split(",")[3] for row in rows] == ["keypoint", "red", "blue"]
    assert run.info["settings"]["model.checkpoint"] == "squares of slope 2.0"

    network = importlib.import_module("squares").Squares(slope=2.0)
    estimator = PoseEstimator(network, device="cpu")
    (again,) = estimator.predict([tmp_path / "images" / "a.png"], [[BOX]])
    np.testing.assert_allclose(again.keypoints[0], result["instance_info"][0]["keypoints"], atol=1e-3)
    assert "blue_score" in again.dataframe().columns

    flipped = predict(*squares, "model.flip_test=true", inject=path, folder="flipped")
    assert (
        flipped.code == 2 and "A flip test needs to know left from right, which the keypoint set squares" in flipped.err
    )
    other = predict(*squares, "model.network.slope=3.0", inject=path)
    assert other.code == 2 and "made with model.checkpoint=squares of slope 2.0, not squares of slope 3.0" in other.err
    named = predict(*squares, "model.keypoint_set=coco_17", inject=path, folder="named")
    assert named.code == 2 and "model.network has the keypoint set squares and takes no other" in named.err
    more = ["+model.network.keypoint_set=${model.keypoint_set}", "model.keypoint_set=coco_17"]
    wrong = predict(*squares, *more, inject=path, folder="wrong")
    assert wrong.code == 2 and "makes 2 heatmaps a crop, but its keypoint set has 17 keypoints" in wrong.err, wrong.err
    assert all(one.err.count("\n") == 1 for one in (flipped, other, named)) and "Traceback" not in wrong.err


def test_what_is_no_pose_network_is_told_before_anything_has_run(squares):
    network = importlib.import_module("squares").Squares()
    assert checked_network(network) is network
    for changes, sentence in {
        ("identity", None): "which has no identity",
        ("keypoint_set", None): "which has no keypoint_set",
        ("keypoint_set", "coco_17"): "whose keypoint_set is not a KeypointSet",
        ("crop_settings", 3): "whose crop_settings is not a CropSettings",
        ("input_hw", (64,)): "whose input_hw is not",
        ("input_hw", (64.0, 48)): "whose input_hw is not",
        ("slope", None): "which has no parameters",
    }.items():
        bad = type("Bad", (type(network),), {changes[0]: changes[1]} if changes[0] == "identity" else {})()
        if changes[0] != "identity":
            setattr(bad, *changes)
        with pytest.raises(ConfigError, match=f"model.network is a Bad, {sentence}.*; a PoseNetwork is expected"):
            checked_network(bad)
    with pytest.raises(ConfigError, match="is a int, which is not a torch.nn.Module"):
        checked_network(3)
    with pytest.raises(ConfigError, match="is a ReLU, which has no input_hw"):
        checked_network(torch.nn.ReLU())
