"""The adapter gives what the library's documented calls give for each image alone, whatever shares the batch."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
import torch
from conftest import COCO
from PIL import Image

from sapiens_pl.core.errors import CheckpointError, ConfigError
from sapiens_pl.detection.detectors import load_detector
from sapiens_pl.detection.transformers_detector import LOWEST_SCORE

transformers = pytest.importorskip("transformers")

LABELS = {"id2label": {0: "dog", 1: "person", 2: "cat"}, "label2id": {"dog": 0, "person": 1, "cat": 2}}
RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16, 32, 64], "depths": [1, 1, 1, 1], "layer_type": "basic"}
RAGGED = {"shortest_edge": 96, "longest_edge": 160}


def hybrid(config_class):
    backbone = transformers.RTDetrResNetConfig(**RESNET, out_features=["stage2", "stage3", "stage4"])
    encoder = {"encoder_hidden_dim": 32, "encoder_in_channels": [16, 32, 64], "encoder_ffn_dim": 32}
    decoder = {"decoder_in_channels": [32, 32, 32], "decoder_ffn_dim": 32, "decoder_layers": 2, "num_queries": 20}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "d_model": 32}
    config = config_class(backbone_config=backbone, **encoder, **decoder, **heads, **LABELS)
    return config, transformers.RTDetrImageProcessor(size={"height": 128, "width": 128})


def rt_detr_v2():
    return hybrid(transformers.RTDetrV2Config)


def d_fine():
    return hybrid(transformers.DFineConfig)


def rf_detr():
    if not hasattr(transformers, "RfDetrConfig"):
        pytest.skip("this transformers has no RF-DETR")
    where = {"model_type": "rf_detr_dinov2", "hidden_size": 32, "num_hidden_layers": 12, "num_attention_heads": 2}
    backbone = where | {"image_size": 112, "patch_size": 14, "num_windows": 2, "out_indices": [2, 5, 8, 11]}
    decoder = {"decoder_ffn_dim": 32, "decoder_layers": 2, "num_queries": 20, "d_model": 32, "intermediate_size": 32}
    heads = {"decoder_self_attention_heads": 2, "decoder_cross_attention_heads": 2}
    config = transformers.RfDetrConfig(backbone_config=backbone, **decoder, **heads, **LABELS)
    return config, transformers.RfDetrImageProcessor(size={"height": 112, "width": 112})


def detr():
    backbone = transformers.ResNetConfig(**RESNET, out_features=["stage4"])
    where = {
        "backbone_config": backbone,
        "use_timm_backbone": False,
        "use_pretrained_backbone": False,
        "backbone": None,
    }
    sizes = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "num_queries": 20}
    config = transformers.DetrConfig(**where, **sizes, **heads, **LABELS)
    return config, transformers.DetrImageProcessor(size=RAGGED)


def yolos():
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    more = {"image_size": [96, 160], "patch_size": 16, "num_detection_tokens": 20}
    return transformers.YolosConfig(**sizes, **more, **LABELS), transformers.YolosImageProcessor(size=RAGGED)


ARCHITECTURES = [rt_detr_v2, d_fine, rf_detr, detr, yolos]


@pytest.fixture(scope="module", params=ARCHITECTURES, ids=lambda architecture: architecture.__name__)
def folder(request, tmp_path_factory):
    """A small model with random weights and its processor, as `save_pretrained` writes them."""
    config, processor = request.param()
    torch.manual_seed(1)
    network = transformers.AutoModelForObjectDetection.from_config(config)
    for name, parameter in network.named_parameters():  # so that there are boxes of all classes
        if "class_embed" in name:
            parameter.data.mul_(0.1)
        if "class_labels_classifier" in name and name.endswith("weight"):
            torch.nn.init.normal_(parameter, std=0.1)
    path = tmp_path_factory.mktemp(request.param.__name__)
    network.save_pretrained(path)
    processor.save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    photographs = [cv2.imread(str(path)) for path in sorted(COCO.glob("*.jpg"))]
    return [*photographs, photographs[0][:, :200].copy(), photographs[0][::-1].copy()]


@pytest.mark.slow
def test_boxes_equal_the_librarys_own_call(folder, images):
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    network = transformers.AutoModelForObjectDetection.from_pretrained(folder).eval()
    detector = load_detector(folder)
    assert detector.person_labels == [1]
    counts = np.zeros(3, int)
    with torch.inference_mode():
        for label in range(3):  # random weights favour one class, whichever it is
            detector.person_labels = [label]
            ours = detector([torch.from_numpy(image) for image in images])
            for image, found in zip(images, ours):
                picture = Image.fromarray(image[..., ::-1])
                outputs = network(**processor(images=picture, return_tensors="pt"))
                sizes = torch.tensor([(picture.height, picture.width)])
                expected = processor.post_process_object_detection(outputs, LOWEST_SCORE, sizes)[0]
                chosen = expected["labels"] == label
                order = expected["scores"][chosen].argsort(descending=True, stable=True)
                torch.testing.assert_close(found.scores, expected["scores"][chosen][order], atol=1e-5, rtol=0)
                torch.testing.assert_close(found.bboxes_xyxy, expected["boxes"][chosen][order], atol=0.01, rtol=0)
                counts[label] += len(order)
    assert counts.sum() > 20


def test_a_model_that_knows_no_person_is_refused(tmp_path):
    config, processor = yolos()
    config.id2label = {0: "dog", 1: "car", 2: "cat"}
    transformers.AutoModelForObjectDetection.from_config(config).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="3 classes, none of which is called person"):
        load_detector(str(tmp_path))


def test_a_folder_that_is_no_model_is_one_sentence(tmp_path):
    with pytest.raises(CheckpointError) as caught:
        load_detector(str(tmp_path))
    assert str(tmp_path) in str(caught.value) and "model.safetensors" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_a_network_a_name_is_one_quick_sentence(tmp_path, monkeypatch):
    from huggingface_hub import constants

    begin = time.monotonic()
    for offline in (True, False):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
        with pytest.raises(ConfigError) as caught:
            load_detector("nobody/has-this-model")
        sentence = str(caught.value)
        assert ("HF_HUB_OFFLINE is set" in sentence) == offline and "boxes=whole_image" in sentence
        assert "nobody/has-this-model" in sentence and "boxes.model=FOLDER" in sentence and "\n" not in sentence
    assert time.monotonic() - begin < 10


def test_weights_of_their_own_are_for_torchvisions_detectors(tmp_path):
    with pytest.raises(ConfigError, match=r"boxes\.weights=x\.pth is for torchvision's detectors"):
        load_detector(str(tmp_path), "x.pth")
