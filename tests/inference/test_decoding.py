from __future__ import annotations

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from conftest import GOLDEN

from sapiens_pl.inference import decoding
from sapiens_pl.inference.decoding import decode_heatmaps, largest_of_each

REFERENCE = np.load(GOLDEN / "decode.npz")


@pytest.mark.parametrize(("kind", "input_wh"), [("small", (192, 256)), ("noisy", (192, 256)), ("full", (768, 1024))])
def test_keypoints_and_scores_are_the_originals(kind, input_wh):
    heatmaps = torch.from_numpy(REFERENCE[f"{kind}_h"].astype(np.float32))
    keypoints, scores = decode_heatmaps(heatmaps)
    last = np.array([heatmaps.shape[3] - 1, heatmaps.shape[2] - 1])
    found = keypoints.numpy() / last * input_wh
    reference = REFERENCE[f"{kind}_k"]
    finite = np.isfinite(reference).all(axis=2)
    assert finite.sum() >= 20
    assert np.abs(found - reference)[finite].max() < 0.01
    assert np.isfinite(found).all()
    np.testing.assert_allclose(scores.numpy(), REFERENCE[f"{kind}_s"], atol=1e-6)


@pytest.mark.parametrize("factor", [1.0, 1e-2, 3e-3, 200.0])
def test_weak_and_strong_maps_follow_the_full_blur(factor):
    """Where the original's clipping bites, compared with the formula on whole maps, written out plainly."""
    rng = np.random.default_rng(1)
    maps = rng.normal(0, 1, (40, 32, 24)).astype(np.float32) * factor
    keypoints, _ = decode_heatmaps(torch.from_numpy(maps)[None])
    expected = np.array([_plain_decode(m) for m in maps])
    settled = np.abs(expected[:, 1] - expected[:, 0]).max(axis=1) < 5  # a near-singular step amplifies rounding
    assert settled.mean() > 0.8
    np.testing.assert_allclose(keypoints[0].numpy()[settled], expected[settled, 1], atol=2e-3)


def test_a_step_that_leads_away_from_the_map_is_not_taken():
    rng = np.random.default_rng(3)
    maps = rng.normal(0, 2e-3, (600, 24, 16)).astype(np.float32)
    keypoints, _ = decode_heatmaps(torch.from_numpy(maps)[None])
    expected = np.array([_plain_decode(m) for m in maps])
    away = ((expected[:, 1] < -6) | (expected[:, 1] > (22, 30))).any(axis=1)
    assert 3 < away.sum() < 60
    np.testing.assert_array_equal(keypoints[0].numpy()[away], expected[away, 0])
    assert ((keypoints[0] > -5) & (keypoints[0] < torch.tensor([21, 29]))).all()
    assert (np.abs(keypoints[0].numpy() - expected[:, 0]).max(axis=1) > 0).mean() > 0.7  # the others are


def _plain_decode(heatmap):
    offsets = np.arange(11) - 5
    kernel = np.exp(-(offsets**2) / 8.0)
    kernel /= kernel.sum()
    blurred = np.apply_along_axis(np.convolve, 0, heatmap.astype(float), kernel, "same")
    blurred = np.apply_along_axis(np.convolve, 1, blurred, kernel, "same")
    logs = np.pad(np.log(np.clip(blurred * heatmap.max() / blurred.max(), 1e-3, 50)), 1, mode="edge")
    y, x = np.unravel_index(heatmap.argmax(), heatmap.shape)

    def at(dx, dy):
        return logs[y + 1 + dy, x + 1 + dx]

    eps = np.finfo(np.float32).eps
    gradient = np.array([at(1, 0) - at(-1, 0), at(0, 1) - at(0, -1)]) / 2
    dxx = at(1, 0) - 2 * at(0, 0) + at(-1, 0) + eps
    dyy = at(0, 1) - 2 * at(0, 0) + at(0, -1) + eps
    dxy = (at(1, 1) - at(1, 0) - at(0, 1) + 2 * at(0, 0) - at(-1, 0) - at(0, -1) + at(-1, -1)) / 2
    peak = np.array([x, y], float)
    return peak, peak - np.linalg.solve([[dxx, dxy], [dxy, dyy]], gradient)


def test_a_drawn_peak_is_found_to_a_fraction_of_a_pixel():
    rows, columns = np.mgrid[:64, :48]
    peaks = np.random.default_rng(2).uniform(8, 40, (17, 2))
    maps = [np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8) for x, y in peaks]
    keypoints, scores = decode_heatmaps(torch.tensor(np.array(maps), dtype=torch.float32)[None])
    np.testing.assert_allclose(keypoints[0], peaks, atol=0.01)
    assert (scores > 0.9).all()


@pytest.mark.parametrize("value", [0.0, -1.0, 1.0, float("nan"), float("inf")])
def test_flat_negative_and_broken_maps_give_finite_coordinates(value):
    keypoints, scores = decode_heatmaps(torch.full((1, 2, 16, 12), value))
    assert torch.isfinite(keypoints).all()
    assert scores.isnan().all() if np.isnan(value) else (scores == value).all()


def test_the_first_of_equal_maxima_counts():
    heatmaps = torch.zeros(1, 1, 16, 12)
    heatmaps[0, 0, 5, 7] = heatmaps[0, 0, 5, 9] = heatmaps[0, 0, 11, 2] = 1.0
    keypoints, _ = decode_heatmaps(heatmaps)
    assert (keypoints[0, 0] - torch.tensor([7.0, 5.0])).abs().max() < 1.5


def blurred_maxima(maps):
    kernel = decoding._gaussian(maps.device).numpy()
    blurred = [cv2.sepFilter2D(heatmap, -1, kernel, kernel, borderType=cv2.BORDER_CONSTANT) for heatmap in maps.numpy()]
    return [heatmap.max() for heatmap in blurred]


def test_a_device_without_triton_blurs_whole_maps_to_the_same_maxima():
    maps = torch.randn(300, 32, 24, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(largest_of_each(maps).numpy(), blurred_maxima(maps), atol=1e-6)


@pytest.mark.slow
def test_the_triton_kernel_finds_the_same_maxima_where_they_are_asked_for(tmp_path):
    """Run by Triton's interpreter, which has to be chosen before Triton is imported."""
    pytest.importorskip("triton")
    maps = torch.randn(5, 40, 72, generator=torch.Generator().manual_seed(0))
    maps[1, 0, 0] = maps[3, -1, -1] = 20.0  # the largest value at an edge, where zeros surround it
    torch.save(maps, tmp_path / "maps.pt")
    script = """
import sys, torch
from sapiens_pl.inference.decoding import _gaussian
from sapiens_pl.inference.weak_maps import largest_where_weak
maps = torch.load(sys.argv[1])
weak = torch.tensor([True, True, False, True, False])
torch.save(largest_where_weak(maps, weak, _gaussian(maps.device)), sys.argv[1])
"""
    command = [sys.executable, "-c", script, str(tmp_path / "maps.pt")]
    subprocess.run(command, env={**os.environ, "TRITON_INTERPRET": "1"}, check=True)
    found, expected = torch.load(tmp_path / "maps.pt").numpy(), blurred_maxima(maps)
    np.testing.assert_allclose(found[[0, 1, 3]], np.array(expected)[[0, 1, 3]], atol=1e-6)
    assert (found[[2, 4]] == 1).all()
