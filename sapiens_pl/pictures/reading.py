"""Reading an image file: upright, whole, or not at all."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable

from sapiens_pl.core.errors import (
    MissingImageError,
    OversizedImageError,
    RemoteError,
    SapiensError,
    StoreRefusedError,
    UnreadableImageError,
)
from sapiens_pl.core.structures import LoadedImage
from sapiens_pl.pictures.header import read_header
from sapiens_pl.pictures.orientation import upright
from sapiens_pl.pictures.pixels import decode

IMAGE_SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff"]
    + [".gif", ".avif", ".jp2", ".ppm", ".pgm", ".pbm"]
)
MAX_MEGAPIXELS = 178.0
"""Pillow's own limit against decompression bombs."""

_MOST_BYTES_PER_PIXEL = 16
_PAUSES_S = (0.5, 2.0)
"""Seconds before the second and the third try."""
_PASSING = frozenset(
    [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY, errno.EREMOTEIO]
    + [errno.ECONNRESET, errno.ECONNABORTED, errno.ECONNREFUSED, errno.ENOTCONN, errno.EPIPE]
    + [errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOMEM, errno.EMFILE, errno.ENFILE]
)
"""Errors of network mounts and full tables that often pass within a moment."""


def read_image(path: str, max_megapixels: float = MAX_MEGAPIXELS) -> LoadedImage:
    """Reads an image as `cv2.imread` would, but never returns half of one.

    Args:
        path: a regular file; anything else is refused, so that a FIFO cannot hang the reader.
        max_megapixels: larger pictures are refused after a look at their header.

    Raises:
        MissingImageError, UnreadableImageError, DamagedImageError, OversizedImageError: with a
            sentence that names the file.
    """
    return image_of(lambda: _read_bytes(path, max_megapixels), path, max_megapixels)


def image_of(read: Callable[[], bytes], path: str, max_megapixels: float) -> LoadedImage:
    """The same from bytes, wherever they lie.

    Args:
        read: gives the picture's bytes; what may pass (a network mount's EIO, say) is tried again. Its SapiensErrors
            are sentences without their subject.
        path: the sentences' subject.
        max_megapixels: as above.
    """
    try:
        data = _read_patiently(read)
        header = read_header(data, max_megapixels)
        return LoadedImage(upright(decode(data, header), header.orientation), header.orientation)
    except (RemoteError, StoreRefusedError):  # their sentences have a subject
        raise
    except SapiensError as error:
        raise type(error)(f"{path} {error}") from None
    except MemoryError:
        raise UnreadableImageError(f"{path} needs more memory than there is to decode; use fewer workers.") from None


def _read_patiently(read: Callable[[], bytes]) -> bytes:
    for attempt, pause in enumerate((*_PAUSES_S, None), 1):
        try:
            return read()
        except (FileNotFoundError, NotADirectoryError):
            raise MissingImageError(
                "does not exist, or is a link to nowhere; correct the name, or put the file there."
            ) from None
        except (OSError, ValueError) as error:
            if pause is None or getattr(error, "errno", None) not in _PASSING:
                reason = getattr(error, "strerror", None) or error
                tries = f"; {attempt} tries" if attempt > 1 else ""
                raise UnreadableImageError(f"cannot be read ({reason}{tries}); check it and its permissions.") from None
            time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def _read_bytes(path: str, max_megapixels: float) -> bytes:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableImageError("is not a regular file; only files are read.")
    most_bytes = check_num_bytes(status.st_size, max_megapixels)  # not opened: some of the kernel's special files hang
    with open(path, "rb") as file:
        data = file.read(status.st_size + 1)
    if len(data) > most_bytes:
        check_num_bytes(len(data), max_megapixels)
    return data


def check_num_bytes(num_bytes: int, max_megapixels: float) -> int:
    """Checks that a picture has bytes, and not more than its limit of pixels can need.

    Raises:
        UnreadableImageError, OversizedImageError: it has none, or more; a sentence without its subject.
    """
    if num_bytes == 0:
        raise UnreadableImageError("is an empty file; fetch it again.")
    most_bytes = int(max_megapixels * 1e6 * _MOST_BYTES_PER_PIXEL)
    if num_bytes > most_bytes:
        raise OversizedImageError(
            f"is a file of {num_bytes / 2**30:.1f} GiB, more than the limit of {max_megapixels:g} "
            "megapixels (data.max_megapixels) can fill; it was not read."
        )
    return most_bytes
