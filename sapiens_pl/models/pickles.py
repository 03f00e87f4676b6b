"""Reads from a pickle only what describes weights: containers, and where each tensor's bytes lie. Nothing in it runs.

A pickle is a small program for a stack machine. This one builds dictionaries, lists and tuples only; every class or
function that the pickle names becomes a placeholder, but for those that say how a tensor lies in its storage. It
never recurses, takes only strings as keys, and ends after a bounded number of instructions, so that neither deep nor
wide structures cost more than their file could mean.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass, field
from typing import IO, Any, NamedTuple

import torch

STORAGE_DTYPES = {
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
_MAX_INSTRUCTIONS = 300_000
"""The largest published pose checkpoint has some 20 thousand, with the state of its training 100 thousand."""

_MEMO_WRITES = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_MEMO_READS = {"GET", "BINGET", "LONG_BINGET"}
_LITERALS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_NUMBERS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
_TEXTS = {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_BYTES = {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
_ARGUMENTS = _NUMBERS | _TEXTS | _BYTES
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class BrokenArchiveError(Exception):
    """The file is not a PyTorch archive, or a damaged one; the message ends a sentence."""


class Storage(NamedTuple):
    """The raw bytes of some tensors: its key in the file, and where in it a view begins, in elements."""

    key: str
    dtype: torch.dtype
    offset: int = 0


class StoredTensor(NamedTuple):
    """A tensor that is still in the file; sizes, strides and offset in elements, as the file claims them."""

    storage: Storage
    offset: int
    size: tuple
    stride: tuple


@dataclass(eq=False)
class Placeholder:
    """Stands for an object of any other class; TorchScript's modules keep their attributes in `state`."""

    state: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Global:
    module: str
    name: str


def read_pickle(file: IO[bytes], storages: dict[str, Storage] | None = None) -> Any:
    """The tree of the pickle at the file's position, which is then behind it.

    Args:
        storages: gets all that the pickle names, by key.

    Raises:
        BrokenArchiveError: it is too long, or holds a tensor of an unknown kind.
        ValueError, IndexError, KeyError, TypeError: it is damaged.
    """
    return _Machine({} if storages is None else storages).run(file)


class _Machine:
    def __init__(self, storages: dict[str, Storage]) -> None:
        self._storages = storages
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self, file: IO[bytes]) -> Any:
        stack = self._stack
        argument: Any
        for count, (instruction, argument, _) in enumerate(pickletools.genops(file)):
            name = instruction.name
            if count > _MAX_INSTRUCTIONS:
                raise BrokenArchiveError("its index is implausibly large")
            if name == "STOP":
                return stack.pop()
            if name in _ARGUMENTS:
                stack.append(argument)
            elif name in _LITERALS:
                stack.append(_LITERALS[name])
            elif name in _MEMO_WRITES:
                self._memo[len(self._memo) if name == "MEMOIZE" else int(argument)] = stack[-1]
            elif name in _MEMO_READS:
                stack.append(self._memo[int(argument)])
            elif name == "MARK":
                self._marks.append(len(stack))
            elif name in ("APPEND", "APPENDS", "ADDITEMS", "SETITEM", "SETITEMS", "BUILD"):
                self._change(name)
            elif name not in ("PROTO", "FRAME"):
                self._make(name, argument)
        raise ValueError("it has no end")

    def _change(self, name: str) -> None:
        """Moves the top of the stack into the object below it."""
        items = self._take_marked() if name.endswith("S") else self._take(2 if name == "SETITEM" else 1)
        target = self._stack[-1]
        if name == "BUILD":
            if isinstance(target, Placeholder) and isinstance(items[0], dict):
                target.state.update(items[0])
        elif name.startswith("SETITEM"):
            _set_items(target.state if isinstance(target, Placeholder) else target, items)
        elif isinstance(target, list):
            target.extend(items)

    def _make(self, name: str, argument: Any) -> None:
        stack = self._stack
        match name:
            case "EMPTY_TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self._take(_TUPLES[name])))
            case "TUPLE":
                stack.append(tuple(self._take_marked()))
            case "EMPTY_LIST" | "EMPTY_SET":
                stack.append([])
            case "LIST" | "FROZENSET":
                stack.append(self._take_marked())
            case "EMPTY_DICT":
                stack.append({})
            case "DICT":
                stack.append(_set_items({}, self._take_marked()))
            case "GLOBAL":
                stack.append(_Global(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                stack.append(_Global(*self._take(2)))
            case "REDUCE" | "NEWOBJ":
                stack.append(_call(*self._take(2)))
            case "NEWOBJ_EX":
                stack.append(_call(*self._take(3)[:2]))
            case "INST" | "OBJ":
                self._take_marked()
                stack.append(Placeholder())
            case "BINPERSID":
                stack.append(_persistent(self._take(1)[0], self._storages))
            case "POP":
                self._take(1)
            case "POP_MARK":
                self._take_marked()
            case "DUP":
                stack.append(stack[-1])
            case _:
                raise ValueError(f"{name} has no place in it")

    def _take(self, count: int) -> list[Any]:
        start = len(self._stack) - count
        if not 0 <= start <= len(self._stack):
            raise IndexError("it takes more than there is")
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _take_marked(self) -> list[Any]:
        return self._take(len(self._stack) - self._marks.pop())


def _set_items(target: Any, items: list[Any]) -> Any:
    """Only strings are keys here: the hash of a tuple of tuples of tuples could end the process."""
    if isinstance(target, dict):
        target.update((key, value) for key, value in zip(items[::2], items[1::2]) if isinstance(key, str))
    return target


def _call(function: Any, arguments: Any) -> Any:
    """What a function would have made of its arguments, for the few that say how a tensor lies in its storage."""
    if not isinstance(function, _Global) or not isinstance(arguments, tuple):
        return Placeholder()
    module, name = function.module, function.name
    if (module, name) == ("torch._tensor", "_rebuild_from_type_v2") and arguments[0] != function:
        return _call(arguments[0], arguments[2])  # of a tensor with attributes, the tensor
    if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
        storage, offset, size, stride, *_ = arguments
        return StoredTensor(storage, offset, size, stride)
    if module == "torch._utils" and name in ("_rebuild_parameter", "_rebuild_parameter_with_state"):
        return arguments[0]
    if (module, name) == ("collections", "OrderedDict"):
        pairs = arguments[0] if arguments and isinstance(arguments[0], list) else []
        return _set_items({}, [part for pair in pairs for part in pair])
    return Placeholder()


def _persistent(identity: Any, storages: dict[str, Storage]) -> Any:
    """The storage that a tensor names, by which PyTorch keeps the bytes out of the pickle."""
    if identity[0] == "module":  # of the form before zip: a class, with its source
        return identity[1]
    _, kind, key, *others = identity
    dtype = STORAGE_DTYPES.get(kind.name) if isinstance(kind, _Global) else None
    if dtype is None:
        raise BrokenArchiveError("it holds a tensor of a kind that no network here has")
    view = others[2] if len(others) > 2 else None
    storages[str(key)] = Storage(str(key), dtype, view[1] if view else 0)
    return storages[str(key)]
