"""The tensors of a weights file, memory-mapped; no code from the file runs."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import time
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sapiens_pl.core.errors import CheckpointError
from sapiens_pl.core.local_copies import local_copy
from sapiens_pl.core.packed import packing_of
from sapiens_pl.core.remote import is_url
from sapiens_pl.core.wording import one_line
from sapiens_pl.models.archive import LEGACY_MAGIC, read_archive
from sapiens_pl.models.mapping import FileMap
from sapiens_pl.models.pickles import BrokenArchiveError
from sapiens_pl.models.transformers_folder import CONFIG_FILE, SETTINGS_FILES, choose_transformers_weights

_SAFETENSORS_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_DOWNLOAD_AGAIN = "download it again"
_MAX_HEADER_BYTES = 16 * 2**20
_COARSEST_CLOCK_NS = 2_000_000_000
"""Resolution of a file system: changes closer than this may have the same time."""
_DIGESTS: dict[tuple[int, ...], str] = {}
_KINDS = (".safetensors", ".pt2", ".pth", ".pt", ".bin")


def read_tensors(path: Path, setting: str = "model.checkpoint") -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of one file by name, and a safetensors file's metadata.

    Args:
        setting: what names the file, for the sentence.

    Raises:
        CheckpointError: the file is missing, damaged or of an unknown kind.
    """
    try:
        if not path.is_file():
            raise CheckpointError(f"{setting}={path} is not a file; give the path of a downloaded checkpoint.")
        with open(path, "rb") as file:
            start = file.read(512)
    except OSError as error:
        raise CheckpointError(f"{setting}={path} cannot be read ({error.strerror}); fix that and run again.") from None
    try:
        if start[8:9] == b"{":
            return _map_safetensors(path)
        if start.startswith((b"PK\x03\x04", b"\x80", b"L%dL\n" % LEGACY_MAGIC)):  # zip, pickle, pickle's first forms
            return read_archive(path), {}
    except (BrokenArchiveError, SafetensorError, ValueError, LookupError, TypeError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # that one is for an offset that no file has
            raise CheckpointError(
                f"{setting}={path} cannot be read ({error.strerror}); fix that and run again."
            ) from None
        said = one_line(error, 150)
        raise CheckpointError(f"{path} is damaged or incomplete: {said}; {_DOWNLOAD_AGAIN}.") from None
    if (kind := packing_of(start)) is not None:
        raise CheckpointError(f"{path} is packed ({kind}); unpack it and give the file that is in it.")
    if start[257:262] == b"ustar":
        raise CheckpointError(
            f"{path} is a tar file, which only PyTorch before 0.2 wrote (or one that holds the checkpoint: then unpack "
            "it); load it with torch.load where you trust it, save it with torch.save, and give that file."
        )
    raise CheckpointError(
        f"{path} is neither a PyTorch archive nor a safetensors file (is the download complete, "
        "or is it a web page or a Git LFS pointer?); download the checkpoint again."
    )


def _map_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with open(path, "rb") as file:
        if int.from_bytes(file.read(8), "little") > _MAX_HEADER_BYTES:
            raise BrokenArchiveError("its index is implausibly large")
    with safe_open(path, "pt") as file:  # it checks the header against the file's length
        metadata = file.metadata() or {}
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    file_map, tensors = FileMap(path), {}
    for name, entry in header.items():
        if entry["dtype"] not in _SAFETENSORS_DTYPES:
            raise BrokenArchiveError(f"{name} is of the kind {entry['dtype']}, which no network here has")
        begin, end = entry["data_offsets"]
        dtype, shape = _SAFETENSORS_DTYPES[entry["dtype"]], entry["shape"]
        if math.prod(shape) == 0:
            tensors[name] = torch.empty(shape, dtype=dtype)
            continue
        tensors[name] = file_map.tensor(8 + length + begin, end - begin).view(dtype).view(shape)
    return tensors, metadata


def weights_files(checkpoint: Path) -> list[Path]:
    """The file or files that hold a checkpoint's weights: itself, or those in its folder.

    Raises:
        CheckpointError: a folder without weights, or with those of several checkpoints.
    """
    if not checkpoint.is_dir():
        return [checkpoint]
    try:
        inside = sorted(path for path in checkpoint.iterdir() if path.suffix in _KINDS)
    except OSError as error:
        raise CheckpointError(
            f"model.checkpoint={checkpoint} cannot be read ({error.strerror}); fix that and run again."
        ) from None
    if (checkpoint / CONFIG_FILE).is_file():
        names = choose_transformers_weights([path.name for path in inside])
        if names:
            return [checkpoint / name for name in names]
    if len(inside) == 1:
        return inside
    found = "holds no weights" if not inside else f"holds {len(inside)} weights files ({inside[0].name}, ...)"
    raise CheckpointError(f"The folder model.checkpoint={checkpoint} {found}; name the file that you mean.")


def checkpoint_sha256(checkpoint: str | Path) -> str:
    """The SHA-256 of a file, hexadecimal; for a folder that of its weights file, or of all files that are read."""
    path = local_copy(str(checkpoint)) if is_url(checkpoint) else Path(checkpoint).expanduser()
    files = weights_files(path)
    files += [path / name for name in SETTINGS_FILES if (path / name).is_file()]
    if len(files) == 1:
        return file_sha256(files[0])
    parts = [f"{file.name} {file_sha256(file)}" for file in files]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def file_sha256(path: str | Path) -> str:
    """The file's SHA-256, hexadecimal; what was read once is remembered while the file is as it was."""
    path = Path(path).expanduser()
    before = _version(path)
    if before not in _DIGESTS:
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            while chunk := file.read(1 << 24):
                digest.update(chunk)
        if before != _version(path) or time.time_ns() - before[-1] < _COARSEST_CLOCK_NS:
            return digest.hexdigest()  # a next change might not show
        _DIGESTS[before] = digest.hexdigest()
    return _DIGESTS[before]


def _version(path: Path) -> tuple[int, ...]:
    """Changes when a file's content changes; the last number is the time, in ns."""
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
