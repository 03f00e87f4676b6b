"""From a file's bytes to pixels, by the decoder for the format that the header names."""

from __future__ import annotations

import io
import struct
import warnings

import cv2
import numpy as np
from PIL import Image

from sapiens_pl.core.errors import DamagedImageError
from sapiens_pl.pictures.header import ImageHeader, png_chunks
from sapiens_pl.pictures.heif import decode_heif
from sapiens_pl.pictures.jpeg import decode_jpeg
from sapiens_pl.pictures.tags import ORIENTATION, first_tags

_OPTIONAL_IN_OPENCV = ("GIF", "AVIF", "JPEG2000", "TIFF")
"""Formats that OpenCV may be built without, or reads in part; Pillow reads the rest."""
_EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
_COMPRESSION, _CHECKED_COMPRESSIONS = 259, (5, 8, 32946)
"""TIFF's tag; LZW and Deflate (two numbers), for which decoders report damage."""
_HEAVY_CHUNK = 1 << 20
"""Bytes; of a PNG's chunks that do not count for its pixels, libpng refuses those of over 8 MB."""

_BROKEN = "is damaged or ends early; replace it or remove it from the list."


def decode(data: bytes, header: ImageHeader) -> np.ndarray:
    """(h, w, 3) uint8 BGR as stored, as `cv2.imread` would give it.

    Raises:
        DamagedImageError: a sentence without its subject.
    """
    if header.format == "HEIF":
        pixels = decode_heif(data)
    else:
        pixels = decode_jpeg(data) if header.format == "JPEG" else _decode_other(data, header)
    if pixels is None:
        raise DamagedImageError(_BROKEN)
    if pixels.shape[1::-1] != header.wh:
        raise DamagedImageError(
            f"says that it is {_size(header.wh)} px and holds {_size(pixels.shape[1::-1])} px; replace it."
        )
    return pixels


def _size(wh: tuple[int, ...]) -> str:
    return f"{wh[0]}x{wh[1]}"


def _decode_other(data: bytes, header: ImageHeader) -> np.ndarray | None:
    if header.format == "PNG":
        data = _without_heavy_chunks(data)
    elif header.format == "TIFF":
        data = _unturned(data)
    try:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError from None
        pixels = None
    except Exception:  # whatever error a decoder raises for a broken file, the other pictures are read
        pixels = None
    if pixels is None and header.format in _OPTIONAL_IN_OPENCV:
        return _decode_by_pillow(data, header.format)
    if header.format == "TIFF" and _is_broken_tiff(data):
        return None
    return pixels


def _decode_by_pillow(data: bytes, kind: str) -> np.ndarray | None:
    """The first frame."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=[kind]) as image:
                if image.mode not in _EIGHT_BIT_MODES:
                    return None
                return np.asarray(image.convert("RGB"))[..., ::-1]
    except MemoryError:
        raise
    except Exception:  # Pillow's plugins raise errors of any kind
        return None


def _is_broken_tiff(data: bytes) -> bool:
    """Whether the compressed data of a TIFF is invalid: OpenCV then silently returns only the pixels before."""
    compression = first_tags(data).get(_COMPRESSION)
    if compression is None or compression.value not in _CHECKED_COMPRESSIONS:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(data), formats=["TIFF"])
        except Exception:  # a kind that Pillow does not know cannot be asked about
            return False
        try:
            image.load()
        except Exception as error:
            return isinstance(error, OSError)
    return False


def _unturned(data: bytes) -> bytes:
    """A TIFF without its orientation: decoders turn it by themselves, or do not; here it is turned once."""
    tag = first_tags(data).get(ORIENTATION)
    if tag is None or tag.value == 1:
        return data
    changed = bytearray(data)
    struct.pack_into(tag.format, changed, tag.offset, 1)
    return bytes(changed)


def _without_heavy_chunks(data: bytes) -> bytes:
    """A PNG without large texts, profiles and private chunks, for which libpng would refuse it.

    Raises:
        DamagedImageError: a chunk is longer than the file; OpenCV would allocate memory for it, up to 4 GiB.
    """
    chunks = png_chunks(data)
    if any(end > len(data) for _, _, end in chunks):
        raise DamagedImageError(_BROKEN)
    heavy = [(start, end) for kind, start, end in chunks if end - start > _HEAVY_CHUNK and kind[:1].islower()]
    parts, position = [], 0
    for start, end in heavy:
        parts.append(data[position : start - 8])
        position = end + 4
    return b"".join([*parts, data[position:]]) if heavy else data
