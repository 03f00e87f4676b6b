"""What people pass to the Python API: images and the boxes of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from sapiens_pl.boxes.rules import BoxRules
from sapiens_pl.boxes.table import table_of_arrays
from sapiens_pl.core.columns import Names
from sapiens_pl.core.plan import Pictures, Tasks
from sapiens_pl.core.structures import Failure, LoadedImage
from sapiens_pl.data.python_images import (
    ImageLike,
    checked_image,
    described,
    is_turned,
    load_image,
    name_of,
    path_of,
    warn_of_turned,
)

BoxesLike = np.ndarray | torch.Tensor | Sequence[Sequence[float]] | None


class PythonImages:
    """Images that are in memory or lie in files, as a picture source.

    Args:
        images: as `checked_image` lets them pass.
        first: the number of the first one.
    """

    def __init__(self, images: Sequence[ImageLike], first: int = 0) -> None:
        self._images, self._first = images, first

    def pictures(self) -> Pictures:
        names = Names.of(name_of(self._first + index, image) for index, image in enumerate(self._images))
        return Pictures("", names, paths=Names.of(map(path_of, self._images)))

    def read(self, index: int) -> LoadedImage:
        """Raises what `load_image` raises."""
        image = self._images[index]
        return load_image(name_of(self._first + index, image), image)


def checked_images(images: Iterable[Any]) -> list[ImageLike]:
    """The list of images.

    Raises:
        TypeError: an image of another kind; what is wrong with pixels is found when they are read, and harms no other
            image.
    """
    listed = [checked_image(index, image) for index, image in enumerate(images)]
    turned = next((index for index, image in enumerate(listed) if is_turned(image)), None)
    if turned is not None:
        warn_of_turned(turned)
    return listed


def checked_boxes(boxes: Any, num_images: int) -> list[Any]:
    """The boxes of each image.

    Raises:
        TypeError: no list.
        ValueError: not as many as images.
    """
    boxes = some_boxes(boxes)
    if boxes is None:
        return [None] * num_images
    listed = list(boxes)
    if len(listed) != num_images:
        raise ValueError(f"{num_images} images but {len(listed)} sets of boxes; give one for each image.")
    return listed


def some_boxes(boxes: Any) -> Iterable[Any] | None:
    """The boxes of some images, or None for all of them whole.

    Raises:
        TypeError: something else.
    """
    if boxes is not None and (isinstance(boxes, (str, bytes, dict, set)) or not isinstance(boxes, Iterable)):
        raise TypeError(
            f"boxes is {described(boxes)}; pass a list with the (N, 4) boxes of each image, None for whole images, or "
            "'detector'."
        )
    return boxes


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
        raise ValueError(f"The boxes of {name} are {described(boxes)}; give (N, 4) xyxy in image px.") from None
    if array.size and (array.ndim != 2 or array.shape[1] != 4):
        hints = {(4,): "; one box is [[x1, y1, x2, y2]]"}
        if array.ndim == 2 and array.shape[1] in (5, 6):
            hints[array.shape] = "; omit scores and classes: boxes[:, :4]"
        hint = hints.get(array.shape, "")
        raise ValueError(f"The boxes of {name} have the shape {array.shape}; give (N, 4) xyxy in image px{hint}.")
    return array.reshape(-1, 4)
