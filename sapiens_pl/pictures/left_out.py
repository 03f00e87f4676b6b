"""What lies below `data.images` and is no picture of the run, and why: nothing is left out without a word."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Collection, Iterator
from itertools import islice
from typing import Any, NamedTuple

from sapiens_pl.pictures import IMAGE_SUFFIXES

_MOST_LOOKED_INTO = 1000
"""Files of unknown suffix whose first bytes are read; a folder may hold a million, on a slow disk."""
_FIRST_NAMES = 3
_MOST_RUN_FOLDERS = 100
_SIGNATURE_BYTES = 32


def _suffixes(words: str) -> frozenset[str]:
    return frozenset(f".{word}" for word in words.split())


_NOT_READ_HERE = _suffixes(
    "heic heif hif jxl dng cr2 cr3 crw nef nrw arw srf sr2 raf orf rw2 rwl pef srw x3f 3fr erf kdc mrw "
    "raw iiq psd psb svg exr hdr pic tga icb vda vst ico cur icns pcx dcm dicom djvu jls jpx jpm j2k j2c "
    "jpc jpf jxr wdp hdp bpg flif qoi xcf kra ai eps sgi rgb ras sun xbm xpm pam pfm fits fit dds wmf emf "
    "mng jng insp"
)
_VIDEOS = _suffixes(
    "mp4 m4v mov qt avi mkv webm mpg mpeg mpe m2v wmv flv f4v 3gp 3g2 mts m2ts ts vob ogv mxf divx asf "
    "insv lrv 360 h264 h265 hevc y4m"
)
_NO_PICTURES = _suffixes(
    "txt lst list json jsonl ndjson geojson xml csv tsv yaml yml toml ini cfg conf md rst html htm css js "
    "py pyc sh bat ps1 c h cpp m r ipynb log npy npz pt pth pt2 ckpt safetensors onnx pb tflite pkl "
    "pickle joblib h5 hdf5 mat parquet arrow feather db sqlite sqlite3 mdb lmdb tfrecord zip tar gz tgz "
    "bz2 xz zst 7z rar iso pdf doc docx odt xls xlsx ods ppt pptx rtf tex bib wav mp3 flac m4a ogg aac "
    "opus obj mtl ply stl glb gltf fbx bvh c3d ttf otf exe dll so dylib xmp aae thm srt vtt sha256 md5 "
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
    (b"ftyphei", 4, "HEIC", None),
    (b"ftyphev", 4, "HEIC", None),
    (b"ftypmif1", 4, "HEIC", None),
    (b"ftypmsf1", 4, "HEIC", None),
    (b"\x00\x00\x00\x0cJXL ", 0, "JXL", None),
    (b"8BPS\x00\x01", 0, "PSD", None),
)


class Kind(NamedTuple):
    """Why a file is left out: `label` to count by, and `why`, which completes the sentence "NAME ..."."""

    label: str
    why: str


class LeftOut:
    """Filled in by the search for pictures.

    Attributes:
        files: by name, the files that look like pictures or videos and are not read.
        run_folders: names of run folders below the root, which are not searched (an ordered set).
        links: by name, the links to what lies below the root anyway, and the name that this has.
        followed: by name, the links that lead elsewhere, and what stands in each; they are not left out, but another
            time they may lead to other pictures.
        folders: by name, the folders that cannot be listed, and what the operating system says of them.
    """

    def __init__(self) -> None:
        self.files: dict[str, Kind] = {}
        self.run_folders: dict[str, None] = {}
        self.links: dict[str, str] = {}
        self.followed: dict[str, str] = {}
        self.folders: dict[str, str] = {}
        self._looked_into = 0
        self._by_base: dict[str, list[str]] | None = None

    def note_file(self, name: str, path: str) -> None:
        """Takes a file that has no suffix of a picture, if it may be one."""
        kind = self._kind(path)
        if kind is not None:
            self.files[name] = kind

    def _kind(self, path: str) -> Kind | None:
        kind = not_read_here(path)
        if kind is not None or is_no_picture(path):
            return kind
        suffix = os.path.splitext(path)[1].lower()
        self._looked_into += 1
        if self._looked_into > _MOST_LOOKED_INTO:
            return Kind(suffix or "no suffix", "has no suffix of a picture that is read here; rename it if it is one")
        return _by_first_bytes(path, suffix)

    def why(self, key: str, root: str) -> str | None:
        """Why a name or path that somebody asks for is no picture of the run, to complete "NAME ...".

        None if nothing of the kind is known.
        """
        name = os.path.relpath(key, root) if os.path.isabs(key) else os.path.normpath(key)
        if name not in self.files:
            name = self._name_that_ends_alike(name) or name
        if name in self.files:
            return self.files[name].why
        parts = name.split(os.sep)
        if any(part.startswith(".") and part != os.pardir for part in parts):
            return "is hidden (a name that begins with a dot), and hidden files are nobody's pictures"
        for above in _and_above(name):
            path = shortened(os.path.join(root, above))
            if above in self.run_folders:
                return f"lies in the folder of a run ({path}), which is not searched for pictures"
            if above in self.folders:
                return f"lies in {path}, which cannot be listed ({self.folders[above]})"
        return None

    def _name_that_ends_alike(self, name: str) -> str | None:
        if self._by_base is None:
            self._by_base = {}
            for each in self.files:
                self._by_base.setdefault(os.path.basename(each), []).append(each)
        alike = [each for each in self._by_base.get(os.path.basename(name), []) if f"/{each}".endswith(f"/{name}")]
        return alike[0] if len(alike) == 1 else None

    def through_links(self, name: str) -> str:
        """The name without the links that are left out: what `latest/a.jpg` is called where `latest` leads."""
        for above in _and_above(name):
            if above in self.links:
                return os.path.normpath(f"{self.links[above]}{name[len(above) :]}")
        return name

    def sentences(self) -> list[str]:
        """What a person should know of it."""
        said = []
        if self.files:
            counts = Counter(kind.label for kind in self.files.values()).most_common()
            first, kind = next(iter(self.files.items()))
            kinds = ", ".join(f"{count} {label}" for label, count in counts)
            said.append(f"Left out: {_first_few(self.files)} ({kinds}). {shortened(first)} {kind.why}.")
        if self.run_folders:
            said.append(f"Folders of runs are not searched for pictures: {_first_few(self.run_folders)}.")
        if self.links:
            links = _first_few([f"{link} (to {target})" for link, target in self.links.items()])
            said.append(f"Links to what is listed under its own name are left out: {links}.")
        return said

    def account(self) -> dict[str, Any]:
        """The same for `run.json`."""
        counts = Counter(kind.label for kind in self.files.values())
        return {
            "files": dict(counts.most_common()),
            "first_files": list(self.files)[:_FIRST_NAMES],
            "run_folders": list(self.run_folders)[:_MOST_RUN_FOLDERS],
            "links": len(self.links),
            "links_followed": self.followed,
            "folders_not_listed": len(self.folders),
        }


def looks_like_picture(name: str) -> bool:
    """By its suffix; hidden files never do."""
    return name[name.rfind(".") :].lower() in IMAGE_SUFFIXES and not name.startswith(".")


def is_no_picture(name: str) -> bool:
    """True for the suffixes of texts, tables, archives and the like."""
    return os.path.splitext(name)[1].lower() in _NO_PICTURES


def not_read_here(name: str) -> Kind | None:
    """For the suffixes of videos, and of pictures that no decoder here reads."""
    label = os.path.splitext(name)[1].lower()[1:].upper()
    if f".{label.lower()}" in _NOT_READ_HERE:
        return _not_read(label)
    if f".{label.lower()}" in _VIDEOS:
        return Kind(f"{label} (video)", f"is a video ({label}), and only pictures are read; extract its frames")
    return None


def shortened(name: str, most: int = 200) -> str:
    """A name for a sentence: of a very long one the middle is omitted."""
    return name if len(name) <= most else f"{name[: most // 2]}...{name[-most // 2 :]}"


def _first_few(names: Collection[str]) -> str:
    few = ", ".join(map(shortened, islice(names, _FIRST_NAMES)))
    return few if len(names) <= _FIRST_NAMES else f"{few}, ... ({len(names)} in all)"


def _and_above(name: str) -> Iterator[str]:
    """The name and those of the folders that it lies in."""
    while name:
        yield name
        name = name.rpartition(os.sep)[0]


def _not_read(label: str) -> Kind:
    return Kind(label, f"is {label}, a kind of picture that is not read here; convert it to JPEG or PNG")


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
            if right is None:
                return _not_read(label)
            has = f"its suffix is {suffix}" if suffix else "its name has no suffix"
            return Kind(
                f"{label} with suffix {suffix}" if suffix else f"{label} without suffix",
                f"is a {label} picture, but {has}, so it is not taken for one; rename it to end in {right}",
            )
    return None
