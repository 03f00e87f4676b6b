"""Reading the tensors out of PyTorch's files without running anything that is in them.

`torch.save`, `torch.jit.save` and `torch.export.save` write a zip with an index (a pickle, or JSON) and one raw file
per tensor storage; before PyTorch 1.6 `torch.save` wrote several pickles and then the storages, one after another.
Storages are memory-mapped.
"""

from __future__ import annotations

import io
import json
import math
import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from sapiens_pl.core.wording import one_line
from sapiens_pl.models.mapping import FileMap
from sapiens_pl.models.pickles import BrokenArchiveError, Placeholder, Storage, StoredTensor, read_pickle

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""With this pickled number begin files that `torch.save` wrote before the zip form, and still writes on request."""

_EXPORTED_WEIGHTS = "serialized_state_dict.pt"
"""`torch.export.save` of PyTorch 2.1 to 2.7: a file of `torch.save` in the zip."""
_EXPORTED_MODEL = re.compile(r"[^/]+/data/weights/[^/]+\.pt")
"""The same of PyTorch 2.8."""
_EXPORTED_CONFIG = re.compile(r"[^/]+/data/weights/[^/]+_weights_config\.json")
"""PyTorch 2.9 and later: the index of raw files beside it."""
_EXPORTED_DTYPES = {
    **{1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64},
    **{6: torch.float16, 7: torch.float32, 8: torch.float64, 12: torch.bool, 13: torch.bfloat16},
}
_LOCAL_HEADER_BYTES = 30
_MAX_INDEX_BYTES = 64 * 2**20
_MAX_DEPTH = 64
_MAX_NODES = 200_000
_MAX_NAME = 512
_MODULE_PARTS = ("_modules", "_parameters", "_buffers")
"""Where a pickled module keeps its tensors; not part of their names."""


def read_archive(path: Path) -> dict[str, Tensor]:
    """All tensors of a `.pth`, TorchScript or exported-program file, by dotted name.

    Raises:
        BrokenArchiveError: damaged, compressed or not an archive that holds weights.
    """
    try:
        with open(path, "rb") as file:
            if file.read(4) == b"PK\x03\x04":
                return _read_zip(path, file)
            file.seek(0)
            return _read_legacy(path, file)
    except BrokenArchiveError:
        raise
    except (zipfile.BadZipFile, EOFError, struct.error, NotImplementedError, zlib.error) as error:
        raise BrokenArchiveError(f"its zip structure is broken ({one_line(error, 100)})") from None
    except (pickle.UnpicklingError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise BrokenArchiveError(f"its index is broken ({one_line(error, 100)})") from None
    except (RuntimeError, MemoryError, OverflowError) as error:
        raise BrokenArchiveError(f"a tensor in it cannot be rebuilt ({one_line(error, 100)})") from None


def _read_zip(path: Path, file: IO[bytes]) -> dict[str, Tensor]:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        configs = [name for name in names if _EXPORTED_CONFIG.fullmatch(name)]
        whole = [name for name in names if name == _EXPORTED_WEIGHTS or _EXPORTED_MODEL.fullmatch(name)]
        if len(configs) > 1 or len(whole) > 1:
            raise BrokenArchiveError("it holds several exported programs, where one was expected")
        if configs:
            return _read_exported(path, archive, file, configs[0])
        if not whole:
            return _read_saved(path, archive, file, 0)
        entry = archive.getinfo(whole[0])
        start = _data_start(file, entry)
        with archive.open(entry) as inner_file, zipfile.ZipFile(inner_file) as inner:
            return _read_saved(path, inner, inner_file, start)


def _read_saved(path: Path, archive: zipfile.ZipFile, file: IO[bytes], start: int) -> dict[str, Tensor]:
    """The zip of `torch.save` and `torch.jit.save`, which begins at `start` in the file."""
    indexes = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(indexes) != 1:
        raise BrokenArchiveError("it is a zip without PyTorch's data.pkl")
    prefix = indexes[0][: -len("data.pkl")]
    if f"{prefix}byteorder" in archive.namelist() and _read_entry(archive, f"{prefix}byteorder") != b"little":
        raise BrokenArchiveError("it was written on a big-endian machine")
    tree = read_pickle(io.BytesIO(_read_entry(archive, indexes[0])))
    raw = _RawFiles(path, archive, file, start, f"{prefix}data/")
    return _tensors(tree, raw.get)


def _read_exported(path: Path, archive: zipfile.ZipFile, file: IO[bytes], config: str) -> dict[str, Tensor]:
    raw = _RawFiles(path, archive, file, 0, config.rpartition("/")[0] + "/")
    tree = {}
    for name, entry in json.loads(_read_entry(archive, config))["config"].items():
        meta = entry["tensor_meta"]
        if entry["use_pickle"] or meta["dtype"] not in _EXPORTED_DTYPES:
            raise BrokenArchiveError("it holds a tensor of a kind that no network here has")
        size, stride = (tuple(number["as_int"] for number in meta[key]) for key in ("sizes", "strides"))
        storage = Storage(entry["path_name"], _EXPORTED_DTYPES[meta["dtype"]])
        tree[name] = StoredTensor(storage, meta["storage_offset"]["as_int"], size, stride)
    return _tensors(tree, raw.get)


def _read_legacy(path: Path, file: IO[bytes]) -> dict[str, Tensor]:
    if read_pickle(file) != LEGACY_MAGIC:
        raise BrokenArchiveError("it is a pickle, but none that torch.save has written")
    read_pickle(file)  # the form's version, which has always been one
    if read_pickle(file).get("little_endian") is not True:
        raise BrokenArchiveError("it was written on a big-endian machine")
    storages: dict[str, Storage] = {}
    tree = read_pickle(file, storages)
    position, places = 0, {}
    keys = read_pickle(file)
    position, end = file.tell(), path.stat().st_size
    for key in map(str, keys):
        file.seek(position)
        (num_elements,) = struct.unpack("<q", file.read(8))
        length = num_elements * storages[key].dtype.itemsize
        places[key] = position + 8, length
        position += 8 + length
        if num_elements < 0 or position > end:
            raise BrokenArchiveError("it ends before its weights do")
    file_map = FileMap(path)
    return _tensors(tree, lambda key: file_map.tensor(*places[key]))


def _read_entry(archive: zipfile.ZipFile, name: str) -> bytes:
    """A small entry, whole; a compressed one could unpack to any size."""
    entry = archive.getinfo(name)
    if entry.compress_type != zipfile.ZIP_STORED:
        raise BrokenArchiveError("its index is compressed, which PyTorch never does")
    if entry.file_size > _MAX_INDEX_BYTES:
        raise BrokenArchiveError("its index is implausibly large")
    return archive.read(entry)


def _data_start(file: IO[bytes], entry: zipfile.ZipInfo) -> int:
    """Where an uncompressed entry's bytes begin in the file."""
    if entry.compress_type != zipfile.ZIP_STORED:
        raise BrokenArchiveError("its weights are compressed, which PyTorch never does")
    file.seek(entry.header_offset)
    header = file.read(_LOCAL_HEADER_BYTES)
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    return entry.header_offset + _LOCAL_HEADER_BYTES + name_length + extra_length


class _RawFiles:
    """An archive's raw tensor files, memory-mapped."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, file: IO[bytes], start: int, prefix: str) -> None:
        self._path, self._archive, self._file, self._start, self._prefix = path, archive, file, start, prefix
        self._map = FileMap(path)

    def get(self, key: str) -> Tensor:
        entry = self._archive.getinfo(f"{self._prefix}{key}")
        offset = self._start + _data_start(self._file, entry)
        if offset + entry.file_size > self._path.stat().st_size:
            raise BrokenArchiveError("it ends before its weights do")
        return self._map.tensor(offset, entry.file_size)


def _tensors(tree: Any, read_bytes: Callable[[str], Tensor]) -> dict[str, Tensor]:
    """The tensors of a tree by name; `read_bytes` gives (N,) uint8 for a storage's key."""
    storages: dict[str, Tensor] = {}
    tensors = {}
    for name, stored in _named(tree, "", 0, count()):
        key = stored.storage.key
        if key not in storages:  # each becomes one tensor, even if several names share it
            storages[key] = read_bytes(key)
        tensors[name] = _rebuild(stored, storages[key])
    return tensors


def _rebuild(stored: StoredTensor, content: Tensor) -> Tensor:
    dtype = stored.storage.dtype
    if math.prod(stored.size) == 0:
        return torch.empty(stored.size, dtype=dtype)
    if 0 not in stored.stride and math.prod(stored.size) * dtype.itemsize > len(content):
        raise BrokenArchiveError("a tensor in it claims more values than the file has bytes for")
    if content.data_ptr() % dtype.itemsize:  # only an archive that was packed again, or one from before the zip form
        content = content.clone()
    elements = content[: len(content) // dtype.itemsize * dtype.itemsize].view(dtype)
    return torch.as_strided(elements, stored.size, stored.stride, stored.storage.offset + stored.offset)


def _named(node: Any, prefix: str, depth: int, visits: Iterator[int]) -> Iterator[tuple[str, StoredTensor]]:
    """Walks dictionaries and modules, whose state is a dictionary of attributes."""
    if next(visits) > _MAX_NODES:  # a few nodes that share children would make an endless walk
        raise BrokenArchiveError("its index refers to itself again and again")
    if isinstance(node, StoredTensor) and isinstance(node.storage, Storage):
        yield prefix[:-1], node
        return
    children = node.state if isinstance(node, Placeholder) else node
    if isinstance(children, dict) and depth < _MAX_DEPTH and len(prefix) < _MAX_NAME:
        for name, child in children.items():
            if len(name) <= _MAX_NAME:
                longer = prefix if name in _MODULE_PARTS else f"{prefix}{name}."
                yield from _named(child, longer, depth + 1, visits)
