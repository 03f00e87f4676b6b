"""The images that Python callers have, and their pixels: each kind has one meaning, or is refused with a sentence.

| kind | shape | meaning |
| --- | --- | --- |
| path (`str`, `os.PathLike`), URL | | the file, turned upright as its EXIF orientation says |
| NumPy array | (H, W, 3) uint8 | BGR, as OpenCV has it |
| NumPy array | (H, W) or (H, W, 1) uint8 | grey |
| PIL image | any mode of 8 bits | as it is: an EXIF orientation is not applied, transparency is dropped |
| torch tensor | (3, H, W) uint8, or float from 0 to 1 | RGB, as torchvision gives it |
| torch tensor | (H, W) or (1, H, W), the same numbers | grey |

Boxes and poses are in px of what was passed.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import cv2
import numpy as np
from PIL import Image

from sapiens_pl.core.errors import SapiensError, UnreadableImageError
from sapiens_pl.core.remote import hidden, is_url
from sapiens_pl.core.structures import LoadedImage
from sapiens_pl.pictures import MAX_MEGAPIXELS, read_image

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

ImageLike: TypeAlias = "str | os.PathLike[str] | np.ndarray | Image.Image | torch.Tensor"
WANTED = "a path, an (H, W, 3) uint8 BGR array, a PIL image or a (3, H, W) RGB tensor"
_ORIENTATION = 0x0112
_ROUNDING = 1e-3
"""How far floats may lie outside of 0 to 1, as interpolation in half precision leaves them."""


def is_tensor(value: Any) -> bool:
    """Does not import torch: if it is not imported, no value is a tensor."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def is_one_image(images: Any) -> bool:
    """False for what holds several images: lists, tuples, iterators, arrays of paths or of four dimensions."""
    if isinstance(images, np.ndarray):
        return images.ndim not in (1, 4)  # with one dimension, it may hold paths
    if is_tensor(images):
        return images.ndim != 4
    one = (str, bytes, bytearray, memoryview, os.PathLike, Image.Image, dict, set, frozenset)
    return isinstance(images, one) or not (isinstance(images, Iterator) or hasattr(images, "__iter__"))


def checked_image(index: int, image: Any) -> ImageLike:
    """The image, ready to be read by any process or thread; what is wrong with its pixels is found then.

    Raises:
        TypeError: it is of another kind.
    """
    if isinstance(image, Image.Image):
        with suppress(Exception):  # reading says what it is
            image.load()  # from a file that is open in this process only
    elif is_tensor(image):
        image = image.detach().cpu()
    elif not isinstance(image, (str, os.PathLike, np.ndarray)):
        raise TypeError(f"image {index} is {described(image)}; pass {WANTED}{_hint(image)}.")
    return image


def is_turned(image: Any) -> bool:
    """True for a PIL image with an EXIF orientation that would turn it."""
    if not isinstance(image, Image.Image) or "exif" not in image.info:
        return False
    with suppress(Exception):  # damaged tags say nothing
        return image.getexif().get(_ORIENTATION, 1) in range(2, 9)
    return False


def warn_of_turned(index: int) -> None:
    """Logs the warning; to be called once a call of the API."""
    log.warning(
        "image %d has an EXIF orientation, which is not applied to PIL images: boxes and poses are in px of the image "
        "as it is. PIL.ImageOps.exif_transpose(image) turns it upright; a path would be read upright.",
        index,
    )


def name_of(index: int, image: ImageLike) -> str:
    """The name of an image in results: its path, or its number; of a URL without secrets."""
    if not isinstance(image, (str, os.PathLike)):
        return f"image {index}"
    path = os.fspath(image)
    return hidden(path) if is_url(path) else path


def path_of(image: ImageLike) -> str:
    return os.fspath(image) if isinstance(image, (str, os.PathLike)) else ""


def load_image(name: str, image: ImageLike) -> LoadedImage:
    """The pixels of an image that `checked_image` has let pass.

    Raises:
        UnreadableImageError: an array, an image or a tensor that is not a picture; the sentence says what makes it one.
        SapiensError: as `read_image`, for paths.
    """
    if isinstance(image, (str, os.PathLike)):
        return _of_file(os.fspath(image))
    if isinstance(image, np.ndarray):
        pixels, complaint = _of_array(image)
    elif isinstance(image, Image.Image):
        pixels, complaint = _of_pil(image)
    else:
        pixels, complaint = _of_tensor(image)
    if complaint:
        raise UnreadableImageError(f"{name} {complaint}.")
    if pixels is None or pixels.size == 0:
        raise UnreadableImageError(f"{name} has no pixels; pass an image that has some.")
    return LoadedImage(pixels, 1)


def described(value: Any) -> str:
    """A value that cannot be used, for a sentence."""
    if value is None:
        return "None"
    if isinstance(value, (str, os.PathLike)):
        return f"the path {os.fspath(value)!r}"
    if isinstance(value, Image.Image):
        return f"a PIL image ({value.mode}, {value.width}x{value.height})"
    if is_tensor(value):
        return f"a torch tensor of shape {tuple(value.shape)} and dtype {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    text = " ".join(repr(value).split())
    return f"{type(value).__name__} {text if len(text) <= 60 else f'{text[:60]}...'}"


def _hint(image: Any) -> str:
    if isinstance(image, (bytes, bytearray, memoryview)):
        return " (a file's bytes become one by cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))"
    if image is None:
        return " (cv2.imread gives None for a file that it cannot read)"
    if hasattr(image, "__array__") or hasattr(image, "__dlpack__"):
        return " (np.asarray(...) or torch.from_dlpack(...) makes it one)"
    return ""


def _of_file(path: str) -> LoadedImage:
    if not is_url(path):
        return read_image(path)
    from sapiens_pl.pictures.urls import UrlPictures

    try:
        return UrlPictures.read_path(path, MAX_MEGAPIXELS)
    except SapiensError as error:
        raise type(error)(str(error).replace(path, hidden(path))) from None


def _of_array(array: np.ndarray) -> tuple[np.ndarray | None, str]:
    """(H, W, 3) uint8 BGR; or what is wrong with it, and what makes it a picture."""
    if array.dtype == np.uint8:
        if array.ndim == 3 and array.shape[2] == 3:
            return array, ""
        if array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 1):
            return _of_grey(array), ""
    if array.dtype == np.uint16:
        remedy = "make it 8 bits with (array >> 8).astype(np.uint8)"
    elif array.dtype != np.uint8:
        remedy = "scale it to 0 to 255 and convert it with .astype(np.uint8)"
    elif array.ndim == 3 and array.shape[2] == 4:
        remedy = "convert it with cv2.cvtColor(array, cv2.COLOR_BGRA2BGR), or COLOR_RGBA2BGR"
    elif array.ndim == 3 and array.shape[0] == 3:
        remedy = "convert it with array.transpose(1, 2, 0)"
    else:
        remedy = "convert it"
    has = f"has the shape {array.shape} and dtype {array.dtype}"
    return None, f"{has}, not (height, width, 3) and uint8 (BGR); {remedy}"


def _of_pil(image: Image.Image) -> tuple[np.ndarray | None, str]:
    if image.mode.startswith("I") or image.mode == "F":
        complaint = f"is a PIL image of mode {image.mode}, which has more than 8 bits; scale its values to 0 to 255 and"
        return None, f"{complaint} pass Image.fromarray(values.astype(np.uint8))"
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    return np.ascontiguousarray(np.asarray(rgb)[:, :, ::-1]), ""


def _of_tensor(tensor: torch.Tensor) -> tuple[np.ndarray | None, str]:
    channels = 1 if tensor.ndim == 2 else tensor.shape[0] if tensor.ndim == 3 else 0
    if channels not in (1, 3):
        remedy = "convert it"
        if tensor.ndim == 3 and tensor.shape[2] == 3:
            remedy = "convert it with tensor.permute(2, 0, 1), if its channels are red, green, blue"
        elif channels == 4:
            remedy = "omit its alpha channel: tensor[:3]"
        return None, f"is {described(tensor)}, not (3, height, width); {remedy}"
    import torch

    if tensor.is_floating_point():
        if not tensor.numel():
            return None, ""
        low, high = (float(value) for value in torch.aminmax(tensor.float()))
        if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
            remedy = "divide by 255" if low >= 0 and high > 2 else "pass it as it was before Normalize"
            return None, f"is a tensor of values from {low:.3g} to {high:.3g}, not from 0 to 1; {remedy}"
        tensor = tensor.float().mul(255).round_().clamp_(0, 255).to(torch.uint8)
    if tensor.dtype != torch.uint8:
        return None, f"is {described(tensor)}, not uint8 or floats from 0 to 1; convert it"
    if channels == 1:
        return _of_grey(tensor.reshape(tensor.shape[-2:]).numpy()), ""
    return np.ascontiguousarray(tensor.permute(1, 2, 0).numpy()[:, :, ::-1]), ""


def _of_grey(grey: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(np.ascontiguousarray(grey), cv2.COLOR_GRAY2BGR) if grey.size else grey
