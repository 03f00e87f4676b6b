"""Sapiens2's network against the original's numbers, and against transformers' where that does the same."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from conftest import COCO, GOLDEN
from safetensors.torch import load_file
from sapiens2_cases import SMALL, small_network, transformers_network

from sapiens_pl import PoseEstimator
from sapiens_pl.core.geometry import SAPIENS2_CROPS, heatmap_to_image, image_to_heatmap
from sapiens_pl.core.structures import CropSpan, ImageTask, LoadedImage
from sapiens_pl.data.crops import CropCutter
from sapiens_pl.inference.decoding import decode_heatmaps, largest_of_each
from sapiens_pl.inference.module import PoseModule, normalise
from sapiens_pl.models import sapiens
from sapiens_pl.models import sapiens2 as ours
from sapiens_pl.models.checkpoints import load_network
from sapiens_pl.models.sapiens2 import Sapiens2Pose, rotary_periods

TINY2 = GOLDEN / "tiny_sapiens2_pose.safetensors"


@pytest.fixture(scope="module")
def inputs():
    """The original's two crops, normalised."""
    crops = [cv2.imread(str(GOLDEN / f"sapiens2_crop_0{number}.png")) for number in (0, 3)]
    return normalise(torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2), torch.float32, SAPIENS2_CROPS)


def check_close(found, expected):
    """Processors sum up in different orders; where a query or key then rounds to the next bfloat16, a little moves."""
    apart = np.abs(found - expected)
    assert np.mean(apart < 1e-4) > 0.9 and apart.max() < 5e-3


@torch.inference_mode()
def test_heatmaps_are_the_originals(inputs):
    network = load_network(TINY2)
    assert network.shape.input_hw == (1024, 768) and network.crop_settings == SAPIENS2_CROPS
    heatmaps = network(inputs)
    assert heatmaps.shape == (2, 17, 256, 192)
    expected = np.load(GOLDEN / "sapiens2_heatmaps.npz")["heatmaps"]
    check_close(heatmaps[..., ::4, ::4].numpy(), expected)


@pytest.mark.slow
@pytest.mark.parametrize("flip_test", [False, True])
def test_images_and_boxes_in_give_the_originals_keypoints_and_scores(people, flip_test):
    estimator = PoseEstimator.from_checkpoint(TINY2, device="cpu", flip_test=flip_test)
    people = {name: people[name] for name in list(people)[int(flip_test) :: 3]}
    results = estimator.predict([COCO / name for name in people], list(people.values()), batch_size=4)
    expected = np.load(GOLDEN / "sapiens2_vis_pose.npz")
    apart = []
    for name, result in zip(people, results):
        keypoints, scores = (expected[f"{name}|{int(flip_test)}|{what}"] for what in ("kpts", "scores"))
        check_close(result.keypoint_scores, scores)
        apart.append(np.linalg.norm(result.keypoints - keypoints, axis=2).ravel())
    assert np.mean(np.concatenate(apart) < 0.1) > 0.98


@torch.inference_mode()
def test_transformers_differs_by_its_rotation_and_by_nothing_else(monkeypatch):
    """It makes the rotary periods anew in float32, and turns queries and keys in float32."""
    modeling = pytest.importorskip("transformers.models.sapiens2.modeling_sapiens2")
    network = small_network()
    theirs = transformers_network(network.state_dict(), SMALL)
    crops = torch.randn(2, 3, 256, 192)
    found = network(crops)
    assert 0.001 < (theirs(crops).heatmaps - found).abs().max() < 0.1 * found.abs().max()
    turn = network.backbone.rope_embed((16, 12))
    monkeypatch.setattr(
        modeling, "apply_rotary_pos_emb", lambda *qk_cos_sin: [ours._turned(x, *turn).float() for x in qk_cos_sin[:2]]
    )
    torch.testing.assert_close(theirs(crops).heatmaps, found, atol=2e-5, rtol=0)


def test_the_periods_are_the_published_ones():
    """Rounded to bfloat16, the powers too, as in the original's file; of its second one other bases would follow."""
    assert torch.equal(rotary_periods(100.0, 32), load_file(TINY2)["backbone.rope_embed.periods"])
    for head_dim, base in ((64, 102.94), (80, 98.25), (76, 98.76)):  # 0.4b and 1b, 0.8b, 5b
        periods = rotary_periods(100.0, head_dim)
        assert periods.dtype == torch.bfloat16 and len(periods) == head_dim // 4
        assert round(float(periods[1]) ** len(periods), 2) == base


@torch.inference_mode()
def test_no_conversion_and_no_move_changes_the_rotation():
    network = small_network()
    turned, crops = [x.clone() for x in network.backbone.rope_embed((4, 3))], torch.randn(1, 3, 64, 48)
    heatmaps = network(crops)
    for convert in (
        partial(network.to, torch.float16),
        partial(PoseModule(network).place, torch.device("cpu"), "bf16-true"),
        partial(network.to, "cpu", torch.float32),
    ):
        convert()
        assert network.backbone.rope_embed.periods.dtype == torch.bfloat16
        assert all(map(torch.equal, network.backbone.rope_embed((4, 3)), turned))
        assert (network(crops.to(network.backbone.cls_token.dtype)).float() - heatmaps).abs().max() < 0.5
    moved = Sapiens2Pose(SMALL).to("meta", torch.float16)
    assert moved.backbone.rope_embed.periods.dtype == torch.bfloat16 and moved.backbone.cls_token.is_meta


@pytest.mark.parametrize("precision", ["bf16-true", "bf16-mixed"])
@torch.inference_mode()
def test_half_precision_keeps_the_heatmaps_in_float32(precision):
    network, crops = small_network(), torch.randn(2, 3, 64, 48)
    expected = network(crops)
    dtype = torch.bfloat16 if precision == "bf16-true" else torch.float32
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
        heatmaps = network.to(dtype)(crops.to(dtype))
    assert heatmaps.dtype == torch.float32 and (heatmaps != heatmaps.bfloat16().float()).any()
    assert np.corrcoef(heatmaps.ravel(), expected.ravel())[0, 1] > 0.99


@torch.inference_mode()
def test_the_head_gives_the_same_some_crops_at_a_time(monkeypatch):
    network, crops, sizes = small_network(), torch.randn(5, 3, 64, 48), []
    whole, parts = network(crops), network.decode_head._heatmaps
    monkeypatch.setattr(network.decode_head, "_heatmaps", lambda some: (sizes.append(len(some)), parts(some))[1])
    monkeypatch.setattr(sapiens, "_HEAD_VALUES", 2 * 16 * 12 * 32 + 1)  # 32 channels: the last deconvolution's
    torch.testing.assert_close(network(crops), whole, atol=1e-5, rtol=0)
    assert sizes == [2, 2, 1]


@pytest.fixture(scope="module")
def cut(people):
    """For each reference photograph transformers' input, our crops, and the boxes."""
    transformers = pytest.importorskip("transformers", minversion="5.10")
    processor = transformers.Sapiens2ImageProcessor()
    cases = []
    for name, boxes in people.items():
        pixels = cv2.imread(str(COCO / name))
        xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()
        theirs = processor([pixels[..., ::-1].copy()], boxes=[xywh], return_tensors="pt")["pixel_values"]
        task = ImageTask(name, "", boxes, np.ones(len(boxes)), np.arange(len(boxes)))
        image = CropCutter((1024, 768), SAPIENS2_CROPS).cut(LoadedImage(pixels, 1), task, CropSpan(0, 0, len(boxes)))
        crops = torch.from_numpy(np.stack(image.crops).transpose(0, 3, 1, 2))
        cases.append(SimpleNamespace(xywh=xywh, inputs=theirs, image=image, crops=crops, processor=processor))
    return cases


@pytest.mark.slow
def test_transformers_crops_are_not_rounded_to_bytes_nor_to_parts_of_a_pixel(cut):
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in SAPIENS2_CROPS[2:])
    for case in cut:
        difference = (case.crops.flip(1) - (case.inputs * std + mean).clamp(0, 255)).abs()
        assert difference.mean() < 0.5 and difference.max() < 10


@pytest.mark.slow
def test_normalisation_equals_transformers(cut):
    crops = cut[0].crops
    expected = cut[0].processor(list(crops.flip(1)), do_resize=False, return_tensors="pt")["pixel_values"]
    assert torch.allclose(normalise(crops, torch.float32, SAPIENS2_CROPS), expected, atol=2e-6)


@pytest.mark.slow
def test_decoding_equals_transformers(cut):
    """But where a map, blurred, is nowhere positive (there the original turns it over, and we with it), and where
    transformers leaves the map. Random networks give spikes, on which the Newton step is ill-conditioned now and then.
    """
    network, distances, same = small_network(), [], []
    for case in cut:
        with torch.inference_mode():
            heatmaps = network(case.inputs)
        people = case.processor.post_process_pose_estimation(SimpleNamespace(heatmaps=heatmaps), boxes=[case.xywh])[0]
        theirs = np.stack([person["keypoints"].numpy() for person in people])
        keypoints, scores = decode_heatmaps(heatmaps)
        assert torch.equal(scores, torch.stack([person["scores"] for person in people]))
        where = case.image.centers, case.image.scales, (192, 256)
        distances.append(np.abs(heatmap_to_image(keypoints.numpy(), *where) - theirs).max(axis=2).ravel())
        in_heatmap = image_to_heatmap(theirs, *where)
        on_map = ((in_heatmap > -5) & (in_heatmap < (197, 261))).all(axis=2).ravel()
        positive = largest_of_each(heatmaps.flatten(0, 1)) > 0
        same.append(on_map & positive.numpy() & (scores.flatten() > 0).numpy())
    apart = np.concatenate(distances)[np.concatenate(same)]
    assert len(apart) > 150 and np.median(apart) < 1e-4 and np.mean(apart < 0.01) > 0.98
