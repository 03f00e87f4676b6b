"""Names that are no setting, group or choice: what was meant is told."""

from __future__ import annotations

import sys

import pytest
from hydra import compose, initialize_config_dir
from slowness import a_third

from sapiens_pl.core.configs import config_folder
from sapiens_pl.run.command import hydra_sentence

MEANT = {
    "boxs=coco": "boxs is not a setting; did you mean boxes=coco?",
    "models=sapiens_1b_17": "did you mean model=sapiens_1b_17?",
    "experiments=one_gpu": "did you mean experiment=one_gpu?",
    "launcher=slurm": "did you mean hydra/launcher=slurm?",
    "batch_size=4": "batch_size is not a setting; did you mean data.batch_size?",
    "batchsize=4": "did you mean data.batch_size?",
    "data.batchsize=4": "did you mean data.batch_size?",
    "model.batch_size=4": "did you mean data.batch_size?",
    "checkpoint=x": "did you mean model.checkpoint?",
    "modle.checkpoint=x": "modle.checkpoint is not a setting; did you mean model.checkpoint?",
    "images=photos/": "did you mean data.images?",
    "devices=2": "did you mean trainer.devices?",
    "precision=bf16-mixed": "did you mean trainer.precision?",
    "overlay=true": "did you mean output.overlay?",
    "dir=x": "did you mean output.dir?",
    "output.format=[json]": "did you mean output.formats?",
    "model.hub.repo=x": "did you mean model.hub.repository?",
    "file=x": "boxes.file belongs to boxes=coco, boxes=csv, boxes=json, boxes=mot or boxes=yolo.",
    "boxes.file=x": "boxes.file belongs to boxes=coco",
    "boxs.images_file=x": "boxes.images_file belongs to boxes=coco.",
    "boxes.batch_size=4": "it is called boxes.images_per_batch now.",
    "trainer.gpus=2": "trainer.gpus is not a setting; see conf/",
    "nonsense=2": "nonsense is not a setting; see conf/",
    "model=sapiens_1b": "not a choice; did you mean sapiens_1b_133, sapiens_1b_17 or sapiens_1b_308? There are demo,",
    "model=SAPIENS-1B-308": "did you mean sapiens_1b_308? There are",
    "model=sapiens_1b_38": "did you mean sapiens_1b_308? There are",
    "boxes=jsn": "boxes=jsn is not a choice; did you mean json? There are auto, coco, csv, detector, json, mot,",
    "experiment=one": "did you mean one_gpu or one_node_8? There are",
    "trainer=gpu": "trainer=gpu is not a choice; there are default.",
}


@pytest.mark.parametrize("argument", a_third(MEANT))
def test_what_was_meant(monkeypatch, argument):
    monkeypatch.setattr(sys, "argv", ["predict", "data.batch_size=2", argument])
    with initialize_config_dir(config_folder(), version_base="1.3"), pytest.raises(Exception) as refused:
        compose("predict", sys.argv[1:])
    sentence = hydra_sentence(refused.value)
    assert MEANT[argument] in sentence and sentence.count("\n") == 0


@pytest.mark.slow
@pytest.mark.parametrize("argument", ["data.batchsize=4", "boxes.file=x", "nonsense=2"])
def test_what_was_meant_is_told_under_a_debugger_too(monkeypatch, argument):
    monkeypatch.setenv("OC_CAUSE", "1")  # what OmegaConf does by itself where Python is traced
    test_what_was_meant(monkeypatch, argument)
