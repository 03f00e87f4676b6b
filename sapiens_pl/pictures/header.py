"""Reads a file's first bytes: format, size and orientation. Nothing is decoded here."""

from __future__ import annotations

import io
import struct
import warnings
from typing import NamedTuple

from PIL import Image

from sapiens_pl.core.errors import OversizedImageError, UnreadableImageError
from sapiens_pl.pictures.avif import coded_sizes
from sapiens_pl.pictures.heif import HEIF_BRANDS, heif_sizes, why_no_heif
from sapiens_pl.pictures.jpeg import jpeg_header
from sapiens_pl.pictures.tags import ORIENTATION, Tag, exif_orientation, first_tags, valid_orientation

_SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG2000",
    b"\xff\x4f\xff\x51": "JPEG2000",
    **{b"P%d" % kind: "PPM" for kind in range(1, 7)},
}
_FOREIGN = {
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"#?R": "Radiance HDR",
    b"%PDF": "PDF",
    b"8BPS": "Photoshop",
}
_READ_PHOTOMETRICS = (0, 1, 2, 3, 5, 6)
"""TIFF's grey (two), RGB, palette, CMYK and YCbCr; the rest is Lab, raw sensors and masks."""


class ImageHeader(NamedTuple):
    """`format` is Pillow's name, `wh` px as stored, `orientation` 1 to 8 turns them upright."""

    format: str
    wh: tuple[int, int]
    orientation: int


def read_header(data: bytes, max_megapixels: float) -> ImageHeader:
    """What a file is, by its content; the suffix does not count.

    Raises:
        UnreadableImageError, OversizedImageError: sentences without their subject.
    """
    kind = _format(data)
    try:
        if kind == "JPEG":
            wh, orientation = jpeg_header(data)
        elif kind == "PNG":
            wh, orientation = _look_at_png(data)
        elif kind == "TIFF":
            wh, orientation = _look_at_tiff(data, max_megapixels)
        elif kind == "HEIF":
            wh, orientation = _look_at_heif(data, max_megapixels)
        else:
            wh, orientation = _look_by_pillow(data, kind)
    except (ValueError, struct.error):
        raise UnreadableImageError(
            f"begins as {kind}, but its header is damaged or ends early; fetch it again or remove it from the list."
        ) from None
    for size in [wh, *(coded_sizes(data) if kind == "AVIF" else [])]:
        refuse_oversized(size, max_megapixels)
    return ImageHeader(kind, wh, orientation)


def refuse_oversized(wh: tuple[int, int], max_megapixels: float) -> None:
    """Raises OversizedImageError where a picture or a part of it is larger than the limit."""
    megapixels = wh[0] * wh[1] / 1e6
    if megapixels > max_megapixels:
        raise OversizedImageError(
            f"has {megapixels:.0f} megapixels, more than the limit of {max_megapixels:g} "
            "(data.max_megapixels); it was not decoded."
        )


def _format(data: bytes) -> str:
    for signature, kind in _SIGNATURES.items():
        if data.startswith(signature):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        brands = data[8 : min(int.from_bytes(data[:4], "big"), 256)]
        if b"avif" in brands or b"avis" in brands:
            return "AVIF"
        if any(brand in brands for brand in HEIF_BRANDS):
            if reason := why_no_heif():
                raise UnreadableImageError(f"is HEIC, and {reason}; or convert it to JPEG or PNG.")
            return "HEIF"
        raise UnreadableImageError("is a video or a kind of HEIF that is not read here; convert it to JPEG or PNG.")
    if data.startswith(b"<"):
        raise UnreadableImageError("is a web page or XML in a picture's place; fetch the picture itself.")
    for signature, name in _FOREIGN.items():
        if data.startswith(signature):
            raise UnreadableImageError(f"is {name}, which is not read here; convert it to JPEG or PNG.")
    raise UnreadableImageError("is not an image, or none that can be read here; replace it or remove it from the list.")


def _look_at_png(data: bytes) -> tuple[tuple[int, int], int]:
    if data[12:16] != b"IHDR":
        raise ValueError("no IHDR")
    wh = struct.unpack_from(">II", data, 16)
    if min(wh) == 0:
        raise ValueError("no pixels")
    orientation = 1
    if b"eXIf" in data:  # may stand behind the pixels
        blocks = [data[start:end] for kind, start, end in png_chunks(data) if kind == b"eXIf"]
        orientation = exif_orientation(blocks[0]) if blocks else 1
    return wh, orientation


def png_chunks(data: bytes) -> list[tuple[bytes, int, int]]:
    """The chunks of a PNG up to its end: type, first byte of their content and the byte after it."""
    chunks, position = [], 8
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        chunks.append((kind, position + 8, position + 8 + length))
        if kind == b"IEND":
            break
        position += length + 12
    return chunks


def _look_at_tiff(data: bytes, max_megapixels: float) -> tuple[tuple[int, int], int]:
    tags = first_tags(data)
    if 256 not in tags or 257 not in tags or 0 in (tags[256].value, tags[257].value):
        raise ValueError("no size")

    def value(number: int, default: int) -> int:
        return tags.get(number, Tag(default, 0, "")).value

    numbers = {2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}.get(value(339, 1))
    if numbers or value(258, 1) > 16:
        message = f"holds {value(258, 1)}-bit {numbers or 'unsigned'} numbers, which have no agreed black and white"
        raise UnreadableImageError(f"{message}; convert it to 8 bits.")
    if value(262, 1) not in _READ_PHOTOMETRICS:
        message = f"is a TIFF of a kind that is not read here (photometric interpretation {value(262, 1)})"
        raise UnreadableImageError(f"{message}; convert it to RGB.")
    refuse_oversized((value(322, 0), value(323, 0)), max_megapixels)  # a tile is decoded whole
    return (tags[256].value, tags[257].value), valid_orientation(value(ORIENTATION, 1))


def _look_at_heif(data: bytes, max_megapixels: float) -> tuple[tuple[int, int], int]:
    try:
        sizes = heif_sizes(data)
    except Exception:  # libheif's errors are of many kinds
        raise ValueError("HEIF") from None
    for size in sizes:
        refuse_oversized(size, max_megapixels)
    return sizes[0], 1  # libheif has already turned it


def _look_by_pillow(data: bytes, kind: str) -> tuple[tuple[int, int], int]:
    """Of the remaining formats only AVIF and WebP carry an orientation.

    AVIF's is that of its properties `irot` and `imir`; where there are none, its EXIF block does not count (MIAF,
    ISO/IEC 23000-22), and Pillow gives it so.
    """
    Image.init()
    if kind not in Image.OPEN:
        raise UnreadableImageError(f"is {kind}, which this Pillow does not read; install a newer one, or convert it.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=[kind]) as image:
                return image.size, exif_orientation(image.info.get("exif", b""))
    except Image.DecompressionBombError:
        raise OversizedImageError("has more pixels than the limit; it was not decoded.") from None
    except Exception:  # Pillow's plugins raise errors of any kind on broken headers
        raise ValueError(kind) from None
