"""The adapter gives what torchvision's own call gives for each image alone, whatever shares the batch."""

from __future__ import annotations

import pickle
from functools import cache

import cv2
import numpy as np
import pytest
import torch
from conftest import COCO
from PIL import Image
from safetensors.torch import save_file
from torchvision.models import get_model_builder, get_model_weights

from sapiens_pl.core.errors import CheckpointError, ConfigError
from sapiens_pl.detection.detectors import load_detector
from sapiens_pl.detection.torchvision_detector import TorchvisionDetector

FEW = {"rpn_pre_nms_top_n_test": 100, "rpn_post_nms_top_n_test": 40}
SMALLER = {  # than torchvision's own sizes, for the tests' speed only
    "fasterrcnn_resnet50_fpn_v2": {"min_size": 128, "max_size": 192, **FEW},
    "retinanet_resnet50_fpn_v2": {"min_size": 128, "max_size": 192},
    "ssdlite320_mobilenet_v3_large": {},
}
SIZES = [(320, 240), (240, 320), (200, 200), (320, 214), (640, 480), (97, 301), (320, 240)]


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    """Photographs of several sizes, some of them alike, BGR."""
    photographs = [cv2.imread(str(path)) for path in sorted(COCO.glob("*.jpg"))]
    return [cv2.resize(photographs[index % len(photographs)], size) for index, size in enumerate(SIZES)]


@cache
def random_network(name: str) -> torch.nn.Module:
    """With weights so large that there are boxes of several classes."""
    torch.manual_seed(0)
    network = get_model_builder(name)(weights=None, weights_backbone=None, num_classes=3, **SMALLER[name]).eval()
    for module in network.modules():  # else they would make next to nothing of what the layers before them give
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    network.backbone.train()(torch.rand(4, 3, 160, 160) * 2 - 1)
    network.eval()
    for key, parameter in network.named_parameters():
        last_of_ssd = "classification_head.module_list" in key and key.endswith(".1.weight")
        if key.endswith("cls_score.weight") or key.endswith("cls_logits.weight") or last_of_ssd:
            parameter.data.mul_(30)
    return network


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLER)
def test_boxes_equal_torchvisions_own_call(name, images):
    network = random_network(name)
    documented = get_model_weights(name).DEFAULT.transforms()
    detector = TorchvisionDetector(name, network)
    with torch.inference_mode():
        ours = detector([torch.from_numpy(image) for image in images])
        num_people = 0
        for image, found in zip(images, ours):
            expected = network([documented(Image.fromarray(image[..., ::-1]))])[0]
            person = expected["labels"] == 1
            torch.testing.assert_close(found.bboxes_xyxy, expected["boxes"][person], atol=0.01, rtol=0)
            torch.testing.assert_close(found.scores, expected["scores"][person], atol=1e-4, rtol=0)
            num_people += int(person.sum())
            assert len(person) > person.sum()  # there were others, so the class was looked at
    assert num_people > 3


@pytest.mark.slow
def test_a_frame_of_zeros_would_change_the_boxes(images):
    """Why images of different sizes do not share a pass."""
    network = random_network("retinanet_resnet50_fpn_v2")
    inputs = [torch.from_numpy(np.ascontiguousarray(image[..., ::-1])).permute(2, 0, 1) / 255 for image in images]
    with torch.inference_mode():
        alone, together = network(inputs[:1])[0]["boxes"], network(inputs)[0]["boxes"]
    assert alone.shape != together.shape or (alone - together).abs().max() > 1


@pytest.fixture(scope="module")
def ssd(tmp_path_factory):
    """A state dict of ssdlite with COCO's 91 classes, as a .pth file."""
    torch.manual_seed(0)
    network = get_model_builder("ssdlite320_mobilenet_v3_large")(weights=None, weights_backbone=None)
    path = tmp_path_factory.mktemp("weights") / "ssd.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.mark.slow
def test_weights_come_from_pth_and_safetensors_alike(ssd, tmp_path):
    state = torch.load(ssd, weights_only=True)
    save_file(state, tmp_path / "ssd.safetensors")
    torch.save({"model": state, "epoch": 3}, tmp_path / "wrapped.pth")
    prefixed = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save({"state_dict": prefixed}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    one, *others = (
        load_detector("ssdlite320_mobilenet_v3_large", str(path))
        for path in (ssd, tmp_path / "ssd.safetensors", tmp_path / "wrapped.pth", tmp_path / "old.pth")
    )
    assert all(other.weights_sha256() == one.weights_sha256() for other in others)
    loaded = one.network.state_dict()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in state.items())


class _Evil:
    def __reduce__(self):
        return print, ("code from a file has run",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda ssd: ssd.read_bytes()[:20000], "is damaged or incomplete"),
        (lambda ssd: b"<html>not found</html>", "neither a PyTorch archive nor a safetensors file"),
        (lambda ssd: pickle.dumps(_Evil()), "none that torch.save has written"),
        (lambda ssd: _Evil(), "no dictionary of tensors"),
        (lambda ssd: {"a": torch.zeros(2)}, "holds no ssdlite320_mobilenet_v3_large"),
        (lambda ssd: [1, 2], "no dictionary of tensors"),
    ],
)
def test_damaged_and_foreign_files_are_one_sentence_and_nothing_in_them_runs(content, words, ssd, tmp_path, capfd):
    content = content(ssd)
    path = tmp_path / "weights.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(CheckpointError) as caught:
        load_detector("ssdlite320_mobilenet_v3_large", str(path))
    assert str(path) in str(caught.value) and words in str(caught.value) and "\n" not in str(caught.value)
    assert "has run" not in "".join(capfd.readouterr())


def test_weights_out_of_reach_say_what_to_fetch_and_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(ConfigError) as caught:
        load_detector()
    sentence = str(caught.value)
    assert "fasterrcnn_resnet50_fpn_v2_coco-" in sentence and str(tmp_path) in sentence
    assert "boxes.weights=FILE" in sentence and "boxes=whole_image" in sentence
    with pytest.raises(ConfigError, match="no published weights of fcos_small"):
        load_detector("fcos_small")


def test_weights_in_torchs_cache_are_used(ssd, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = get_model_weights("ssdlite320_mobilenet_v3_large").DEFAULT.url
    cached = tmp_path / "hub" / "checkpoints" / url.rpartition("/")[2]
    cached.parent.mkdir(parents=True)
    cached.write_bytes(ssd.read_bytes())
    found = load_detector("ssdlite320_mobilenet_v3_large").weights_sha256()
    assert found == load_detector("ssdlite320_mobilenet_v3_large", str(ssd)).weights_sha256()


def test_an_unknown_name_is_told_the_names(tmp_path):
    with pytest.raises(ConfigError, match="boxes.model=fasterrcn is not a detector; choose one of fasterrcnn_resnet50"):
        load_detector("fasterrcn")
