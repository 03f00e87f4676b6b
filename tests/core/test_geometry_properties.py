"""Whatever the box: what the crop shows is where the mapping back says."""

from __future__ import annotations

import numpy as np
from properties import given, positions, st

from sapiens_pl.core.geometry import box_center_scale, box_to_crop, heatmap_to_image, image_to_heatmap
from sapiens_pl.models.keypoint_sets import OURS, our_set
from sapiens_pl.pictures.orientation import upright, upright_bboxes

INPUTS = st.sampled_from([(768, 1024), (192, 256), (48, 64), (256, 256)])
SIDES = st.one_of(st.floats(1, 5000), st.floats(0.01, 1e7))


@st.composite
def boxes(draw):
    """xyxy, of any place and size that float32 can tell apart."""
    left, top = draw(positions()), draw(positions())
    least = max(abs(left), abs(top)) * 1e-4
    width, height = (max(draw(SIDES), least) for _ in range(2))
    return np.array([[left, top, left + width, top + height]])


def closeness(box, padding=1.25):
    """What float32 can tell apart there, px."""
    return 8 * np.finfo(np.float32).eps * padding * max(np.abs(box).max(), np.abs(box[:, 2:] - box[:, :2]).max(), 1)


@given(boxes(), INPUTS)
def test_a_crop_has_the_inputs_aspect_and_shows_all_of_its_box(box, input_wh):
    (center,), (scale,) = box_center_scale(box, input_wh)
    assert np.isfinite(center).all() and (scale > 0).all()
    np.testing.assert_allclose(scale[0] / scale[1], input_wh[0] / input_wh[1], rtol=1e-5)
    corners = np.stack([center - scale / 2, center + scale / 2])
    assert (corners[0] <= box[0, :2] + closeness(box)).all() and (corners[1] >= box[0, 2:] - closeness(box)).all()


@given(boxes(), INPUTS, st.lists(st.tuples(st.floats(-1, 2), st.floats(-1, 2)), min_size=1, max_size=5))
def test_from_the_image_into_the_crop_and_back_is_where_one_was(box, input_wh, parts):
    centers, scales = box_center_scale(box, input_wh)
    inside = np.array(parts) * (np.array(input_wh) - 1)  # also around the crop
    in_image = heatmap_to_image(inside[None], centers, scales, input_wh)
    again = image_to_heatmap(in_image, centers, scales, input_wh)
    np.testing.assert_allclose(again[0], inside, atol=1e-3)
    matrix = box_to_crop(centers[0], scales[0], input_wh).astype(np.float64)
    by_the_crop = in_image[0] @ matrix[:, :2].T + matrix[:, 2]
    px_of_crop = closeness(box) * np.abs(matrix[:, :2]).max() + 1e-3
    np.testing.assert_allclose(by_the_crop, inside, atol=4 * px_of_crop)


@given(st.sampled_from(OURS))
def test_mirrored_twice_each_keypoint_is_itself(name):
    flips = np.array(our_set(name).flip_indices)
    assert (flips[flips] == np.arange(len(flips))).all()


@given(st.integers(1, 8), st.integers(1, 9), st.integers(1, 9), st.data())
def test_a_box_lies_on_the_same_pixels_in_the_upright_picture(orientation, width, height, data):
    raw = np.arange(height * width).reshape(height, width)
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
    turned = upright(raw[..., None], orientation)[..., 0]
    ((x1, y1, x2, y2),) = upright_bboxes(np.array([[left, top, right, bottom]]), orientation, turned.shape[::-1])
    assert set(turned[y1:y2, x1:x2].flat) == set(raw[top:bottom, left:right].flat)
