"""Small files that claim much are refused in a sentence, at the cost of what their own bytes could mean."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from slowness import slow

import sapiens_pl
from sapiens_pl.core.errors import CheckpointError
from sapiens_pl.models.checkpoints import load_network
from sapiens_pl.models.sapiens import SapiensPose, SapiensShape

sys.path.insert(0, str(Path(sapiens_pl.__file__).parents[1]))
from benchmarks.bombs import bombs

STATUS = Path("/proc/self/status")


SMALL = ("maze.pth", "long_names.pth", "many_members.pth", "wide_header.safetensors")
"""Refused at once; others take up to two seconds."""


def peak_kb() -> int:
    return int(STATUS.read_text().split("VmHWM:")[1].split()[0])


@pytest.mark.parametrize("name", [name if name in SMALL else slow(name) for name in bombs()])
def test_no_bomb_goes_off(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(bombs()[name]())
    assert path.stat().st_size < 1.5e6
    measured = Path("/proc/self/clear_refs").exists()
    if measured:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is held
    before = peak_kb() if measured else 0
    with pytest.raises(CheckpointError) as caught:
        load_network(path, num_heads=2)
    assert not measured or peak_kb() - before < 200_000
    sentence = str(caught.value)
    assert str(path) in sentence and "\n" not in sentence and len(sentence) - len(str(path)) < 320


@pytest.mark.parametrize("keypoints", [2**33, 2**20])
def test_a_whole_network_whose_last_layer_is_one_value_is_refused(tmp_path, keypoints):
    weights = SapiensPose(SapiensShape(8, 1, 2, 16, (8,), (8,), 17, (64, 48))).state_dict()
    weights["head.final_layer.weight"] = torch.zeros(1).expand(keypoints, 8, 1, 1)
    weights["head.final_layer.bias"] = torch.zeros(1).expand(keypoints)
    torch.save(dict(weights), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="its tensors claim more values than the file has bytes for"):
        load_network(tmp_path / "w.pth", num_heads=2)
