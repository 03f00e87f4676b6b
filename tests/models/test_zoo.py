from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sapiens_pl.core.configs import published_models
from sapiens_pl.models.__main__ import main, model_rows
from sapiens_pl.models.checkpoints import load_network, save_network
from sapiens_pl.models.sapiens import SapiensPose
from sapiens_pl.models.sapiens2 import Sapiens2Pose
from sapiens_pl.models.zoo import SAPIENS_SIZES, sapiens2_shape, sapiens_shape

SAPIENS = {"0.3b": (329.7, 3.24), "0.6b": (661.2, 5.89), "1b": (1168.9, 9.77), "2b": (2166.4, 17.05)}
SAPIENS2 = {"0.4b": 3.86, "0.8b": 7.09, "1b": 12.28, "5b": 37.02}
"""Millions of parameters and TFLOP a crop with 308 keypoints, counted elsewhere."""


@pytest.mark.parametrize("size", SAPIENS_SIZES)
def test_sapiens_sizes_have_the_published_parameters(size):
    with torch.device("meta"):
        network = SapiensPose(sapiens_shape(size, 308))
    assert round(sum(parameter.numel() for parameter in network.parameters()) / 1e6, 1) == SAPIENS[size][0]
    assert {name: tuple(weight.shape) for name, weight in network.state_dict().items()} == published_parameters(size)


def published_parameters(size):
    """Names and shapes in the published 308-keypoint files, from the model cards' sizes."""
    c, layers = SAPIENS_SIZES[size]
    expected = {"backbone.pos_embed": (1, 64 * 48, c)}
    expected |= both("backbone.patch_embed.projection", (c, 3, 16, 16)) | both("backbone.ln1", (c,))
    for layer in (f"backbone.layers.{index}" for index in range(layers)):
        expected |= both(f"{layer}.ln1", (c,)) | both(f"{layer}.ln2", (c,))
        expected |= both(f"{layer}.attn.qkv", (3 * c, c)) | both(f"{layer}.attn.proj", (c, c))
        expected |= both(f"{layer}.ffn.layers.0.0", (4 * c, c)) | both(f"{layer}.ffn.layers.1", (c, 4 * c))
    expected |= {"head.deconv_layers.0.weight": (c, 768, 4, 4), "head.deconv_layers.3.weight": (768, 768, 4, 4)}
    expected |= both("head.conv_layers.0", (768, 768, 1, 1)) | both("head.conv_layers.3", (768, 768, 1, 1))
    return expected | both("head.final_layer", (308, 768, 1, 1))


def both(name, shape):
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind, size", [("sapiens", size) for size in SAPIENS] + [("sapiens2", size) for size in SAPIENS2]
)
def test_the_list_says_what_a_network_costs(kind, size):
    models = [cfg for name, cfg in published_models() if name.startswith(f"{kind}_") and cfg.size == size]
    most = max(cfg.keypoints for cfg in models)
    shape = (sapiens_shape if kind == "sapiens" else sapiens2_shape)(size, most)
    # Shapes only: no memory, no work; and attention in the form that the counter knows on every torch.
    with torch.inference_mode(), FakeTensorMode(), sdpa_kernel(SDPBackend.MATH):
        network = (SapiensPose if kind == "sapiens" else Sapiens2Pose)(shape).eval()
        with FlopCounterMode(display=False) as counter:
            assert network(torch.empty(1, 3, *shape.input_hw)).shape == (1, most, *shape.heatmap_hw)
    last = network.head.final_layer if kind == "sapiens" else network.decode_head.last_layer
    pixels = shape.heatmap_hw[0] * shape.heatmap_hw[1]
    for cfg in models:  # they differ in the last layer, which is a product with one column a keypoint
        fewer = most - cfg.keypoints
        parameters = sum(parameter.numel() for parameter in network.parameters()) - fewer * (last.in_channels + 1)
        assert parameters == cfg.parameters
        assert counter.get_total_flops() - fewer * 2 * last.in_channels * pixels == cfg.flops
        if cfg.keypoints == 308:
            assert round(cfg.flops / 1e12, 2) == (SAPIENS2[size] if kind == "sapiens2" else SAPIENS[size][1])


def test_the_list_names_every_model(capsys, tmp_path, monkeypatch):
    names = [name for name, _ in published_models()]
    assert len(names) == len(set(names)) == 15
    v1 = [f"sapiens_{size}_{count}" for size in SAPIENS for count in (17, 133, 308) if (size, count) != ("2b", 308)]
    assert set(names) == {*v1, *(f"sapiens2_{size}" for size in SAPIENS2)}
    main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == names
    assert "1168.9 M    9.77          308        CC BY-NC 4.0" in lines[1 + names.index("sapiens_1b_308")]
    assert "12.28         308        Sapiens2 License" in lines[1 + names.index("sapiens2_1b")]


def test_the_list_says_which_weights_are_here(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--facebook--sapiens-pose-1b-torchscript" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    weights = snapshot / "sapiens_1b_goliath_best_goliath_AP_640_torchscript.pt2"
    weights.touch()
    here = {row[0]: row[-1] for row in model_rows()}
    assert here["sapiens_1b_308"] == f"here: {weights}"
    assert here["sapiens_0.3b_308"] == "on the hub: facebook/sapiens-pose-0.3b-torchscript"


def test_a_model_refuses_another_keypoint_set(tmp_path):
    shape = sapiens_shape("0.3b", 308)._replace(embed_dim=8, num_layers=1, num_heads=2, mlp_dim=8, num_keypoints=17)
    shape = shape._replace(head_dims=(8, 8), head_conv_dims=(8,), input_hw=(64, 48))
    save_network(SapiensPose(shape), tmp_path / "w.safetensors")
    with pytest.raises(Exception, match=r"has 17 keypoints, but model.keypoints=308; .*model=sapiens, which takes any"):
        load_network(tmp_path / "w.safetensors", num_keypoints=308)
    assert load_network(tmp_path / "w.safetensors", num_keypoints=17).shape == shape
