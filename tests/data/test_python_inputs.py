"""What people pass to the Python API: the same result from each form that is taken, a sentence for each other."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from sapiens_pl import PoseEstimator, inference_topdown
from sapiens_pl.demo import CHECKPOINT, IMAGES

PATH = str(IMAGES / "one.jpg")
PIXELS = cv2.imread(PATH)
BOX = [[242.73, 0, 441.7, 253.3]]


@pytest.fixture(scope="module")
def estimator():
    return PoseEstimator.from_checkpoint(CHECKPOINT, device="cpu")


@pytest.fixture(scope="module")
def expected(estimator):
    return estimator.predict([PATH], [BOX])[0].keypoints


IMAGE_FORMS = {
    "a path": [PATH],
    "a Path": [Path(PATH)],
    "numpy's text": np.array([PATH]),
    "an array": [PIXELS],
    "another memory order": [np.asfortranarray(PIXELS)],
    "a reversed view": [PIXELS[:, :, ::-1].copy()[:, :, ::-1]],
    "a tuple": (PATH,),
    "a generator": (path for path in [PATH]),
    "an array of several": PIXELS[None],
    "a dict's values": {"a": PATH}.values(),
}


@pytest.mark.parametrize("form", IMAGE_FORMS)
def test_images_that_are_taken(estimator, expected, form):
    [result] = estimator.predict(IMAGE_FORMS[form], [BOX])
    np.testing.assert_array_equal(result.keypoints, expected)


BOX_FORMS = {
    "lists": [BOX],
    "an array": [np.array(BOX)],
    "a tensor": [torch.tensor(BOX, dtype=torch.float64)],
    "a tensor with a gradient": [torch.tensor(BOX, dtype=torch.float64, requires_grad=True)],
    "a tensor of all": torch.tensor([BOX], dtype=torch.float64),
    "rows of tensors": [[torch.tensor(BOX[0], dtype=torch.float64)]],
    "tuples": [[tuple(BOX[0])]],
    "a generator": (boxes for boxes in [BOX]),
}


@pytest.mark.parametrize("form", BOX_FORMS)
def test_boxes_that_are_taken(estimator, expected, form):
    [result] = estimator.predict([PATH], BOX_FORMS[form])
    np.testing.assert_array_equal(result.keypoints, expected)


def test_one_image_and_several_by_the_originals_call(estimator, expected):
    for image in (PATH, Path(PATH), PIXELS):
        np.testing.assert_array_equal(
            inference_topdown(estimator, image, torch.tensor(BOX).double()).keypoints, expected
        )
    for images in ([PATH], (PATH,), PIXELS[None], iter([PATH])):
        [result] = inference_topdown(estimator, images, [BOX])
        np.testing.assert_array_equal(result.keypoints, expected)


WRONG_IMAGES = {
    "PIL": (Image.open(PATH), r"a PIL image \(RGB, 480x640\); .* \(H, W, 3\) uint8 BGR array: np.asarray"),
    "a tensor": (torch.from_numpy(PIXELS), r"a torch tensor of shape \(640, 480, 3\) and dtype uint8; .*numpy\(\)"),
    "None": (None, "None; .*cv2.imread gives None"),
    "bytes": (b"\xff\xd8", "bytes .*cv2.imdecode"),
    "a number": (7, "int 7; pass its path"),
    "a dict": ({"path": PATH}, "dict .*; pass its path"),
    "a list": ([PATH], "list .*; pass its path"),
}


@pytest.mark.parametrize("what", WRONG_IMAGES)
def test_images_of_another_kind(estimator, what):
    image, complaint = WRONG_IMAGES[what]
    with pytest.raises(TypeError, match=f"^image 1 is {complaint}"):
        estimator.predict([PATH, image])
    with pytest.raises(TypeError, match=f"^image 1 is {complaint}"):
        estimator.predict(item for item in [PATH, image])
    if what != "a list":
        with pytest.raises(TypeError, match=f"^image 0 is {complaint}"):
            inference_topdown(estimator, image, BOX)


@pytest.mark.parametrize(
    "images",
    [PATH, Path(PATH), PIXELS, PIXELS[:, :, 0], None, 7, Image.open(PATH), torch.from_numpy(PIXELS), b"", {PATH: BOX}],
    ids=lambda value: type(value).__name__,
)
def test_one_image_where_a_list_is_due(estimator, images):
    with pytest.raises(TypeError, match=r"^images is .* no list of images; pass a list .*inference_topdown"):
        estimator.predict(images)


@pytest.mark.parametrize(
    ("boxes", "error", "complaint"),
    [
        ([BOX[0]], ValueError, r"shape \(4,\); .*one box is \[\[x1, y1, x2, y2\]\]"),
        ([[[*BOX[0], 0.9]]], ValueError, r"shape \(1, 5\); .*boxes\[:, :4\]"),
        ([[BOX]], ValueError, r"shape \(1, 1, 4\)"),
        ([[[0, 0, 5, 5], [1, 2]]], ValueError, r"boxes of .*one.jpg are list .*; give \(N, 4\)"),
        (["people.json"], ValueError, "the path 'people.json'; give"),
        ([[{"bbox": BOX[0]}]], ValueError, "give"),
        ([BOX, BOX], ValueError, "1 images but 2 sets of boxes"),
        ([], ValueError, "1 images but 0 sets of boxes"),
        ("people.json", TypeError, "^boxes is the path 'people.json'; pass a list"),
        ({PATH: BOX}, TypeError, "^boxes is dict"),
        (5, TypeError, "^boxes is int 5"),
    ],
    ids=str,
)
def test_boxes_that_cannot_be_meant(estimator, boxes, error, complaint):
    with pytest.raises(error, match=complaint):
        estimator.predict([PATH], boxes)


@pytest.mark.parametrize(
    "settings", [{"num_workers": -1}, {"num_workers": 1.5}, {"batch_size": 0}, {"batch_size": "8"}]
)
def test_numbers_that_cannot_be_meant(estimator, settings):
    with pytest.raises(ValueError, match=r"must be a whole number of at least \d"):
        estimator.predict([PATH], **settings)


def test_arrays_that_are_no_pixels_harm_nobody_and_hear_what_makes_them_such(estimator, expected):
    wrong = {
        "COLOR_GRAY2BGR": PIXELS[:, :, 0],
        "COLOR_BGRA2BGR": cv2.cvtColor(PIXELS, cv2.COLOR_BGR2BGRA),
        "transpose": PIXELS.transpose(2, 0, 1),
        "astype": PIXELS.astype(np.float32) / 255,
        "empty": PIXELS[:0],
    }
    good, *others = estimator.predict([PATH, *wrong.values()], [BOX] * 6)
    np.testing.assert_array_equal(good.keypoints, expected)
    for hint, result in zip(wrong, others):
        assert hint in result.error and not len(result.keypoints)


def test_a_box_that_holds_nobody_hears_nothing_of_box_files(estimator):
    (result,) = estimator.predict([PATH], [[[50, 50, 10, 90], *BOX]])
    (failure,) = result.failures
    assert len(result.keypoints) == 1 and failure.instance_id == 0
    assert failure.message.endswith("before the left or upper one); give x1, y1, x2, y2 in image px.")
