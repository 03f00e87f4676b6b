"""A side of 32767 px and more, which OpenCV's warp does not take."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from pictures_in_memory import dataset_of_arrays

from sapiens_pl.core.geometry import SAPIENS2_CROPS, SAPIENS_CROPS, box_center_scale, box_to_crop, heatmap_to_image
from sapiens_pl.core.structures import CropSpan
from sapiens_pl.data import cropping
from sapiens_pl.data.cropping import cut_crop
from sapiens_pl.data.crops import CropCutter

INPUT_WH = (96, 128)
SETTINGS = {"v1": SAPIENS_CROPS, "sapiens2": SAPIENS2_CROPS}


def textured(height, width):
    """Smooth noise, the same over and over again."""
    noise = np.random.default_rng(0).integers(0, 256, (min(height, 2000), min(width, 2000), 3)).astype(np.uint8)
    noise = cv2.GaussianBlur(noise, (0, 0), 1.5)
    repeats = (-(-height // noise.shape[0]), -(-width // noise.shape[1]), 1)
    return np.ascontiguousarray(np.tile(noise, repeats)[:height, :width])


def mapping(box):
    centers, scales = box_center_scale(np.array([box], float), INPUT_WH)
    return box_to_crop(centers[0], scales[0], INPUT_WH)


BOXES = {
    "inside": (500, 40, 620, 160),
    "enlarged": (903.3, 51.7, 930.1, 80.2),
    "over the left edge": (-200, 20, 100, 150),
    "over the right edge": (2850, 50, 3300, 190),
    "over all edges": (-100, -100, 3100, 300),
    "far outside": (-900, -900, -800, -800),
}


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("box", BOXES)
def test_the_same_bytes_as_from_the_whole_picture(monkeypatch, box, settings):
    pixels, matrix = textured(200, 3000), mapping(BOXES[box])
    whole = cut_crop(pixels, matrix, INPUT_WH, SETTINGS[settings])
    monkeypatch.setattr(cropping, "LONGEST_SIDE", 2999)
    cut = cut_crop(pixels, matrix, INPUT_WH, SETTINGS[settings])
    np.testing.assert_array_equal(cut, whole)
    assert (whole.max() == 0) == (box == "far outside")


def test_a_region_that_is_too_long_itself_within_a_grey_level(monkeypatch):
    pixels, matrix = textured(400, 20_000), mapping((900.5, 0, 19_100.7, 400))
    whole = cut_crop(pixels, matrix, INPUT_WH, SAPIENS_CROPS)
    monkeypatch.setattr(cropping, "LONGEST_SIDE", 9999)
    cut = cut_crop(pixels, matrix, INPUT_WH, SAPIENS_CROPS)
    assert np.abs(cut.astype(int) - whole).max() <= 1 and (cut != whole).mean() < 0.02 and whole.std() > 10


def dot(length, place, upright):
    """(length, 300) or (300, length) px with a blurred dot, its middle at `place`."""
    x, y = np.arange(length) - place[0], np.arange(300) - place[1]
    grey = np.rint(255 * np.exp(-(y[:, None] ** 2) / 200) * np.exp(-(x**2) / 200)).astype(np.uint8)
    return np.repeat((grey.T if upright else grey)[..., None], 3, axis=2)


def found_xy(pixels, box, settings):
    """The dot's middle in the crop, mapped back to the image as keypoints are."""
    cutter = CropCutter(INPUT_WH[::-1], settings)
    (image,) = dataset_of_arrays([pixels], [np.array([box])], [[CropSpan(0, 0, 1)]], cutter)[0]
    assert not image.failures
    weights = image.crops[0][..., 0].astype(float)
    rows, columns = np.mgrid[: INPUT_WH[1], : INPUT_WH[0]]
    middle = np.array([[[(weights * columns).sum(), (weights * rows).sum()]]]) / weights.sum()
    return heatmap_to_image(middle, image.centers, image.scales, INPUT_WH)[0, 0]


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize("settings", SETTINGS)
def test_a_mark_in_a_long_picture_is_found_where_it_is(upright, settings):
    """To 0.01 px of where it is found in a short one."""
    place, shift = np.array([923.25, 161.75]), np.array([38_000, 0])
    order = slice(None, None, -1 if upright else 1)
    short, long = dot(1200, place, upright), dot(40_000, place + shift, upright)
    for side in (35, 70, 300):  # enlarged, as it is, reduced
        box = np.array([(place - side * 0.9)[order], (place + side)[order]])
        found = found_xy(short, box.ravel(), SETTINGS[settings])
        found_long = found_xy(long, (box + shift[order]).ravel(), SETTINGS[settings])
        assert np.abs(found - place[order]).max() < 0.1
        assert np.abs(found_long - shift[order] - found).max() < 0.01


def test_a_whole_panorama_as_one_box():
    pixels = textured(600, 40_000)
    pixels[:, 30_000:] = 0
    (image,) = dataset_of_arrays([pixels], [None], [[CropSpan(0, 0, 1)]], CropCutter(INPUT_WH[::-1]))[0]
    (crop,) = image.crops
    assert not image.failures and image.image_wh == (40_000, 600)
    matrix = box_to_crop(image.centers[0], image.scales[0], INPUT_WH)
    edges = matrix[0, 0] * np.array([0, 30_000]) + matrix[0, 2]
    lit = np.flatnonzero(crop[INPUT_WH[1] // 2].max(axis=1) > 30)
    assert np.abs(lit[[0, -1]] - edges).max() < 1 and crop[: INPUT_WH[1] // 2 - 2].max() == 0
