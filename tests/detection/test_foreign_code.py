"""What comes with a detector is data: no code in it runs, and nobody is asked whether it may."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from sapiens_pl.core.errors import CheckpointError
from sapiens_pl.detection.detectors import load_detector

transformers = pytest.importorskip("transformers")

LABELS = {"id2label": {0: "dog", 1: "person", 2: "cat"}, "label2id": {"dog": 0, "person": 1, "cat": 2}}
CODE = """
from pathlib import Path
Path(__file__).with_name("ran").touch()
Path({mark!r}).touch()
from transformers import PretrainedConfig, PreTrainedModel
class Config(PretrainedConfig):
    model_type = "mine"
class Model(PreTrainedModel):
    config_class = Config
class Processor:
    pass
"""
MAP = {"AutoConfig": "code.Config", "AutoModelForObjectDetection": "code.Model", "AutoImageProcessor": "code.Processor"}
LOAD = """
import sys
from sapiens_pl.detection.detectors import load_detector
from sapiens_pl.core.errors import SapiensError
for folder in sys.argv[1:]:
    try:
        load_detector(folder)
        print("loaded")
    except SapiensError as error:
        print(error)
"""


@pytest.fixture
def folder(tmp_path):
    """A whole detector that transformers knows, and a file of code beside it that nobody names yet."""
    path = tmp_path / "detector"
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.YolosConfig(**sizes, image_size=[96, 160], num_detection_tokens=20, **LABELS)
    transformers.AutoModelForObjectDetection.from_config(config).save_pretrained(path)
    transformers.YolosImageProcessor().save_pretrained(path)
    (path / "code.py").write_text(CODE.format(mark=str(tmp_path / "ran")))
    return path


def change(path, name, **entries):
    content = json.loads((path / name).read_text()) | entries
    (path / name).write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def names_its_own_classes(path):
    change(path, "config.json", model_type="mine", auto_map=MAP)


def names_its_own_classes_under_a_known_type(path):
    change(path, "config.json", auto_map=MAP)


def names_its_own_processor(path):
    change(path, "preprocessor_config.json", image_processor_type="Processor", auto_map=MAP)


def names_classes_of_another_repository(path):
    change(path, "config.json", model_type="mine", auto_map={key: f"other/repo--{name}" for key, name in MAP.items()})


WAYS = [names_its_own_classes, names_its_own_processor, names_classes_of_another_repository]


@pytest.mark.slow
def test_no_code_runs_and_nobody_is_asked(folder, tmp_path):
    folders = []
    for change_folder in (*WAYS, names_its_own_classes_under_a_known_type):
        copy = tmp_path / change_folder.__name__
        subprocess.run(["cp", "-r", folder, copy], check=True)
        change_folder(copy)
        folders.append(copy)
    command = [sys.executable, "-c", LOAD, *folders]
    done = subprocess.run(command, input="y\n" * 9, capture_output=True, text=True, timeout=300)
    *refused, known = done.stdout.splitlines()
    assert len(refused) == len(WAYS) and known == "loaded", done.stdout + done.stderr
    for path, sentence in zip(folders, refused):
        assert str(path) in sentence and "code of its own, which is never run" in sentence and len(sentence) < 400
    assert "[y/N]" not in done.stdout + done.stderr
    for path in folders[: len(WAYS)]:  # here standard input is closed
        with pytest.raises(CheckpointError, match="code of its own"):
            load_detector(str(path))
    assert not list(tmp_path.rglob("ran"))


def test_pickled_weights_run_nothing(folder, tmp_path):
    class Hostile:
        def __reduce__(self):
            return (tmp_path / "ran").touch, ()

    (folder / "model.safetensors").unlink()
    torch.save({"class_labels_classifier.layers.0.weight": Hostile()}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="detector cannot be loaded"):
        load_detector(str(folder))
    assert not (tmp_path / "ran").exists()
