"""Reading the tensors out of a PyTorch archive without running anything that is in it.

`torch.save`, `torch.jit.save` and `torch.export.save` all write a zip with a pickled tree and one
raw file per tensor storage. Here the pickle may only build containers and tensors; every other
class or function that it names becomes an inert placeholder. Storages are memory-mapped.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from sapiens_pl.models.mapping import FileMap

_STORAGE_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_EXPORTED_WEIGHTS = "serialized_state_dict.pt"
_LOCAL_HEADER_BYTES = 30
_MAX_PICKLE_BYTES = 256 * 2**20
_MAX_DEPTH = 64
_MAX_NODES = 1_000_000


class BrokenArchiveError(Exception):
    """The file is no PyTorch archive, or a damaged one; the message ends a sentence."""


def read_archive(path: Path) -> dict[str, Tensor]:
    """All tensors of a `.pth`, TorchScript or exported-program file, by dotted name.

    Raises:
        BrokenArchiveError: damaged, compressed or not an archive that holds weights.
    """
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            if _EXPORTED_WEIGHTS in archive.namelist():
                entry = archive.getinfo(_EXPORTED_WEIGHTS)
                start = _data_start(file, entry)
                with archive.open(entry) as inner_file, zipfile.ZipFile(inner_file) as inner:
                    tree = _read_tree(path, inner, inner_file, start)
            else:
                tree = _read_tree(path, archive, file, 0)
    except BrokenArchiveError:
        raise
    except (zipfile.BadZipFile, EOFError, struct.error, NotImplementedError) as error:
        raise BrokenArchiveError(f"its zip structure is broken ({error})") from None
    except (pickle.UnpicklingError, KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        raise BrokenArchiveError(f"its index is broken ({error})") from None
    except (RuntimeError, MemoryError, OverflowError, RecursionError) as error:
        raise BrokenArchiveError(f"a tensor in it cannot be rebuilt ({error})") from None
    return dict(_named_tensors(tree, "", 0, count()))


def _read_tree(path: Path, archive: zipfile.ZipFile, file: IO[bytes], start: int) -> Any:
    indexes = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(indexes) != 1:
        raise BrokenArchiveError("it is a zip without PyTorch's data.pkl")
    if archive.getinfo(indexes[0]).file_size > _MAX_PICKLE_BYTES:
        raise BrokenArchiveError("its index is implausibly large")
    prefix = indexes[0][: -len("data.pkl")]
    if f"{prefix}byteorder" in archive.namelist():
        with archive.open(f"{prefix}byteorder") as entry:  # not all of it: it could unpack to any size
            if entry.read(len("little")) != b"little":
                raise BrokenArchiveError("it was written on a big-endian machine")
    storages = _Storages(path, archive, file, start, f"{prefix}data/")
    return _InertUnpickler(io.BytesIO(archive.read(indexes[0])), storages).load()


def _data_start(file: IO[bytes], entry: zipfile.ZipInfo) -> int:
    """Where an uncompressed entry's bytes begin in the file."""
    if entry.compress_type != zipfile.ZIP_STORED:
        raise BrokenArchiveError("its weights are compressed, which PyTorch never does")
    file.seek(entry.header_offset)
    header = file.read(_LOCAL_HEADER_BYTES)
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    return entry.header_offset + _LOCAL_HEADER_BYTES + name_length + extra_length


class _Storages:
    """An archive's raw tensor files, memory-mapped; each becomes a tensor once."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, file: IO[bytes], start: int, prefix: str) -> None:
        self._path, self._archive, self._file, self._start, self._prefix = path, archive, file, start, prefix
        self._map, self._tensors = FileMap(path), dict[str, Tensor]()

    def get(self, key: str, dtype: torch.dtype) -> Tensor:
        if key not in self._tensors:
            entry = self._archive.getinfo(f"{self._prefix}{key}")
            offset = self._start + _data_start(self._file, entry)
            if entry.file_size == 0:
                return torch.empty(0, dtype=dtype)
            if offset + entry.file_size > self._path.stat().st_size:
                raise BrokenArchiveError("it ends before its weights do")
            self._tensors[key] = self._map.tensor(offset, entry.file_size)
        return self._tensors[key].view(dtype)


class _Inert:
    """Stands in for every class and function that a checkpoint has no business to run."""

    def __init__(self, *args: object, **kwargs: object) -> None: ...

    def __new__(cls, *args: object, **kwargs: object) -> _Inert:
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __call__(self, *args: object, **kwargs: object) -> _Inert:
        return _Inert()

    def append(self, item: object) -> None: ...

    def extend(self, items: object) -> None: ...

    def __setitem__(self, key: object, value: object) -> None: ...


def _rebuild_tensor(storage: Tensor, offset: int, size: tuple, stride: tuple, *_: object) -> Tensor:
    return torch.as_strided(storage, size, stride, offset)


def _rebuild_parameter(data: Tensor, *_: object) -> Tensor:
    return data


class _InertUnpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], storages: _Storages) -> None:
        super().__init__(file, encoding="utf-8")
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_tensor"):
            return _rebuild_tensor
        if module == "torch._utils" and name == "_rebuild_parameter":
            return _rebuild_parameter
        if module == "torch" and name in _STORAGE_DTYPES:
            return _STORAGE_DTYPES[name]
        return _Inert

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, *_ = pid
        if not isinstance(dtype, torch.dtype):
            raise BrokenArchiveError("it holds a tensor of a kind that no Sapiens network has")
        return self._storages.get(str(key), dtype)


def _named_tensors(node: Any, prefix: str, depth: int, visits: Iterator[int]) -> Iterator[tuple[str, Tensor]]:
    """Walks dictionaries and TorchScript modules (whose state is a dictionary of attributes)."""
    if next(visits) > _MAX_NODES:  # a few branches that share their branches make an endless walk
        raise BrokenArchiveError("its index is a maze")
    if isinstance(node, Tensor):
        yield prefix[:-1], node
        return
    children = getattr(node, "state", node) if isinstance(node, _Inert) else node
    if isinstance(children, dict) and depth < _MAX_DEPTH:
        for name, child in children.items():
            yield from _named_tensors(child, f"{prefix}{name}.", depth + 1, visits)
