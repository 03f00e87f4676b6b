"""Packed files, told by their first bytes."""

from __future__ import annotations

_KINDS = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"7z\xbc": "7z"}


def packing_of(start: bytes) -> str | None:
    """What a file that begins so is packed with; None for others."""
    return next((kind for begin, kind in _KINDS.items() if start.startswith(begin)), None)
