"""What people pass to the Python API: taken where it can be meant in one way only, else refused in a sentence."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from sapiens_pl.boxes.rules import BoxRules
from sapiens_pl.boxes.table import table_of_arrays
from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import UnreadableImageError
from sapiens_pl.core.plan import Pictures, Tasks
from sapiens_pl.core.structures import Failure, LoadedImage
from sapiens_pl.pictures import read_image

ImageLike = str | os.PathLike[str] | np.ndarray
BoxesLike = np.ndarray | torch.Tensor | Sequence[Sequence[float]] | None
_WANTED = "pass its path, or an (H, W, 3) uint8 BGR array"


class PythonImages:
    """Paths and (H, W, 3) uint8 BGR arrays, as a picture source."""

    def __init__(self, images: Sequence[ImageLike]) -> None:
        self._images = images

    def pictures(self) -> Pictures:
        names = Names.of(_name(index, image) for index, image in enumerate(self._images))
        return Pictures("", names, paths=Names.of(map(_path, self._images)))

    def read(self, index: int) -> LoadedImage:
        """Raises UnreadableImageError and what `read_image` raises."""
        image = self._images[index]
        if not isinstance(image, np.ndarray):
            return read_image(os.fspath(image))
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise UnreadableImageError(f"{_name(index, image)} {_no_pixels(image)}.")
        if image.size == 0:
            raise UnreadableImageError(f"{_name(index, image)} is an empty array; pass an image with pixels.")
        return LoadedImage(image, 1)


def _name(index: int, image: ImageLike) -> str:
    return f"image {index}" if isinstance(image, np.ndarray) else os.fspath(image)


def _path(image: ImageLike) -> str:
    return "" if isinstance(image, np.ndarray) else os.fspath(image)


def is_one_image(images: Any) -> bool:
    """False for what holds several images."""
    return is_one_array(images) or not isinstance(images, (list, tuple, np.ndarray, Iterator))


def is_one_array(images: Any) -> bool:
    """An array of four dimensions holds several images, one of one dimension perhaps paths."""
    return isinstance(images, np.ndarray) and images.ndim not in (1, 4)


def checked_images(images: Any) -> list[ImageLike]:
    """The list of images.

    Raises:
        TypeError: one image where a list is due, or an image of another kind; what is wrong with an array of pixels
            is found when it is read, and harms no other image.
    """
    no_list = (str, bytes, os.PathLike, dict, set, frozenset, torch.Tensor)
    if isinstance(images, no_list) or not isinstance(images, Iterable) or is_one_array(images):
        raise TypeError(
            f"images is {_described(images)}, which is no list of images; pass a list of paths or of (H, W, 3) uint8 "
            "BGR arrays, or call inference_topdown(estimator, image, boxes) for one image."
        )
    listed = list(images)
    for index, image in enumerate(listed):
        complaint = _complaint(image)
        if complaint:
            raise TypeError(f"image {index} is {_described(image)}; {complaint}.")
    return listed


def checked_boxes(boxes: Any, num_images: int) -> list[Any]:
    """The boxes of each image.

    Raises:
        TypeError: no list.
        ValueError: not as many as images.
    """
    if boxes is None:
        return [None] * num_images
    if isinstance(boxes, (str, bytes, dict, set)) or not isinstance(boxes, Iterable):
        raise TypeError(f"boxes is {_described(boxes)}; pass a list with the (N, 4) boxes of each image, or None.")
    listed = list(boxes)
    if len(listed) != num_images:
        raise ValueError(f"{num_images} images but {len(listed)} sets of boxes; give one for each image.")
    return listed


def boxed_images(pictures: Pictures, boxes: Sequence[Any]) -> tuple[Tasks, list[list[Failure]]]:
    """The images with their usable boxes, and what is wrong with the others of each image.

    Args:
        pictures: the images'.
        boxes: of each image (N, 4) xyxy, or None for the whole of it.

    Raises:
        ValueError: boxes that are not (N, 4) numbers.
    """
    whole = np.array([of_image is None for of_image in boxes], bool)
    any_box = np.array([[0.0, 0.0, 1.0, 1.0]])
    rows = [
        any_box if of_image is None else _bboxes_xyxy(name, of_image) for name, of_image in zip(pictures.names, boxes)
    ]
    whose = np.repeat(np.arange(len(rows)), [len(of_image) for of_image in rows])
    ruled = BoxRules("xyxy").apply(pictures, whose, table_of_arrays(np.concatenate([np.zeros((0, 4)), *rows])))
    ruled.boxes.bboxes_xyxy[ruled.boxes.offsets[:-1][whole]] = np.nan
    failures: list[list[Failure]] = [[] for _ in rows]
    for index, failure in zip(whose[ruled.places].tolist(), ruled.failures):
        failures[index].append(failure)
    return Tasks(pictures, ruled.boxes), failures


def _bboxes_xyxy(name: str, boxes: Any) -> np.ndarray:
    """(N, 4) float64."""
    if isinstance(boxes, torch.Tensor):
        boxes = boxes.detach().to("cpu", torch.float64).numpy()
    elif isinstance(boxes, (list, tuple)):
        boxes = [box.detach().cpu().tolist() if isinstance(box, torch.Tensor) else box for box in boxes]
    try:
        array = np.asarray(boxes, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"The boxes of {name} are {_described(boxes)}; give (N, 4) xyxy in image px.") from None
    if array.size and (array.ndim != 2 or array.shape[1] != 4):
        hints = {(4,): "; one box is [[x1, y1, x2, y2]]"}
        if array.ndim == 2 and array.shape[1] in (5, 6):
            hints[array.shape] = "; leave scores and classes out: boxes[:, :4]"
        hint = hints.get(array.shape, "")
        raise ValueError(f"The boxes of {name} have the shape {array.shape}; give (N, 4) xyxy in image px{hint}.")
    return array.reshape(-1, 4)


def _complaint(image: Any) -> str:
    """What to pass instead, or nothing for what is taken."""
    if isinstance(image, (str, os.PathLike, np.ndarray)):
        return ""
    if isinstance(image, Image.Image):
        return f"{_WANTED}: np.asarray(image.convert('RGB'))[:, :, ::-1]"
    if isinstance(image, torch.Tensor):
        return f"{_WANTED}: tensor.cpu().numpy(), if it is in that order"
    if isinstance(image, (bytes, bytearray, memoryview)):
        return f"{_WANTED}: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)"
    if image is None:
        return f"{_WANTED} (cv2.imread gives None for a file that it cannot read)"
    return _WANTED


def _described(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, (str, os.PathLike)):
        return f"the path {os.fspath(value)!r}"
    if isinstance(value, Image.Image):
        return f"a PIL image ({value.mode}, {value.width}x{value.height})"
    if isinstance(value, torch.Tensor):
        return f"a torch tensor of shape {tuple(value.shape)} and dtype {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else f'{text[:60]}...'}"


def _no_pixels(array: np.ndarray) -> str:
    """What is wrong with an array that is no (H, W, 3) uint8 BGR pixels, and what makes them of it."""
    if array.dtype != np.uint8:
        remedy = "scale it to 0 to 255 and convert it with .astype(np.uint8)"
    elif array.ndim == 2:
        remedy = "convert it with cv2.cvtColor(array, cv2.COLOR_GRAY2BGR)"
    elif array.ndim == 3 and array.shape[2] == 4:
        remedy = "convert it with cv2.cvtColor(array, cv2.COLOR_BGRA2BGR), or COLOR_RGBA2BGR"
    elif array.ndim == 3 and array.shape[0] == 3:
        remedy = "convert it with array.transpose(1, 2, 0)"
    else:
        remedy = "convert it"
    return f"has the shape {array.shape} and dtype {array.dtype}, not (height, width, 3) and uint8 (BGR); {remedy}"
