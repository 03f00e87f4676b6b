"""One Sapiens2, in files of every kind: the same numbers."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import COCO, GOLDEN
from safetensors.torch import load_file, save_file
from sapiens2_cases import SMALL, as_mixture, as_transformers, config_of, small_network, without_periods, write_folder

from sapiens_pl import PoseEstimator
from sapiens_pl.convert import convert
from sapiens_pl.core.errors import CheckpointError, ConfigError
from sapiens_pl.core.geometry import SAPIENS2_CROPS
from sapiens_pl.demo import CHECKPOINT
from sapiens_pl.models.checkpoints import load_network
from sapiens_pl.models.sapiens2 import Sapiens2Shape, rotary_periods
from sapiens_pl.models.sapiens2_config import CONFIG_KEY
from sapiens_pl.models.tensors import checkpoint_sha256

TINY2 = GOLDEN / "tiny_sapiens2_pose.safetensors"
TINY2_SHAPE = Sapiens2Shape(64, 8, 2, (2,) * 8, 128, 8, (32, 32), (32, 32, 16), 17, (1024, 768))


@pytest.fixture(scope="module")
def crops():
    return torch.randn(2, 3, 256, 192, generator=torch.Generator().manual_seed(0))


@pytest.mark.slow
@torch.inference_mode()
def test_every_route_gives_the_same_heatmaps(crops, tmp_path):
    weights = load_file(TINY2)
    forms = {
        "original": weights,
        "bare": without_periods(weights),
        "transformers": as_transformers(weights),
        "mixture": as_mixture(weights),
        "bare_mixture": as_mixture(without_periods(weights)),
        "float16_periods": weights | {"backbone.rope_embed.periods": weights["backbone.rope_embed.periods"].half()},
    }
    assert "model.model.layer.7.mlp.gate_proj.weight" in forms["transformers"]
    routes = []
    for name, form in forms.items():
        save_file(form, tmp_path / f"{name}.safetensors")
        routes += [tmp_path / f"{name}.safetensors", write_folder(tmp_path / name, form, TINY2_SHAPE)]
    converted = tmp_path / "converted.safetensors"
    convert(tmp_path / "transformers", converted)
    assert load_file(converted).keys() == weights.keys()  # so the original's code reads it too
    expected = load_network(TINY2, dtype=None)(crops)
    for route in (*routes, converted):
        network = load_network(route, dtype=None)
        assert network.shape == TINY2_SHAPE and torch.equal(network(crops), expected), route


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux lists a process's memory maps")
def test_weights_in_their_own_dtype_stay_a_memory_map(tmp_path):
    folder = write_folder(tmp_path / "folder", as_mixture(load_file(TINY2)), TINY2_SHAPE)
    convert(TINY2, tmp_path / "own.safetensors")
    for route, file in ((TINY2, TINY2), (folder, folder / "model.safetensors"), *[(tmp_path / "own.safetensors",) * 2]):
        network = load_network(route, dtype=None)
        lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if str(file) in line]
        spans = [[int(end, 16) for end in line[0].split("-")] for line in lines]
        for name, weight in network.named_parameters():
            assert any(start <= weight.data_ptr() < end for start, end in spans), name


@torch.inference_mode()
def test_converting_to_half_precision_and_back_keeps_the_periods(tmp_path):
    periods = load_file(TINY2)["backbone.rope_embed.periods"]
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        path = tmp_path / f"{dtype}.safetensors"
        convert(TINY2, path, dtype)
        assert torch.equal(load_file(path)["backbone.rope_embed.periods"], periods)
        for again in (None, torch.float16, torch.float32):
            found = load_network(path, dtype=again).backbone.rope_embed.periods
            assert found.dtype == torch.bfloat16 and torch.equal(found, periods)


@torch.inference_mode()
def test_a_file_that_an_earlier_version_converted_gets_the_right_periods(crops, tmp_path):
    """It kept transformers' names, no periods, and a base made of the second of them."""
    weights, expected = load_file(TINY2), load_network(TINY2)(crops)
    for number, base in enumerate((100.0, 100, round(1.78125**8, 2))):
        metadata = {CONFIG_KEY: json.dumps(config_of(TINY2_SHAPE) | {"rope_theta": base}), "input_hw": "1024,768"}
        save_file(as_transformers(weights), tmp_path / f"{number}.safetensors", metadata)
        assert torch.equal(load_network(tmp_path / f"{number}.safetensors")(crops), expected)


@pytest.mark.parametrize(
    ("heads", "head_dim", "wrong"), [(1, 64, 102.94), (1, 80, 98.25), (1, 76, 98.76)], ids=["0.4b, 1b", "0.8b", "5b"]
)
def test_the_bases_that_earlier_versions_wrote_for_the_published_sizes_are_100(tmp_path, heads, head_dim, wrong):
    shape = SMALL._replace(embed_dim=heads * head_dim, num_heads=heads, num_layers=1, num_kv_heads=(heads,))
    weights = without_periods(small_network(shape).state_dict())
    folder = write_folder(tmp_path / "folder", weights, shape, rope_theta=wrong)
    assert torch.equal(load_network(folder).backbone.rope_embed.periods, rotary_periods(100.0, head_dim))


def test_other_bases_are_taken_as_they_are_or_refused_where_they_were_derived(tmp_path):
    weights = without_periods(small_network().state_dict())
    folder = write_folder(tmp_path / "30", weights, SMALL, rope_theta=30, rms_norm_eps=1e-5)
    network = load_network(folder)
    assert torch.equal(network.backbone.rope_embed.periods, rotary_periods(30.0, 16))
    assert network.shape.norm_eps == 1e-5
    convert(folder, tmp_path / "own.safetensors")
    again = load_network(tmp_path / "own.safetensors")
    assert again.shape == network.shape
    assert torch.equal(again.backbone.rope_embed.periods, network.backbone.rope_embed.periods)
    derived = round(float(rotary_periods(30.0, 16)[1]) ** 4, 2)  # what earlier versions kept of it
    assert derived != 30
    with pytest.raises(CheckpointError, match=rf"derived[/\\]config\.json has the rotary base {derived}.*convert the"):
        load_network(write_folder(tmp_path / "derived", weights, SMALL, rope_theta=derived))
    stored = small_network().state_dict()  # the weights' own periods are asked first
    assert (
        load_network(write_folder(tmp_path / "stored", stored, SMALL, rope_theta=30)).backbone.rope_embed.periods[-1]
        == rotary_periods(100.0, 16)[-1]
    )


@pytest.mark.parametrize(
    "periods", [torch.ones(5), torch.zeros(4), torch.full((4,), torch.nan), torch.ones(4, 1), torch.tensor(1.0)]
)
def test_periods_that_make_no_sense_are_refused(tmp_path, periods):
    save_file(small_network().state_dict() | {"backbone.rope_embed.periods": periods}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"w\.safetensors has rotary periods that make no sense"):
        load_network(tmp_path / "w.safetensors")


def drop(name):
    return lambda weights: weights.pop(name)


def put(**tensors):
    return lambda weights: weights.update({name.replace("__", "."): tensor for name, tensor in tensors.items()})


@pytest.mark.parametrize(
    ("alter", "complaint"),
    [
        (drop("backbone.blocks.1.ffn.w12.bias"), r"lacks backbone\.blocks\.1\.ffn\.w12\.bias"),
        (drop("backbone.blocks.2.attn.wk.bias"), r"lacks backbone\.blocks\.2\.attn\.wk\.bias"),
        (put(surplus=torch.zeros(1)), "adds surplus"),
        (put(backbone__blocks__300000__ln1__weight=torch.zeros(64)), "that can be built here"),
        (put(backbone__blocks__0__attn__q_norm__weight=torch.zeros(0)), "that can be built here"),
        (put(backbone__blocks__0__attn__q_norm__weight=torch.zeros(6)), "that can be built here"),
        (put(backbone__blocks__1__attn__wk__weight=torch.zeros(40, 64)), "that can be built here"),
        (put(backbone__blocks__1__attn__wk__weight=torch.zeros(0, 64)), "that can be built here"),
        (put(backbone__blocks__1__attn__wk__weight=torch.zeros(48, 64)), "that can be built here"),
        (put(backbone__cls_token=torch.zeros(64)), "that can be built here"),
        (put(backbone__cls_token=torch.zeros(1, 1, 128)), "has backbone"),
        (put(decode_head__conv_pose__weight=torch.zeros(0, 16, 1, 1)), "that can be built here"),
        (put(decode_head__conv_pose__weight=torch.tensor(1.0)), "that can be built here"),
        (put(backbone__blocks__0__mlp__gate_proj__weight=torch.zeros(128, 64)), "lacks the up_proj that belongs to"),
        (put(model__embeddings__cls_token=torch.zeros(1, 1, 64)), r"has backbone\.cls_token twice"),
        (put(backbone__ln1__weight=torch.zeros(64, dtype=torch.int64)), r"backbone\.ln1\.weight of whole numbers"),
        (drop("backbone.cls_token"), "is no Sapiens2 pose network that can be built"),
        (drop("decode_head.conv_pose.weight"), "holds no Sapiens pose network"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, alter, complaint):
    weights = small_network().state_dict()
    alter(weights)
    save_file(weights, tmp_path / "altered.safetensors")
    with pytest.raises(CheckpointError, match=rf"altered\.safetensors .*{complaint}"):
        load_network(tmp_path / "altered.safetensors")


def test_as_many_layers_as_names_can_claim_are_not_built(tmp_path):
    names = [f"backbone.blocks.{index}.attn.wk.weight" for index in range(2_000)]
    weights = small_network().state_dict() | {name: torch.zeros(64) for name in names}
    save_file(weights, tmp_path / "deep.safetensors")
    with pytest.raises(CheckpointError, match="that can be built here"):
        load_network(tmp_path / "deep.safetensors")


@pytest.mark.parametrize("views", [1, 300])
def test_halves_that_are_views_of_a_few_bytes_are_not_joined(tmp_path, views):
    """They would be copies: 32 GB of one value, or 300 times one matrix."""
    weights = as_transformers(small_network().state_dict())
    half = torch.zeros(1).expand(2**20, 2**12) if views == 1 else torch.zeros(1024, 1024)
    for index in range(views):
        weights |= {f"model.model.layer.{index}.mlp.{part}_proj.weight": half for part in ("gate", "up")}
    torch.save(weights, tmp_path / "views.pth")
    with pytest.raises(CheckpointError, match=r"views\.pth is damaged.* claims? more values"):
        load_network(tmp_path / "views.pth")


def test_a_folder_may_hold_its_weights_in_parts(tmp_path):
    weights = as_transformers(small_network().state_dict())
    folder = write_folder(tmp_path / "parts", weights, SMALL)
    whole = load_network(folder).state_dict()
    (folder / "model.safetensors").unlink()
    names = list(weights)
    for part, some in enumerate((names[::2], names[1::2]), 1):
        save_file({name: weights[name] for name in some}, folder / f"model-0000{part}-of-00002.safetensors")
    network = load_network(folder)
    assert all(torch.equal(weight, whole[name]) for name, weight in network.state_dict().items())
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model-00001-of-00002\.safetensors|lacks|holds"):
        load_network(folder)


@pytest.mark.slow
def test_what_transformers_saves_is_read(tmp_path, crops):
    """Version 5.24 writes a folder with the original's names and without periods."""
    transformers = pytest.importorskip("transformers", minversion="5.10")
    from sapiens2_cases import transformers_network

    network = small_network()
    transformers_network(network.state_dict(), SMALL).save_pretrained(tmp_path / "saved")
    transformers.Sapiens2ImageProcessor().save_pretrained(tmp_path / "saved")
    with torch.inference_mode():
        loaded = load_network(tmp_path / "saved", dtype=None)
        assert loaded.shape == SMALL and torch.equal(loaded(crops), network(crops))


def test_no_transformers_is_needed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    folder = write_folder(tmp_path / "folder", small_network().state_dict(), SMALL)
    assert load_network(folder).shape == SMALL


def test_the_hash_of_a_folder_is_that_of_all_it_is_read_from(tmp_path):
    folder = write_folder(tmp_path / "folder", small_network().state_dict(), SMALL)
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "README.md").write_text("a model card")
    assert checkpoint_sha256(copy) == checkpoint_sha256(folder)
    (copy / "config.json").write_text(json.dumps(config_of(SMALL) | {"rope_theta": 50.0}))
    assert checkpoint_sha256(copy) != checkpoint_sha256(folder)


def test_settings_that_cannot_be_are_refused(tmp_path):
    folder = write_folder(tmp_path / "folder", small_network().state_dict(), SMALL)
    with pytest.raises(ConfigError, match="model.num_heads=4 is known"):
        load_network(folder, num_heads=4)
    with pytest.raises(ConfigError, match=r"^input_hw=\[100, 80\] must be multiples of 16"):
        load_network(folder, input_hw=[100, 80])
    for crop in (
        SAPIENS2_CROPS._replace(enlarging="cubic"),
        SAPIENS2_CROPS._replace(box_padding=0),
        SAPIENS2_CROPS._replace(pixel_std_rgb=[1.0]),
    ):
        with pytest.raises(ConfigError, match=r"^(enlarging|box_padding|pixel_std_rgb)=.* must be"):
            load_network(folder, crop=crop)


def test_the_api_and_the_command_take_a_folder(tmp_path, predict, people):
    folder = write_folder(tmp_path / "folder", small_network().state_dict(), SMALL)
    boxes = next(iter(people.values()))
    result = PoseEstimator.from_checkpoint(folder, device="cpu").predict([COCO / next(iter(people))], [boxes])[0]
    assert result.keypoints.shape == (len(boxes), 17, 2) and np.isfinite(result.keypoints).all()
    options = [f"model.checkpoint={folder}", f"data.images={COCO}", "boxes=whole_image", "trainer.accelerator=cpu"]
    run = predict(*options, "model=sapiens2", "data.batch_size=2", "model.input_hw=[64,48]")
    assert run.code == 0, run.err
    assert len(run.results) == 4 and run.info["settings"]["model.crop"]["enlarging"] == "bicubic"
    assert run.info["settings"]["model.checkpoint"] == f"SHA-256 {checkpoint_sha256(folder)}"
    loading = run.info["processes"][0]["loading"]
    assert set(loading) == {"seconds", "checkpoint_gib", "host_peak_growth_gib"} and loading["seconds"] > 0
    assert "Weights: a checkpoint of 0.001 GiB, as float32 on cpu in" in run.out + run.err
    again = predict(*options, "data.batch_size=3", "model.input_hw=[64,48]")  # the settings of the file are the same
    assert again.code == 0 and "4 done" in again.out
    other = predict(*options, "model=sapiens2", "model.input_hw=[64,48]", "model.crop.box_padding=1.1")
    assert other.code == 2 and "made with model.crop=" in other.err
    first = predict(*options, "model=sapiens2", f"model.checkpoint={CHECKPOINT}", folder="first")
    assert first.code == 2 and "holds Sapiens v1, and model=sapiens2 cuts crops as Sapiens2 was trained" in first.err


def test_the_crop_settings_reach_the_crops(predict, tmp_path):
    folder = write_folder(tmp_path / "folder", small_network().state_dict(), SMALL)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "small.png"), pixels)
    options = [f"data.images={tmp_path / 'small.png'}", "boxes=whole_image", "trainer.accelerator=cpu"]
    options += [f"model.checkpoint={folder}", "model.input_hw=[64,48]", "model=sapiens2"]
    estimator = PoseEstimator.from_checkpoint(folder, device="cpu", input_hw=(64, 48))
    expected = estimator.predict([pixels])[0].keypoints[0]
    for number, change in enumerate(([], ["enlarging=bilinear"], ["pixel_mean_rgb=[0,0,0]"], ["box_padding=1.3"])):
        run = predict(*options, *(f"model.crop.{setting}" for setting in change), folder=f"run_{number}")
        assert run.code == 0, run.err
        found = np.array(run.results["small.png"]["instance_info"][0]["keypoints"])
        assert np.allclose(found, expected, atol=0.01) == (not change), change
