"""What people pass to the Python API: the same result from each form that is taken, a sentence for each other."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pyarrow
import pytest
import torch
from PIL import Image

from sapiens_pl import PoseEstimator, inference_topdown
from sapiens_pl.demo import CHECKPOINT, IMAGES

PATH = str(IMAGES / "one.jpg")
PIXELS = cv2.imread(PATH)
RGB = np.ascontiguousarray(PIXELS[:, :, ::-1])
TENSOR = torch.from_numpy(RGB.transpose(2, 0, 1).copy())
CALM = io.BytesIO()
Image.fromarray(RGB).save(CALM, "PNG")
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
    "a PIL image": [Image.fromarray(RGB)],
    "a PIL image of a file": [Image.open(CALM)],
    "a PIL image with alpha": [Image.fromarray(RGB).convert("RGBA")],
    "a tensor": [TENSOR],
    "a tensor of another layout": [torch.from_numpy(RGB).permute(2, 0, 1)],
    "a tensor of floats": [TENSOR / 255],
    "a tensor with a gradient": [(TENSOR / 255).requires_grad_()],
    "a tensor of half precision": [(TENSOR / 255).half()],
    "a tensor of several": TENSOR[None],
    "a tuple of tensors": (TENSOR,),
    "a generator of tensors": (tensor for tensor in [TENSOR]),
}


@pytest.mark.parametrize("form", IMAGE_FORMS)
def test_images_that_are_taken(estimator, expected, form):
    [result] = estimator.predict(IMAGE_FORMS[form], [BOX])
    np.testing.assert_array_equal(result.keypoints, expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_all_kinds_in_one_call(estimator, expected, workers):
    kinds = [PATH, PIXELS, Image.open(CALM), TENSOR, TENSOR / 255]
    for images in (kinds, iter(kinds)):
        for result in estimator.predict(images, [BOX] * 5, batch_size=2, num_workers=workers):
            np.testing.assert_array_equal(result.keypoints, expected)


def test_grey_images_of_any_kind_are_the_same(estimator):
    grey = cv2.cvtColor(PIXELS, cv2.COLOR_BGR2GRAY)
    kinds = [grey, grey[:, :, None], Image.fromarray(grey), torch.from_numpy(grey), torch.from_numpy(grey)[None] / 255]
    first, *others = estimator.predict([cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), *kinds], [BOX] * 6)
    for other in others:
        assert other.error is None
        np.testing.assert_array_equal(other.keypoints, first.keypoints)


def test_an_exif_orientation_is_applied_to_paths_alone_and_said_of_pil_images(estimator, tmp_path, caplog):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RGB).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    image = Image.open(tmp_path / "turned.jpg")
    for images in ([tmp_path / "turned.jpg", image, image], iter([tmp_path / "turned.jpg", image, image])):
        caplog.clear()
        of_path, of_image, _ = estimator.predict(images)
        assert of_path.image_wh == (PIXELS.shape[0], PIXELS.shape[1]) and of_image.image_wh == image.size
        (said,) = caplog.messages
        assert said.startswith("image 1 has an EXIF orientation") and "exif_transpose" in said


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


def test_one_image_gives_one_result_and_several_a_list(estimator, expected):
    for call in (estimator.predict, partial(inference_topdown, estimator)):
        for image in (PATH, Path(PATH), PIXELS, Image.fromarray(RGB), TENSOR):
            np.testing.assert_array_equal(call(image, torch.tensor(BOX).double()).keypoints, expected)
        for images in ([PATH], (PATH,), PIXELS[None], TENSOR[None], iter([PATH])):
            [result] = call(images, [BOX])
            np.testing.assert_array_equal(result.keypoints, expected)
        assert call(PATH).bboxes.tolist() == [[0, 0, PIXELS.shape[1], PIXELS.shape[0]]]


WRONG_IMAGES = {
    "None": (None, "None; .*cv2.imread gives None"),
    "bytes": (b"\xff\xd8", "bytes .*cv2.imdecode"),
    "a number": (7, "int 7; pass a path, an "),
    "a dict": ({"path": PATH}, "dict .*; pass a path, an "),
    "a set": ({PATH}, "set .*; pass a path, an "),
    "a list": ([PATH], "list .*; pass a path, an "),
    "another library's array": (pyarrow.array([1]), r"\w+Array .*np.asarray"),
}


@pytest.mark.parametrize("what", WRONG_IMAGES)
def test_images_of_another_kind(estimator, what):
    image, complaint = WRONG_IMAGES[what]
    with pytest.raises(TypeError, match=f"^image 1 is {complaint}"):
        estimator.predict([PATH, image])
    results = estimator.predict(item for item in [PATH, image])
    assert next(results).error is None, "what came before is given"
    with pytest.raises(TypeError, match=f"^image 1 is {complaint}"):
        next(results)
    if what not in ("a list", "another library's array"):
        for call in (estimator.predict, partial(inference_topdown, estimator)):
            with pytest.raises(TypeError, match=f"^image 0 is {complaint}"):
                call(image, BOX)


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
        ("people.json", TypeError, "^boxes is the path 'people.json'; pass a list.*'detector'"),
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
        "COLOR_BGRA2BGR": cv2.cvtColor(PIXELS, cv2.COLOR_BGR2BGRA),
        "transpose": PIXELS.transpose(2, 0, 1),
        "astype": PIXELS.astype(np.float32) / 255,
        ">> 8": PIXELS.astype(np.uint16) << 8,
        "has no pixels": PIXELS[:0],
        "I;16, which has more than 8 bits": Image.fromarray(PIXELS[:, :, 0].astype(np.uint16)),
        "mode F": Image.fromarray(PIXELS[:, :, 0].astype(np.float32)),
        "permute(2, 0, 1)": torch.from_numpy(RGB),
        "tensor[:3]": torch.cat([TENSOR, TENSOR[:1]]),
        "divide by 255": TENSOR.float(),
        "before Normalize": (TENSOR / 255 - 0.45) / 0.22,
        "from nan to nan": TENSOR / 255 * float("nan"),
        "dtype int64, not uint8": TENSOR.long(),
        "is a torch tensor of shape (1, 3, 640, 480)": TENSOR[None],
    }
    good, *others = estimator.predict([PATH, *wrong.values()], [BOX] * (len(wrong) + 1))
    np.testing.assert_array_equal(good.keypoints, expected)
    for number, (hint, result) in enumerate(zip(wrong, others), 1):
        assert result.error.startswith(f"image {number} ") and hint in result.error and not len(result.keypoints)


def test_a_box_that_holds_nobody_hears_nothing_of_box_files(estimator):
    (result,) = estimator.predict([PATH], [[[50, 50, 10, 90], *BOX]])
    (failure,) = result.failures
    assert len(result.keypoints) == 1 and failure.instance_id == 0
    assert failure.message.endswith("before the left or upper one); give x1, y1, x2, y2 in image px.")
