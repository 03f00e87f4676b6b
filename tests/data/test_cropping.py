"""Crops are the originals', byte for byte (OpenCV's versions differ by one grey level at most)."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from conftest import COCO, GOLDEN

from sapiens_pl.core.geometry import SAPIENS2_CROPS, SAPIENS_CROPS, box_center_scale, box_to_crop
from sapiens_pl.data.cropping import cut_crop

INPUT_WH = (768, 1024)
ROWS = json.loads((GOLDEN / "crops.json").read_text())


def crop_of(row, settings):
    center, scale = (values[0] for values in box_center_scale(np.array([row["box_xyxy"]]), INPUT_WH))
    return cut_crop(cv2.imread(str(COCO / row["image"])), box_to_crop(center, scale, INPUT_WH), INPUT_WH, settings)


@pytest.mark.parametrize(
    ("file", "number", "settings"),
    [("crop", number, SAPIENS_CROPS) for number in (0, 3, 8)]
    + [("sapiens2_crop", number, SAPIENS2_CROPS) for number in (0, 3)],
)
def test_crops_are_the_originals(file, number, settings):
    expected = cv2.imread(str(GOLDEN / f"{file}_{number:02d}.png"))
    assert np.abs(crop_of(ROWS[number], settings).astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("gains", "enlarged"), [((1.2, 1.2), True), ((1.0, 1.0), True), ((0.999, 1.2), False), ((1.2, 0.999), False)]
)
def test_only_what_is_enlarged_along_both_sides_is_cut_bicubically(gains, enlarged):
    pixels = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
    matrix = np.array([[gains[0], 0, -3.3], [0, gains[1], 2.7]], np.float32)
    crops = [cut_crop(pixels, matrix, (48, 64), settings) for settings in (SAPIENS_CROPS, SAPIENS2_CROPS)]
    assert crops[0].shape == (64, 48, 3) and (not np.array_equal(*crops)) == enlarged


@pytest.mark.parametrize("image_wh", [(1, 1), (1, 50), (50, 1)])
def test_a_picture_of_any_size_is_black_outside(image_wh):
    pixels = np.full((image_wh[1], image_wh[0], 3), 200, np.uint8)
    matrix = np.array([[2, 0, 20], [0, 2, 20]], np.float32)
    for settings in (SAPIENS_CROPS, SAPIENS2_CROPS):
        crop = cut_crop(pixels, matrix, (48, 64), settings)
        assert crop.max() >= 200 and not crop[:15].any() and not crop[:, :15].any()
