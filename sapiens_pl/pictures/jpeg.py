"""JPEG: decoded whole, or refused.

libjpeg continues after damage, leaves the rest of the picture grey or misplaced, and only gives a warning.
TurboJPEG reports only the first warning, so harmless causes are removed before it decodes again.
Background: ITU-T T.81, annex B (markers) and G.1 (progressive scans).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
import simplejpeg

from sapiens_pl.core.errors import DamagedImageError, UnreadableImageError
from sapiens_pl.pictures.tags import exif_orientation

_SOI, _EOI, _SOS, _APP0, _APP1, _APP14, _COM = 0xD8, 0xD9, 0xDA, 0xE0, 0xE1, 0xEE, 0xFE
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = (0xC2, 0xCA)
_NO_LENGTH = frozenset(range(0xD0, 0xD9)) | {0x01}
_LEFT_OVER = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_READ_AHEAD = 8
"""Bytes that libjpeg may have taken into its bit buffer before it finds them extraneous."""
_BEYOND_TURBOJPEG = ("color conversion", "subsampling")


class _Segment(NamedTuple):
    """A marker with a content: `data[start:end]`."""

    marker: int
    start: int
    end: int


def jpeg_header(data: bytes) -> tuple[tuple[int, int], int]:
    """Width and height as stored, px, and the orientation (1 to 8).

    Raises:
        ValueError: there is no frame, or no scan.
    """
    wh, orientation = None, 1
    for marker, start, end in _segments(data):
        if marker in _FRAMES and wh is None:
            wh = int.from_bytes(data[start + 3 : start + 5], "big"), int.from_bytes(data[start + 1 : start + 3], "big")
        elif marker == _APP1 and data.startswith(b"Exif\0", start) and orientation == 1:
            orientation = exif_orientation(data[start:end])
    if wh is None or min(wh) == 0:
        raise ValueError("no frame")
    return wh, orientation


def decode_jpeg(data: bytes) -> np.ndarray:
    """(h, w, 3) uint8 BGR as stored.

    Raises:
        DamagedImageError, UnreadableImageError: a sentence without its subject.
    """
    try:
        pixels = simplejpeg.decode_jpeg(data, "BGR")
    except ValueError:
        data, pixels = _decode_in_spite(data)
    if not _is_complete(data):
        raise DamagedImageError("is a JPEG of which scans are missing; fetch it again.")
    # OpenCV's conversion from CMYK to RGB is the reference.
    return _by_opencv(data) if _num_components(data) == 4 else pixels


def _decode_in_spite(data: bytes) -> tuple[bytes, np.ndarray]:
    """The picture of a file with harmless oddities, and the file without them."""
    data = _tidied(data)
    try:
        return data, simplejpeg.decode_jpeg(data, "BGR")
    except ValueError as error:
        complaint = str(error)
    if _is_padding(data, complaint):
        return data, simplejpeg.decode_jpeg(data, "BGR", strict=False)
    has_end = 0 <= data.find(b"\xff\xd9", _first_scan(data)) < len(data) - 2  # one of its own
    if has_end and any(sign in complaint for sign in _BEYOND_TURBOJPEG):
        return data, _by_opencv(data)  # which would not say that a part is missing
    if complaint.startswith("Unsupported JPEG"):  # 12 bits, hierarchical
        raise UnreadableImageError(f"is a kind of JPEG that is not read here ({complaint}); convert or fetch it again.")
    raise _damaged(complaint)


def _by_opencv(data: bytes) -> np.ndarray:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise _damaged("OpenCV gives no picture")
    return pixels


def _damaged(complaint: str) -> DamagedImageError:
    return DamagedImageError(f"is cut off or damaged inside ({complaint}); fetch it again.")


def _segments(data: bytes) -> Iterator[_Segment]:
    """The segments up to the first scan's header, that included; steps over what libjpeg steps over."""
    position = 2
    while position < len(data):
        position = data.find(b"\xff", position)
        if position < 0:
            return
        while position < len(data) and data[position] == 0xFF:
            position += 1
        marker = data[position] if position < len(data) else _EOI
        position += 1
        if marker == _EOI:
            return
        if marker == 0 or marker in _NO_LENGTH:
            continue
        end = position + int.from_bytes(data[position : position + 2], "big")
        if end > len(data) or end < position + 2:
            return
        yield _Segment(marker, position + 2, end)
        if marker == _SOS:
            return
        position = end


def _tidied(data: bytes) -> bytes:
    """The same picture without harmless causes of libjpeg's warnings, and with an end marker."""
    parts, end, sequential = [data[:2]], 2, True
    for marker, start, end in _segments(data):
        content = bytearray(data[start:end])
        if marker == _APP0 and content.startswith(b"JFIF\0") and len(content) > 5:
            content[5] = 1  # an unknown revision
        elif marker == _APP14 and content.startswith(b"Adobe") and len(content) > 11 and content[11] > 2:
            content[11] = 1 if _num_components(data) == 3 else 2  # an unknown transform: YCbCr, YCCK
        elif (marker in range(_APP0, 0xF0) and marker not in (_APP0, _APP14)) or marker == _COM:
            continue
        elif marker == _SOS and sequential:
            content[-3:] = b"\0\x3f\0"  # what says which coefficients come has a meaning in progressive ones only
        sequential = sequential and marker not in _PROGRESSIVE
        parts.append(b"\xff%c%s%s" % (marker, (len(content) + 2).to_bytes(2, "big"), content))
    return b"".join([*parts, data[end:], b"\xff\xd9"])


def _is_padding(data: bytes, complaint: str) -> bool:
    """Whether the only warning is about one byte repeated before the end, as some cameras pad their files.

    Zeros also fill files whose end was never written. Those were decoded before they were left over, so then there
    are many more of them than libjpeg counts.
    """
    found = _LEFT_OVER.search(complaint)
    end = data.find(b"\xff\xd9", _first_scan(data))
    if not found or end < 0:
        return False
    left_over = data[end - int(found[1]) : end]
    num_same = end - len(data[:end].rstrip(left_over[-1:]))
    return 0 <= num_same - len(left_over) <= _READ_AHEAD


def _is_complete(data: bytes) -> bool:
    """Whether the scans hold all bits of every coefficient; a file may lack some and end well."""
    frame = next((segment for segment in _segments(data) if segment.marker in _FRAMES), None)
    position = _first_scan(data)
    if frame is None or position < 0:
        return False
    num_components, progressive = data[frame.start + 5], frame.marker in _PROGRESSIVE
    if not progressive and data[position] == num_components:
        return True
    components = data[frame.start + 6 : frame.end : 3]
    missing = {(component, coefficient) for component in components for coefficient in range(64)}
    end = data.find(b"\xff\xd9", position)
    while position >= 0:
        count = data[position]
        first, last, bits = data[position + 1 + 2 * count : position + 4 + 2 * count] if progressive else (0, 63, 0)
        if bits & 15 == 0:  # down to the lowest bit
            for component in data[position + 1 : position + 1 + 2 * count : 2]:
                missing -= {(component, coefficient) for coefficient in range(first, last + 1)}
        position = data.find(b"\xff\xda", position, end if end >= 0 else len(data))
        position = position + 4 if position >= 0 else -1
    return not missing


def _first_scan(data: bytes) -> int:
    """Where the content of the first scan's header begins, or -1."""
    return next((segment.start for segment in _segments(data) if segment.marker == _SOS), -1)


def _num_components(data: bytes) -> int:
    return next((data[segment.start + 5] for segment in _segments(data) if segment.marker in _FRAMES), 0)
