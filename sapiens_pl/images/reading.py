"""Reading an image file: upright, whole, or not at all."""

from __future__ import annotations

import io
import os
import stat
import warnings
from typing import NamedTuple

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from sapiens_pl.errors import (
    DamagedImageError,
    MissingImageError,
    OversizedImageError,
    UnreadableImageError,
)
from sapiens_pl.images.orientation import upright

IMAGE_SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff"]
    + [".gif", ".avif", ".jp2", ".ppm", ".pgm", ".pbm"]
)
MAX_MEGAPIXELS = 178.0
"""Pillow's own limit against decompression bombs."""

_MOST_BYTES_PER_PIXEL = 16
_EXIF_ORIENTATION = 0x0112
_ORIENTED_FORMATS = ("JPEG", "MPO", "PNG", "WEBP")
_OPTIONAL_IN_OPENCV = ("GIF", "AVIF", "JPEG2000")
# libjpeg goes on after these and paints the rest of the picture grey.
_JPEG_DAMAGE = ("remature end", "bad Huffman code")


class LoadedImage(NamedTuple):
    """`pixels` (H, W, 3) uint8 BGR, upright; `orientation` is the EXIF value (1 to 8) that was undone."""

    pixels: np.ndarray
    orientation: int


class _Header(NamedTuple):
    format: str
    mode: str
    orientation: int


def read_image(path: str, max_megapixels: float = MAX_MEGAPIXELS) -> LoadedImage:
    """Reads an image as `cv2.imread` would, but never returns half of one.

    Args:
        path: a regular file; anything else is refused, so that a FIFO cannot hang the reader.
        max_megapixels: larger pictures are refused after a look at their header.

    Raises:
        MissingImageError, UnreadableImageError, DamagedImageError, OversizedImageError: with a
            sentence that names the file.
    """
    data = _read_bytes(path, max_megapixels)
    header = _read_header(path, data, max_megapixels)
    pixels = _decode(path, data, header)
    if pixels is None:
        raise DamagedImageError(f"{path} is damaged or ends early; replace it or take it off the list.")
    return LoadedImage(upright(pixels, header.orientation), header.orientation)


def _read_bytes(path: str, max_megapixels: float) -> bytes:
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableImageError(f"{path} is not a regular file; only files are read.")
        if status.st_size > max_megapixels * 1e6 * _MOST_BYTES_PER_PIXEL:
            raise OversizedImageError(
                f"{path} is a file of {status.st_size / 2**30:.1f} GiB, more than the limit of {max_megapixels:g} "
                "megapixels (data.max_megapixels) can fill; it was not read."
            )
        with open(path, "rb") as file:
            data = file.read()
    except (FileNotFoundError, NotADirectoryError):
        raise MissingImageError(f"{path} does not exist; check the list or the box file.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UnreadableImageError(f"{path} cannot be read ({reason}); check it and its permissions.") from None
    if not data:
        raise UnreadableImageError(f"{path} is an empty file; fetch it again.")
    return data


def _read_header(path: str, data: bytes, max_megapixels: float) -> _Header:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                megapixels = image.width * image.height / 1e6
                header = _Header(image.format or "", image.mode, _orientation(image))
    except Image.DecompressionBombError:
        raise OversizedImageError(f"{path} has more pixels than the limit; it was not decoded.") from None
    except Exception:  # Pillow's plugins raise whatever they please on broken headers
        # Nothing is decoded whose size is not known.
        message = f"{path} is no image, or none that can be read here; replace it or take it off the list."
        raise UnreadableImageError(message) from None
    if megapixels > max_megapixels:
        raise OversizedImageError(
            f"{path} has {megapixels:.0f} megapixels, more than the limit of {max_megapixels:g} "
            "(data.max_megapixels); it was not decoded."
        )
    return header


def _orientation(image: Image.Image) -> int:
    if image.format not in _ORIENTED_FORMATS:
        return 1
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))  # `getexif` would decode a whole PNG to look behind its pixels
    except Exception:  # an odd EXIF block is no reason to lose the picture
        return 1
    orientation = exif.get(_EXIF_ORIENTATION, 1)
    return orientation if orientation in range(1, 9) else 1


def _decode(path: str, data: bytes, header: _Header) -> np.ndarray | None:
    if header.format in ("JPEG", "MPO"):
        try:
            pixels = simplejpeg.decode_jpeg(data, "BGR")
            if header.mode in ("RGB", "L"):
                return pixels
        except Exception as error:  # ValueError mostly; what it cannot read, OpenCV may
            if any(sign in str(error) for sign in _JPEG_DAMAGE):
                raise DamagedImageError(f"{path} is cut off or damaged inside ({error}); fetch it again.") from None
    flags = cv2.IMREAD_COLOR
    if header.format in _ORIENTED_FORMATS:
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        if pixels is None and header.format in _OPTIONAL_IN_OPENCV:
            with Image.open(io.BytesIO(data)) as image:  # the first frame
                pixels = np.asarray(image.convert("RGB"))[..., ::-1]
        return pixels
    except Exception:  # whatever a decoder makes of a broken file, the others go on
        return None
