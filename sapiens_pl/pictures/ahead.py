"""Bytes of pictures that are on their way from a store while others are decoded: many requests wait together."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple

_MOST_BYTES = 256 << 20
"""How much a process may have requested or waiting."""


class Request(NamedTuple):
    """`begin` begins to read; `num_bytes` as far as it is known."""

    num_bytes: int
    begin: Callable[[], Future[bytes]]


class Ahead:
    """Requests under way, by the pictures' indices; a forked process starts with none."""

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._coming: dict[int, tuple[int, Future[bytes]]] = {}

    def want(self, requests: Mapping[int, Request]) -> None:
        """Starts those that are not under way yet, in their order and as far as memory allows; drops others."""
        if os.getpid() != self._owner:
            self._owner, self._coming = os.getpid(), {}
        for index in self._coming.keys() - requests.keys():
            self._coming.pop(index)[1].cancel()
        held = sum(num_bytes for num_bytes, _ in self._coming.values())
        for index, request in requests.items():
            if index in self._coming:
                continue
            held += request.num_bytes
            if held > _MOST_BYTES:
                return
            self._coming[index] = request.num_bytes, request.begin()

    def take(self, index: int) -> Future[bytes] | None:
        """What was begun for this picture, if anything was; it may be read again, and is then not under way."""
        if os.getpid() != self._owner:
            return None
        held = self._coming.pop(index, None)
        return None if held is None else held[1]

    def __reduce__(self) -> Any:
        return Ahead, ()
