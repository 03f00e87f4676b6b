"""Sapiens2 against transformers' own network, image processor and post-processing (small random weights)."""

from __future__ import annotations

import json
import shutil
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from conftest import COCO
from safetensors.torch import load_file, save_file

from sapiens_pl import PoseEstimator
from sapiens_pl.data.cropping import cut_crop
from sapiens_pl.data.dataset import CropDataset
from sapiens_pl.decoding import decode_heatmaps, largest_of_each
from sapiens_pl.errors import CheckpointError, ConfigError
from sapiens_pl.geometry import (
    SAPIENS2_CROPS,
    SAPIENS_CROPS,
    box_center_scale,
    box_to_crop,
    heatmap_to_image,
    image_to_heatmap,
)
from sapiens_pl.models.checkpoints import load_network, save_network
from sapiens_pl.models.sapiens2 import Sapiens2Shape, config_of
from sapiens_pl.models.tensors import checkpoint_sha256
from sapiens_pl.module import PoseModule, normalise
from sapiens_pl.structures import CropSpan, ImageTask

transformers = pytest.importorskip("transformers")

SHAPE = Sapiens2Shape(64, 3, 4, (4, 2, 4), 128, 8, (32, 32), (32, 16, 16), 17, (1024, 768))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder as `save_pretrained` leaves it and the hub has it."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("hub") / "sapiens2"
    network = transformers.Sapiens2ForPoseEstimation(config_of(SHAPE))
    for weight in network.parameters():  # no bias or scale may be left at its neutral value
        weight.data += 0.02 * torch.randn_like(weight)
    network.save_pretrained(path)
    weights = load_file(path / "model.safetensors")  # transformers 5.10 has not quite the original's names
    weights = {name.replace("backbone.model.layer.", "backbone.blocks."): weight for name, weight in weights.items()}
    save_file(weights, path / "model.safetensors", {"format": "pt"})
    transformers.Sapiens2ImageProcessor().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def reference(folder):
    return transformers.Sapiens2ForPoseEstimation.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def cut(people):
    """For each reference photograph transformers' input, our crops, and the boxes."""
    processor = transformers.Sapiens2ImageProcessor()
    cases = []
    for name, boxes in people.items():
        pixels = cv2.imread(str(COCO / name))
        xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()
        inputs = processor([pixels[..., ::-1].copy()], boxes=[xywh], return_tensors="pt")["pixel_values"]
        task = ImageTask(name, pixels, boxes, np.ones(len(boxes)), np.arange(len(boxes)))
        dataset = CropDataset([task], [], (1024, 768), crop_settings=SAPIENS2_CROPS)
        image = dataset.cut(CropSpan(0, 0, len(boxes)))
        crops = torch.from_numpy(np.stack(image.crops).transpose(0, 3, 1, 2))
        cases.append(SimpleNamespace(xywh=xywh, inputs=inputs, image=image, crops=crops, pixels=pixels))
    return cases


def test_folder_file_and_own_file_give_transformers_heatmaps(folder, reference, tmp_path):
    bare = tmp_path / "sapiens2_0.0b_pose.safetensors"
    shutil.copy(folder / "model.safetensors", bare)
    assert "backbone.blocks.0.attn.wq.weight" in load_file(bare)  # the original's names
    save_network(load_network(folder), tmp_path / "own.safetensors")
    assert "model.model.layer.0.attention.q_proj.weight" in load_file(tmp_path / "own.safetensors")  # transformers'
    mixed = {name.replace(".blocks.", ".model.layer."): weight for name, weight in load_file(bare).items()}
    save_file(mixed, tmp_path / "mixed.safetensors")  # transformers 5.10's
    crops = torch.randn(2, 3, 256, 192)
    with torch.inference_mode():
        expected = reference(crops).heatmaps
        for checkpoint in (folder, bare, tmp_path / "own.safetensors", tmp_path / "mixed.safetensors"):
            network = load_network(checkpoint, dtype=None)
            assert network.shape == SHAPE and network.crop_settings == SAPIENS2_CROPS
            assert torch.equal(network(crops), expected), checkpoint


def test_what_the_weights_do_not_tell_is_read_beside_them(folder, tmp_path):
    network = load_network(change(folder, tmp_path, "config.json", rope_theta=50.0, rms_norm_eps=1e-5))
    assert network.config.rope_theta == 50.0 and network.config.rms_norm_eps == 1e-5
    save_network(network, tmp_path / "own.safetensors")
    assert load_network(tmp_path / "own.safetensors").config.rope_theta == 50.0
    resized = change(folder, tmp_path, "preprocessor_config.json", size={"height": 512, "width": 384})
    assert load_network(resized).shape.input_hw == (512, 384)
    assert load_network(resized, input_hw=(256, 192)).shape.input_hw == (256, 192)
    weights = load_file(folder / "model.safetensors")
    periods = 30.0 ** (torch.arange(4) / 4)
    save_file(weights | {"backbone.rope_embed.periods": periods}, tmp_path / "bare.safetensors")
    assert load_network(tmp_path / "bare.safetensors").config.rope_theta == 30.0


def change(folder, tmp_path, name, **settings):
    copy = tmp_path / f"changed_{name}"
    shutil.copytree(folder, copy)
    (copy / name).write_text(json.dumps(json.loads((copy / name).read_text()) | settings))
    return copy


def test_moving_and_converting_the_network_changes_nothing(folder, reference):
    network = load_network(folder, dtype=None)
    PoseModule(network).place(torch.device("cpu"), "bf16-true")
    PoseModule(network).place(torch.device("cpu"), "32-true")
    rounded = load_network(folder, dtype=torch.bfloat16).float()
    assert not any(module.training for module in network.modules())
    crops = torch.randn(1, 3, 256, 192)
    with torch.inference_mode():
        moved = load_network(folder, dtype=None).to("cpu", torch.float32)
        assert torch.equal(moved(crops), reference(crops).heatmaps)
        assert torch.equal(network(crops), rounded(crops))


def test_half_precision_keeps_the_rotary_frequencies_and_the_heatmaps_in_float32(folder):
    network = load_network(folder, dtype=None).to(torch.bfloat16)
    frequencies = network.model.rope_embeddings.inv_freq
    assert frequencies.dtype == torch.float32 and (frequencies != frequencies.bfloat16()).any()
    with torch.inference_mode():
        heatmaps = network(torch.randn(1, 3, 64, 48, dtype=torch.bfloat16))
    assert heatmaps.dtype == torch.float32 and (heatmaps != heatmaps.bfloat16().float()).any()


def test_crops_are_transformers_rounded_to_bytes(cut):
    """The original warps bytes with OpenCV (INTER_CUBIC), on positions rounded to 1/32 px."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in SAPIENS2_CROPS[2:])
    for case in cut:
        for crop, center, scale in zip(case.image.crops, case.image.centers, case.image.scales):
            matrix = box_to_crop(center, scale, (768, 1024))
            assert matrix[0, 0] > 1  # all are enlarged
            warped = cv2.warpAffine(case.pixels, matrix, (768, 1024), flags=cv2.INTER_CUBIC)
            difference = np.abs(crop.astype(float) - warped)
            assert difference.mean() < 0.4 and difference.max() < 10  # 0.31 and 7 grey levels were seen
        expected = case.inputs * std + mean
        assert (case.crops.flip(1) - expected.clamp(0, 255)).abs().max() < 0.55  # 0.52: 0.5, and float32's positions
        assert ((expected < 0) | (expected > 255)).float().mean() < 0.05  # bicubic overshoot: 0.040


@pytest.mark.parametrize("image_wh", [(1, 1), (1, 50), (50, 1), (700, 900)])
def test_bicubic_crops_of_any_image_and_box_are_near_opencvs(image_wh):
    pixels = np.random.default_rng(0).integers(0, 256, (image_wh[1], image_wh[0], 3), np.uint8)
    width, height = image_wh
    boxes = [[0, 0, 0.01, 0.01], [width - 0.5, height - 0.5, width + 300, height + 400], [0.3, 0.4, 0.7, 0.9]]
    centers, scales = box_center_scale(np.array(boxes), (768, 1024))
    for center, scale in zip(centers, scales):
        matrix = box_to_crop(center, scale, (768, 1024))
        crop = cut_crop(pixels, matrix, (768, 1024), SAPIENS2_CROPS)
        warped = cv2.warpAffine(pixels, matrix, (768, 1024), flags=cv2.INTER_CUBIC)
        difference = np.abs(crop.astype(float) - warped)
        assert crop.shape == (1024, 768, 3) and crop.any()
        assert difference.max() < 10  # 7 was seen: OpenCV rounds positions to 1/32 px, and its weights


def test_large_boxes_are_cut_bilinearly_small_ones_bicubically():
    pixels = np.random.default_rng(0).integers(0, 256, (900, 700, 3), np.uint8)
    boxes = np.array([[0, 0, 700, 900], [300, 300, 350, 400.0]])
    task = ImageTask("noise", pixels, boxes, np.ones(2), np.arange(2))
    crops = {
        settings: CropDataset([task], [], (1024, 768), crop_settings=settings).cut(CropSpan(0, 0, 2)).crops
        for settings in (SAPIENS_CROPS, SAPIENS2_CROPS)
    }
    large, small = ([crops[settings][row] for settings in crops] for row in (0, 1))
    assert np.array_equal(*large) and not np.array_equal(*small)


def test_decoding_equals_transformers(cut, reference):
    """But where a map, blurred, is nowhere positive (there the original turns it over, and we with it), and where
    transformers leaves the map. Random networks give spikes, on which the Newton step is ill-conditioned now and then.
    """
    processor = transformers.Sapiens2ImageProcessor()
    distances, same = [], []
    for case in cut:
        with torch.inference_mode():
            outputs = reference(case.inputs)
        people = processor.post_process_pose_estimation(outputs, boxes=[case.xywh])[0]
        theirs = np.stack([person["keypoints"].numpy() for person in people])
        keypoints, scores = decode_heatmaps(outputs.heatmaps)
        assert torch.equal(scores, torch.stack([person["scores"] for person in people]))
        where = case.image.centers, case.image.scales, (192, 256)
        distances.append(np.abs(heatmap_to_image(keypoints.numpy(), *where) - theirs).max(axis=2).ravel())
        in_heatmap = image_to_heatmap(theirs, *where)
        on_map = ((in_heatmap > -5) & (in_heatmap < (197, 261))).all(axis=2).ravel()
        positive = largest_of_each(outputs.heatmaps.flatten(0, 1)) > 0
        same.append(on_map & positive.numpy() & (scores.flatten() > 0).numpy())
    apart = np.concatenate(distances)[np.concatenate(same)]
    assert len(apart) > 150 and np.median(apart) < 1e-4 and np.mean(apart < 0.01) > 0.98


def test_normalisation_equals_transformers(cut):
    processor = transformers.Sapiens2ImageProcessor()
    crops = cut[0].crops
    expected = processor(list(crops.flip(1)), do_resize=False, return_tensors="pt")["pixel_values"]
    assert torch.allclose(normalise(crops, torch.float32, SAPIENS2_CROPS), expected, atol=2e-6)


def test_the_api_and_the_command_take_a_folder(folder, predict, people):
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


def test_the_crop_settings_reach_the_crops(folder, predict, tmp_path):
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


def test_the_hash_of_a_folder_is_that_of_all_it_is_read_from(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "README.md").write_text("a model card")
    assert checkpoint_sha256(copy) == checkpoint_sha256(folder)
    changed = change(folder, tmp_path, "config.json", rope_theta=50.0)
    assert checkpoint_sha256(changed) != checkpoint_sha256(folder)


def test_a_folder_may_hold_its_weights_in_parts(folder, reference, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "parts")
    weights = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    names = list(weights)
    for part, some in enumerate((names[::2], names[1::2]), 1):
        save_file({name: weights[name] for name in some}, copy / f"model-0000{part}-of-00002.safetensors")
    network = load_network(copy)
    assert all(torch.equal(weight, reference.state_dict()[name]) for name, weight in network.state_dict().items())
    (copy / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model-00001-of-00002\.safetensors|lacks|holds"):
        load_network(copy)


@pytest.mark.parametrize(
    ("alter", "complaint"),
    [
        (lambda w: w.pop("backbone.blocks.1.ffn.w12.bias"), r"lacks model\.model\.layer\.1\.mlp\.gate_proj\.bias"),
        (lambda w: w.update(surplus=torch.zeros(1)), "adds surplus"),
        (lambda w: w.pop("backbone.cls_token"), "is no Sapiens2 pose network that can be built"),
        (lambda w: w.pop("decode_head.conv_pose.weight"), "holds no Sapiens pose network"),
    ],
)
def test_weights_that_do_not_fit_are_refused(folder, tmp_path, alter, complaint):
    weights = load_file(folder / "model.safetensors")
    alter(weights)
    save_file(weights, tmp_path / "altered.safetensors")
    with pytest.raises(CheckpointError, match=complaint):
        load_network(tmp_path / "altered.safetensors")


def test_settings_that_cannot_be_are_refused(folder, tmp_path):
    with pytest.raises(ConfigError, match="model.num_heads=4 is known"):
        load_network(folder, num_heads=4)
    with pytest.raises(ConfigError, match=r"model.input_hw=\[100,80\] must be multiples of 16"):
        load_network(folder, input_hw=[100, 80])
    for crop in (
        SAPIENS2_CROPS._replace(enlarging="cubic"),
        SAPIENS2_CROPS._replace(box_padding=0),
        SAPIENS2_CROPS._replace(pixel_std_rgb=[1.0]),
    ):
        with pytest.raises(ConfigError, match=r"model\.crop\..* must be"):
            load_network(folder, crop=crop)
    (broken := change(folder, tmp_path, "config.json")).joinpath("config.json").write_text("{")
    with pytest.raises(CheckpointError, match="is no Sapiens2 pose network"):
        load_network(broken)


def test_without_transformers_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(CheckpointError, match=r"pip install 'sapiens_pl\[sapiens2\]'"):
        load_network(folder)
