"""HEIC and HEIF, as telephones take photographs, by pillow-heif: an extra, loaded when such a picture is read.

libheif turns a picture as its properties `irot` and `imir` say; where these are there, its EXIF block does not count
(ISO/IEC 23008-12), and where they are not, the picture is not turned: MIAF (ISO/IEC 23000-22) says the same.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from sapiens_pl.core.wording import one_line

HEIF_SUFFIXES = frozenset([".heic", ".heif", ".hif"])
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""Of a file's `ftyp` box; AVIF's, which may stand beside `mif1`, come first."""
_MOST_ITEMS = 4096


@cache
def can_read_heif() -> bool:
    """Whether pillow-heif is installed; it is not loaded."""
    return find_spec("pillow_heif") is not None


def why_no_heif() -> str:
    """Why pillow-heif, which is loaded for this check, cannot read, as a clause; "" if it can."""
    if not can_read_heif():
        return "pillow-heif is not installed: pip install 'sapiens_pl[heif]'"
    try:
        _module()
    except (ImportError, OSError) as error:
        return f"pillow-heif cannot be loaded ({one_line(error)}): pip install --force-reinstall pillow-heif"
    return ""


@cache
def _module() -> Any:
    module = import_module("pillow_heif")
    module.options.DECODE_THREADS = 1  # many loader processes share the cores
    module.options.THUMBNAILS = module.options.DEPTH_IMAGES = module.options.AUX_IMAGES = False
    return module


def heif_sizes(data: bytes) -> list[tuple[int, int]]:
    """Width and height, px, upright, of the picture itself, and then what its boxes say of all items, tiles too.

    Raises:
        Exception: whatever libheif says of a broken file.
    """
    sizes = [tuple(_module().open_heif(data).size)]
    start = data.find(b"ispe")
    while start >= 0 and len(sizes) < _MOST_ITEMS:
        width, height = (int.from_bytes(data[start + at : start + at + 4], "big") for at in (8, 12))
        sizes.append((width, height))
        start = data.find(b"ispe", start + 4)
    return sizes


def decode_heif(data: bytes) -> np.ndarray | None:
    """(h, w, 3) uint8 BGR, upright; transparency is left out, 10 and 12 bits become 8. None if it is damaged."""
    try:
        image = _module().open_heif(data, convert_hdr_to_8bit=True)
        pixels = np.asarray(image)
    except MemoryError:
        raise
    except Exception:  # libheif's errors come as EOFError, ValueError, RuntimeError
        return None
    if pixels.dtype == np.uint16:  # grey of more than 8 bits
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.ndim == 2 or pixels.shape[2] < 3:
        grey = pixels if pixels.ndim == 2 else pixels[..., 0]
        return np.repeat(grey[..., None], 3, axis=2)
    return np.ascontiguousarray(pixels[..., 2::-1])
