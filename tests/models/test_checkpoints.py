from __future__ import annotations

import hashlib
import os
import zipfile

import cv2
import numpy as np
import pytest
import torch
from conftest import GOLDEN, TINY, TINY_HEADS
from safetensors.torch import save_file

from sapiens_pl.core.errors import CheckpointError, ConfigError
from sapiens_pl.inference.module import normalise
from sapiens_pl.models.checkpoints import load_network, save_network
from sapiens_pl.models.tensors import checkpoint_sha256

FILES = ["tiny_mmpose.pth", "tiny_torchscript.pt2", "tiny_bfloat16.pt2"]
REFERENCE = np.load(GOLDEN / "tiny_heatmaps.npz")


def heatmaps_of(network):
    crops = np.stack([cv2.imread(str(GOLDEN / f"crop_{row}.png")).transpose(2, 0, 1) for row in ("00", "03")])
    with torch.inference_mode():
        return network(normalise(torch.from_numpy(crops), torch.float32)).numpy()


@pytest.mark.parametrize("name", FILES[:2])
def test_float32_files_give_the_originals_heatmaps(name):
    heatmaps = heatmaps_of(load_network(GOLDEN / name, num_heads=TINY_HEADS))
    assert np.abs(heatmaps[:, :, ::4, ::4] - REFERENCE["heatmaps"]).max() < 3e-5  # 1e-5 was seen
    assert np.abs(heatmaps[0, :4] - REFERENCE["full0"]).max() < 3e-5


def test_the_bfloat16_file_gives_the_rounded_weights():
    network = load_network(GOLDEN / "tiny_bfloat16.pt2", num_heads=TINY_HEADS)
    exact = load_network(TINY, num_heads=TINY_HEADS).state_dict()
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, exact[name].bfloat16().float()), name
    assert np.abs(heatmaps_of(network)[:, :, ::4, ::4] - REFERENCE["heatmaps"]).max() < 0.2


def test_sizes_are_read_from_the_weights():
    shape = load_network(TINY, num_heads=TINY_HEADS).shape
    assert (shape.embed_dim, shape.num_layers, shape.mlp_dim) == (64, 3, 256)
    assert (shape.head_dims, shape.head_conv_dims, shape.num_keypoints) == ((32, 32), (32, 32), 17)
    assert shape.input_hw == (1024, 768)


def test_own_files_come_back_with_their_heads(tmp_path):
    network = load_network(TINY, num_heads=TINY_HEADS)
    save_network(network, tmp_path / "own.safetensors")
    again = load_network(tmp_path / "own.safetensors")
    assert again.shape == network.shape
    assert all(torch.equal(a, b) for a, b in zip(network.state_dict().values(), again.state_dict().values()))


def test_a_file_is_not_written_to(tmp_path):
    copy = tmp_path / "copy.pth"
    copy.write_bytes(TINY.read_bytes())
    network = load_network(copy, num_heads=TINY_HEADS)
    for weight in network.parameters():
        weight.zero_()
    assert copy.read_bytes() == TINY.read_bytes()


def test_an_unpublished_size_asks_for_the_heads():
    with pytest.raises(CheckpointError, match=r"embedding of 64.*set model\.num_heads"):
        load_network(TINY)
    with pytest.raises(CheckpointError, match="model.num_heads=5 does not divide"):
        load_network(TINY, num_heads=5)
    for options in ({"num_heads": "four"}, {"input_hw": 1024}, {"input_hw": "1024"}, {"input_hw": [1024]}):
        with pytest.raises(ConfigError, match=f"^{next(iter(options))}=.* must be"):
            load_network(TINY, **options)
    with pytest.raises(CheckpointError, match=r"input_hw=\[512,384\] does not fit the 3072 patches"):
        load_network(TINY, num_heads=TINY_HEADS, input_hw=[512, 384])
    assert load_network(TINY, num_heads=TINY_HEADS, input_hw=[768, 1024]).shape.input_hw == (768, 1024)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda w: w.pop("backbone.layers.1.attn.qkv.bias"), "lacks backbone.layers.1.attn.qkv.bias"),
        (lambda w: w.update({"backbone.cls_token": torch.zeros(1, 1, 64)}), "adds backbone.cls_token"),
        (lambda w: w.update({"backbone.ln1.weight": torch.zeros(63)}), "backbone.ln1.weight of shape"),
        (lambda w: w.pop("head.final_layer.weight"), "holds no Sapiens pose network"),
    ],
)
def test_lacking_and_foreign_parameters_are_named(tmp_path, change, complaint):
    weights = dict(load_network(TINY, num_heads=TINY_HEADS).state_dict())
    change(weights)
    save_file(weights, tmp_path / "changed.safetensors")
    with pytest.raises(CheckpointError, match=complaint):
        load_network(tmp_path / "changed.safetensors", num_heads=TINY_HEADS)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("part", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_cut_files_are_refused(tmp_path, name, part):
    data = (GOLDEN / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(CheckpointError, match=rf"{name}.*download"):
        load_network(path, num_heads=TINY_HEADS)


def test_a_cut_safetensors_file_is_refused(tmp_path):
    save_network(load_network(TINY, num_heads=TINY_HEADS), tmp_path / "whole.safetensors")
    path = tmp_path / "cut.safetensors"
    path.write_bytes((tmp_path / "whole.safetensors").read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="cut.safetensors is damaged"):
        load_network(path)


def test_code_in_a_pickle_never_runs(tmp_path):
    class Hostile:
        def __init__(self, command):
            self.command = command

        def __reduce__(self):
            return os.system, (self.command,)

    mark = tmp_path / "ran"
    weights = dict(load_network(TINY, num_heads=TINY_HEADS).state_dict())
    torch.save({"state_dict": weights, "extra": Hostile(f"touch {mark}")}, tmp_path / "extra.pth")
    torch.save({"state_dict": Hostile(f"touch {mark}")}, tmp_path / "instead.pth")
    network = load_network(tmp_path / "extra.pth", num_heads=TINY_HEADS)
    assert torch.equal(network.state_dict()["backbone.ln1.bias"], weights["backbone.ln1.bias"])
    with pytest.raises(CheckpointError, match="holds no Sapiens pose network"):
        load_network(tmp_path / "instead.pth", num_heads=TINY_HEADS)
    assert not mark.exists()


def test_compressed_archives_and_other_files_are_refused(tmp_path):
    with zipfile.ZipFile(TINY) as source, zipfile.ZipFile(tmp_path / "z.pth", "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    (tmp_path / "page.pth").write_text("<!doctype html><title>Sign in</title>")
    for name, complaint in (("z.pth", "compressed"), ("page.pth", "neither"), ("absent.pth", "is not a file")):
        with pytest.raises(CheckpointError, match=complaint):
            load_network(tmp_path / name, num_heads=TINY_HEADS)


def test_a_folder_stands_for_the_one_checkpoint_in_it(tmp_path):
    with pytest.raises(CheckpointError, match="holds no weights"):
        load_network(tmp_path, num_heads=TINY_HEADS)
    (tmp_path / "README.md").write_text("a model card")
    (tmp_path / "tiny.pth").write_bytes(TINY.read_bytes())
    assert load_network(tmp_path, num_heads=TINY_HEADS).shape.num_keypoints == 17
    assert checkpoint_sha256(tmp_path) == checkpoint_sha256(TINY) == hashlib.sha256(TINY.read_bytes()).hexdigest()
    (tmp_path / "other.pth").write_bytes(b"")
    with pytest.raises(CheckpointError, match="holds 2 weights files .*name the file"):
        load_network(tmp_path, num_heads=TINY_HEADS)
