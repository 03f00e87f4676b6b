from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from conftest import COCO, GOLDEN

from sapiens_pl.core.geometry import box_center_scale, box_to_crop, heatmap_to_image, image_to_heatmap

INPUT_WH = (768, 1024)
ROWS = json.loads((GOLDEN / "crops.json").read_text())


def test_centers_and_scales_are_the_originals():
    centers, scales = box_center_scale(np.array([row["box_xyxy"] for row in ROWS]), INPUT_WH)
    assert np.abs(centers - [row["center"] for row in ROWS]).max() < 1e-3
    assert np.abs(scales - [row["scale"] for row in ROWS]).max() < 1e-3


@pytest.mark.parametrize("row", [0, 3, 8])
def test_crops_are_the_originals(row):
    (center,), (scale,) = box_center_scale(np.array([ROWS[row]["box_xyxy"]]), INPUT_WH)
    image = cv2.imread(str(COCO / ROWS[row]["image"]))
    crop = cv2.warpAffine(image, box_to_crop(center, scale, INPUT_WH), INPUT_WH)
    reference = cv2.imread(str(GOLDEN / f"crop_{row:02d}.png"))
    assert np.abs(crop.astype(int) - reference).max() <= 1


def test_wide_and_tall_boxes_get_the_inputs_aspect_and_keep_their_longer_side():
    _, scales = box_center_scale(np.array([[0, 0, 400, 100], [0, 0, 100, 400]]), INPUT_WH)
    np.testing.assert_allclose(scales, [[500, 500 / 0.75], [500 * 0.75, 500]], rtol=1e-6)


def test_image_to_heatmap_and_back_is_a_round_trip():
    rng = np.random.default_rng(0)
    corners = rng.uniform(-500, 4000, (50, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 3000, (50, 2))], axis=1)
    centers, scales = box_center_scale(boxes, INPUT_WH)
    keypoints = rng.uniform(-1000, 8000, (50, 17, 2))
    there = image_to_heatmap(keypoints, centers, scales, (192, 256))
    np.testing.assert_allclose(heatmap_to_image(there, centers, scales, (192, 256)), keypoints, atol=1e-3)


def test_the_crop_shows_a_point_where_the_mapping_says():
    """Against OpenCV itself: a dot in the image lands at the position that the heatmap mapping gives."""
    image = np.zeros((300, 400, 3), np.uint8)
    image[120:123, 250:253] = 255  # its middle is (251, 121)
    (center,), (scale,) = box_center_scale(np.array([[200.0, 60.0, 290.0, 200.0]]), (192, 256))
    crop = cv2.warpAffine(image, box_to_crop(center, scale, (192, 256)), (192, 256))[..., 0].astype(float)
    rows, columns = np.mgrid[:256, :192]
    found = np.array([(crop * columns).sum(), (crop * rows).sum()]) / crop.sum()
    in_image = heatmap_to_image(found[None, None], center[None], scale[None], (192, 256))
    np.testing.assert_allclose(in_image[0, 0], [251, 121], atol=0.1)
