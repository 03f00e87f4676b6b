"""Published models by name, from Python: the hub's cache, its sentences, and names that are alike."""

from __future__ import annotations

import pytest
import torch
from huggingface_hub import constants

from sapiens_pl import PoseEstimator
from sapiens_pl.core.configs import published_models
from sapiens_pl.core.errors import CheckpointError
from sapiens_pl.models.by_name import load_named
from sapiens_pl.models.checkpoints import save_network
from sapiens_pl.models.sapiens import SapiensPose, SapiensShape


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A hub's cache of one's own, without a hub."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def put(cache, name, num_keypoints):
    """A small network where the weights of a published one would lie."""
    torch.manual_seed(0)
    cfg = dict(published_models())[name]
    folder = cache / f"models--{cfg.hub.repository.replace('/', '--')}" / "snapshots" / "0123"
    folder.mkdir(parents=True, exist_ok=True)
    network = SapiensPose(SapiensShape(8, 1, 2, 16, (8, 8), (8,), num_keypoints, (64, 48)))
    path = folder / (cfg.hub.file.replace("*", "x") + ".safetensors")
    save_network(network, path)
    return path


def test_a_published_name_takes_the_weights_from_the_hubs_cache(cache):
    put(cache, "sapiens_2b_17", 17)
    estimator = PoseEstimator.from_checkpoint("sapiens_2b_17", device="cpu")
    assert estimator.keypoint_set.dataset_name == "coco" and estimator.input_hw == (64, 48)
    assert repr(estimator) == "PoseEstimator(coco, 17 keypoints, crops of 48x64 px, cpu)"


def test_the_file_must_be_what_the_name_says(cache):
    put(cache, "sapiens_2b_17", 133)
    with pytest.raises(CheckpointError, match="has 133 keypoints, but model.keypoints=17"):
        load_named("sapiens_2b_17")


def test_what_the_hub_does_not_give_is_the_commands_sentence(cache):
    with pytest.raises(
        CheckpointError, match="HF_HUB_OFFLINE is set and .* has no weights of facebook/sapiens-pose-1b"
    ):
        PoseEstimator.from_checkpoint("sapiens_1b_308")


def test_names_that_are_alike_and_files_of_that_name(cache, tmp_path, monkeypatch):
    with pytest.raises(CheckpointError, match="did you mean sapiens_1b_308\\? There are .*sapiens2_5b"):
        load_named("sapiens-1b-308")
    for other in ("absent.pt2", "sapiens_1b_308.pth", "folder/sapiens_1b_308"):
        with pytest.raises(CheckpointError, match="absent|sapiens_1b_308") as raised:
            load_named(other)
        assert "did you mean" not in str(raised.value)
    path = put(cache, "sapiens_2b_17", 17)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sapiens_1b_308").symlink_to(path)
    assert load_named("sapiens_1b_308").keypoint_set.num_keypoints == 17
