"""Which files are pictures that are read here, and why others are not."""

from __future__ import annotations

import os
import stat
from functools import cache
from importlib import import_module
from importlib.util import find_spec

from sapiens_pl.core.left_out import Kind
from sapiens_pl.core.wording import one_line
from sapiens_pl.pictures import IMAGE_SUFFIXES
from sapiens_pl.pictures.heif import HEIF_SUFFIXES, can_read_heif, why_no_heif

_SIGNATURE_BYTES = 32


def _suffixes(words: str) -> frozenset[str]:
    return frozenset(f".{word}" for word in words.split())


_NOT_READ_HERE = _suffixes(
    "jxl dng cr2 cr3 crw nef nrw arw srf sr2 raf orf rw2 rwl pef srw x3f 3fr erf kdc mrw "
    "raw iiq psd psb svg exr hdr pic tga icb vda vst ico cur icns pcx dcm dicom djvu jls jpx jpm j2k j2c "
    "jpc jpf jxr wdp hdp bpg flif qoi xcf kra ai eps sgi rgb ras sun xbm xpm pam pfm fits fit dds wmf emf "
    "mng jng insp"
)
_VIDEOS = _suffixes(
    "mp4 m4v mov qt avi mkv webm mpg mpeg mpe m2v wmv flv f4v 3gp 3g2 mts m2ts ts vob ogv mxf divx asf "
    "h264 h265 hevc y4m"
)
_OTHER_VIDEOS = {
    ".lrv": "is the small copy of a video that a camera keeps beside it; rename it to .mp4 if it is all there is",
    ".thm": "is the small picture of a video that a camera keeps beside it",
    ".insv": "is a video of two round pictures, which no box fits; convert it with the camera's program",
    ".360": "is a video of two half spheres, which no box fits; convert it with the camera's program",
}
_NO_PICTURES = _suffixes(
    "txt lst list json jsonl ndjson geojson xml csv tsv yaml yml toml ini cfg conf md rst html htm css js "
    "py pyc sh bat ps1 c h cpp m r ipynb log npy npz pt pth pt2 ckpt safetensors onnx pb tflite pkl "
    "pickle joblib h5 hdf5 mat parquet arrow feather db sqlite sqlite3 mdb lmdb tfrecord zip tar gz tgz "
    "bz2 xz zst 7z rar iso pdf doc docx odt xls xlsx ods ppt pptx rtf tex bib wav mp3 flac m4a ogg aac "
    "opus obj mtl ply stl glb gltf fbx bvh c3d ttf otf exe dll so dylib xmp aae srt vtt sha256 md5 "
    "lock bak old orig part crdownload download tmp temp swp cache url lnk desktop ds_store"
)
# (first bytes, where they stand, what they mean, the suffix that such a file should have)
_SIGNATURES = (
    (b"\xff\xd8\xff", 0, "JPEG", ".jpg"),
    (b"\x89PNG\r\n\x1a\n", 0, "PNG", ".png"),
    (b"GIF8", 0, "GIF", ".gif"),
    (b"WEBPVP8", 8, "WebP", ".webp"),
    (b"II*\x00", 0, "TIFF", ".tif"),
    (b"MM\x00*", 0, "TIFF", ".tif"),
    (b"\x00\x00\x00\x0cjP  ", 0, "JPEG 2000", ".jp2"),
    (b"ftypavif", 4, "AVIF", ".avif"),
    (b"ftyphei", 4, "HEIC", ".heic"),
    (b"ftyphev", 4, "HEIC", ".heic"),
    (b"ftypmif1", 4, "HEIC", ".heic"),
    (b"ftypmsf1", 4, "HEIC", ".heic"),
    (b"\x00\x00\x00\x0cJXL ", 0, "JXL", None),
    (b"8BPS\x00\x01", 0, "PSD", None),
)


def looks_like_picture(name: str) -> bool:
    """By its suffix; videos that can be read count as well, hidden files never."""
    suffix = name[name.rfind(".") :].lower()
    with_extras = (suffix in _VIDEOS and can_read_videos()) or (suffix in HEIF_SUFFIXES and can_read_heif())
    return (suffix in IMAGE_SUFFIXES or with_extras) and not name.startswith(".")


def is_video(name: str) -> bool:
    """By its suffix."""
    return name[name.rfind(".") :].lower() in _VIDEOS


@cache
def can_read_videos() -> bool:
    """Whether PyAV is installed; it is not loaded."""
    return find_spec("av") is not None


@cache
def why_no_videos() -> str:
    """Why PyAV, which is loaded for this check, cannot read videos, as a clause; "" if it can."""
    if not can_read_videos():
        return "PyAV is not installed: pip install 'sapiens_pl[video]'"
    try:
        import_module("av")
    except (ImportError, OSError) as error:  # built for another Python or another FFmpeg
        return f"PyAV cannot be loaded ({one_line(error)}): pip install --force-reinstall av"
    return ""


def is_no_picture(name: str) -> bool:
    """True for the suffixes of texts, tables, archives and the like."""
    return os.path.splitext(name)[1].lower() in _NO_PICTURES


def not_read_here(name: str) -> Kind | None:
    """For the suffixes of pictures and videos that no decoder here reads."""
    label = os.path.splitext(name)[1].lower()[1:].upper()
    if f".{label.lower()}" in _NOT_READ_HERE:
        return _not_read(label)
    if f".{label.lower()}" in HEIF_SUFFIXES and not can_read_heif():
        return _no_heif(label)
    if f".{label.lower()}" in _OTHER_VIDEOS:
        return Kind(label, _OTHER_VIDEOS[f".{label.lower()}"])
    if is_video(name) and not can_read_videos():
        return Kind(
            f"{label} (video)",
            f"is a video ({label}), and PyAV, which reads videos, is not installed: pip install 'sapiens_pl[video]'",
        )
    return None


def kind_of(path: str, look_inside: bool) -> Kind | None:
    """The kind of a file that may be a picture although it has no suffix of one; None for others.

    Args:
        look_inside: read the first bytes where the suffix says nothing.
    """
    kind = not_read_here(path)
    if kind is not None or is_no_picture(path):
        return kind
    suffix = os.path.splitext(path)[1].lower()
    if not look_inside:
        return Kind(suffix or "no suffix", "has no suffix of a picture that is read here; rename it if it is one")
    return _by_first_bytes(path, suffix)


def _not_read(label: str) -> Kind:
    return Kind(label, f"is {label}, a kind of picture that is not read here; convert it to JPEG or PNG")


def _no_heif(label: str) -> Kind:
    return Kind(label, f"is {label}, and {why_no_heif()}; or convert it to JPEG or PNG")


def _by_first_bytes(path: str, suffix: str) -> Kind | None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO must not hang the search
        try:
            data = os.read(handle, _SIGNATURE_BYTES) if stat.S_ISREG(os.fstat(handle).st_mode) else b""
        finally:
            os.close(handle)
    except OSError:
        return None
    for signature, start, label, right in _SIGNATURES:
        if data[start : start + len(signature)] == signature:
            if label == "HEIC" and not can_read_heif():
                return _no_heif(label)
            if right is None:
                return _not_read(label)
            has = f"its suffix is {suffix}" if suffix else "its name has no suffix"
            return Kind(
                f"{label} with suffix {suffix}" if suffix else f"{label} without suffix",
                f"is a {label} picture, but {has}, so it is not taken for one; rename it to end in {right}",
            )
    return None
