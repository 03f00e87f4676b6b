"""A detector's settings are believed only as far as its weights could fill the network that they describe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sapiens_pl.core.errors import CheckpointError
from sapiens_pl.detection.detectors import load_detector

transformers = pytest.importorskip("transformers")

CLAIMS = [
    ("config.json", {"num_hidden_layers": 10**6}),
    ("config.json", {"num_hidden_layers": 9_000}),
    ("config.json", {"hidden_size": 2**20, "num_attention_heads": 1}),
    ("config.json", {"num_detection_tokens": 10**9}),
    ("config.json", {"image_size": [10**6, 10**6]}),
    ("config.json", {"image_size": [16_000, 16_000]}),
    ("config.json", {"id2label": None, "label2id": None, "num_labels": 10**9}),
    ("config.json", {"num_hidden_layers": 3}),
    ("config.json", {"intermediate_size": 48}),
    ("config.json", {"num_hidden_layers": "two"}),
    ("config.json", {"model_type": ["yolos"]}),
    ("preprocessor_config.json", {"size": {"height": 10**9, "width": 10**9}}),
    ("preprocessor_config.json", {"image_processor_type": 5}),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    labels = {"id2label": {0: "dog", 1: "person"}, "label2id": {"dog": 0, "person": 1}}
    config = transformers.YolosConfig(**sizes, image_size=[96, 160], num_detection_tokens=20, **labels)
    path = tmp_path_factory.mktemp("whole")
    transformers.AutoModelForObjectDetection.from_config(config).save_pretrained(path)
    transformers.YolosImageProcessor().save_pretrained(path)
    return path


def copy_of(whole, tmp_path):
    for file in whole.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


@pytest.mark.parametrize(("name", "claim"), CLAIMS, ids=str)
def test_no_claim_is_built(whole, tmp_path, name, claim):
    assert load_detector(str(whole)).person_labels == [1]
    folder = copy_of(whole, tmp_path)
    content = json.loads((folder / name).read_text()) | claim
    (folder / name).write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    measured = Path("/proc/self/clear_refs").exists()
    if measured:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is held
    before = _peak_kb() if measured else 0
    with pytest.raises(CheckpointError) as caught:
        load_detector(str(folder))
    assert not measured or _peak_kb() - before < 200_000
    sentence = str(caught.value)
    assert str(folder) in sentence and "\n" not in sentence and len(sentence) - len(str(folder)) < 400


def _peak_kb() -> int:
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"\xff\xfe\x00", b"null", b'{"a"'], ids=range(5))
def test_damaged_files_are_one_sentence(whole, tmp_path, name, content):
    folder = copy_of(whole, tmp_path)
    (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        load_detector(str(folder))
    sentence = str(caught.value)
    assert str(folder) in sentence and "\n" not in sentence and len(sentence) - len(str(folder)) < 400
