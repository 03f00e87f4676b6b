"""Small weights files that claim much: each would cost a careless reader minutes, gigabytes or its life."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

WEIGHTS = {
    "backbone.pos_embed": torch.zeros(1, 12, 8),
    "backbone.patch_embed.projection.weight": torch.zeros(8, 3, 16, 16),
    "backbone.layers.0.ln1.weight": torch.zeros(8),
    "backbone.layers.0.ffn.layers.0.0.weight": torch.zeros(8, 8),
    "head.deconv_layers.0.weight": torch.zeros(8, 8, 4, 4),
    "head.final_layer.weight": torch.zeros(17, 8, 1, 1),
}
"""Of a Sapiens v1 network as much as its sizes are read from."""

_TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00"
    b"\x00\x00cpuK\x01tQ"
)
"""The beginning of a tensor in a pickle, up to its storage of one value."""


def bombs() -> dict[str, Callable[[], bytes]]:
    """By name; each under 1.5 MB."""
    return {
        "many_layers.safetensors": lambda: save(WEIGHTS | {"backbone.layers.300000.ln1.weight": torch.zeros(8)}),
        "many_layers.pth": lambda: _saved(WEIGHTS | {f"backbone.layers.{300000}.ln1.weight": torch.zeros(8)}),
        "every_layer.safetensors": _every_layer,
        "long_number.safetensors": lambda: save(WEIGHTS | {f"backbone.layers.{'9' * 5000}.ln1": torch.zeros(8)}),
        "expanded.pth": lambda: _saved(WEIGHTS | {"head.final_layer.weight": torch.zeros(1).expand(2**33, 8, 1, 1)}),
        "aliases.pth": _aliases,
        "no_bytes.safetensors": lambda: save(WEIGHTS | {"backbone.pos_embed": torch.zeros(1, 0, 2**40)}),
        "claimed.pth": lambda: _zip(b"}X\x01\x00\x00\x00a" + _TENSOR + b"K\x00(\x8a\x05\0\0\0\0\x02t(K\x01ttRs."),
        "negative.pth": lambda: _zip(b"}X\x01\x00\x00\x00a" + _TENSOR + b"K\x00(J\xff\xff\xff\xfft(K\x01ttRs."),
        "deep_key.pth": lambda: _zip(b"}(" + b")" + b"\x85" * 900_000 + b"K\x01u."),
        "deep_lists.pth": lambda: _zip(b"]" * 700_000 + b"a" * 699_999 + b"."),
        "deep_dicts.pth": lambda: _zip(b"}" + b"X\x01\x00\x00\x00a}" * 100_000 + b"s" * 100_000 + b"."),
        "deep_state.pth": lambda: _zip(b"cx\ny\n)R" * 100_000 + b"b" * 99_999 + b"."),
        "empty_lists.pth": lambda: _zip(b"(" + b"]" * 1_400_000 + b"l."),
        "packed_lists.pth": lambda: _zip(b"(" + b"]" * 60_000_000 + b"l.", zipfile.ZIP_DEFLATED),
        "packed_order.pth": lambda: _zip(b"}.", zipfile.ZIP_DEFLATED, bytes(2**28)),
        "memo.pth": lambda: _zip(b"}r\xff\xff\xff\x7f" + b"."),
        "long_int.pth": lambda: _zip(b"L" + b"9" * 1_000_000 + b"L\n."),
        "maze.pth": lambda: _zip(b"}" + b"q\x00}(X\x01\x00\x00\x00ah\x00X\x01\x00\x00\x00bh\x00u" * 60 + b"."),
        "long_names.pth": _long_names,
        "long_text.safetensors": lambda: struct.pack("<Q", 2**62) + b"{" + bytes(100),
        "wide_header.safetensors": _wide_header,
        "deep_header.safetensors": lambda: struct.pack("<Q", 2**20) + b'{"a":' + b"[" * (2**20 - 5),
        "deep_config.pt2": lambda: _exported(b"[" * 1_000_000),
        "claimed.pt2": _claimed_export,
        "legacy_size.pth": _legacy_size,
        "legacy_keys.pth": lambda: _legacy(b"]" * 700_000 + b"a" * 699_999 + b"."),
        "many_members.pth": _many_members,
    }


def _saved(weights: dict[str, Tensor]) -> bytes:
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    return buffer.getvalue()


def _zip(index: bytes, packing: int = zipfile.ZIP_STORED, byteorder: bytes = b"little") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + index)
        archive.writestr("a/byteorder", byteorder)
        archive.writestr("a/data/0", bytes(4))
    return buffer.getvalue()


def _every_layer() -> bytes:
    names = ("ln1.weight", "ln1.bias")
    return save(WEIGHTS | {f"backbone.layers.{n}.{name}": torch.zeros(0) for n in range(8000) for name in names})


def _aliases() -> bytes:
    one = torch.zeros(64, 64)
    names = ("ffn.layers.0.0.weight", "ffn.layers.1.weight", "attn.proj.weight", "ln1.weight")
    return _saved(WEIGHTS | {f"backbone.layers.{n}.{name}": one for n in range(1500) for name in names})


def _long_names() -> bytes:
    name = b"X" + struct.pack("<I", 500_000) + b"n" * 500_000 + b"q\x01"
    return _zip(b"}q\x00" + name + b"0" + b"}(h\x01h\x00h\x01h\x00uq\x00" * 10_000 + b".")


def _wide_header() -> bytes:
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({f"t{number}": empty for number in range(20_000)}).encode()
    return struct.pack("<Q", len(header)) + header


def _exported(config: bytes, weight: bytes = bytes(4)) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data/weights/model_weights_config.json", config)
        archive.writestr("a/data/weights/weight_0", weight)
    return buffer.getvalue()


def _claimed_export() -> bytes:
    numbers = {"sizes": [{"as_int": 2**40}], "strides": [{"as_int": 0}], "storage_offset": {"as_int": 0}}
    entry = {"path_name": "weight_0", "use_pickle": False, "tensor_meta": {"dtype": 7, **numbers}}
    return _exported(json.dumps({"config": {"head.final_layer.weight": entry}}).encode())


def _legacy(tree: bytes, rest: bytes = b"") -> bytes:
    facts = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    head = b"".join(pickle.dumps(item, 2) for item in (0x1950A86A20F9469CFC6C, 1001, facts))
    return head + b"\x80\x02" + tree + rest


def _legacy_size() -> bytes:
    tree = b"}X\x01\x00\x00\x00a" + _TENSOR + b"K\x00(K\x01t(K\x01ttRs."
    return _legacy(tree, pickle.dumps(["0"], 2) + struct.pack("<q", 2**62) + bytes(16))


def _many_members() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(10_000):
            archive.writestr(f"a{number}/data.pkl", b"")
    return buffer.getvalue()


def write_bombs(folder: Path) -> list[Path]:
    """Writes them all."""
    paths = []
    for name, make in bombs().items():
        paths.append(folder / name)
        paths[-1].write_bytes(make())
    return paths
