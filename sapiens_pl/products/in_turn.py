"""Reading the frames of videos again in their order, while several threads make products of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

import numpy as np

from sapiens_pl.products.picture_files import Rereading


class Turns:
    """Decodes a video forwards: a read waits until the frames before have been read, or need not be read.

    Args:
        photographs: what reads.
    """

    def __init__(self, photographs: Rereading) -> None:
        self._photographs = photographs
        self._changed = Condition()
        self._num_given = 0
        self._first_open = 0
        self._over: set[int] = set()

    def next(self) -> FrameTurn:
        """The turn of the next frame; to be called in order. Each must be ended, or later ones wait for ever."""
        turn = FrameTurn(self, self._num_given)
        self._num_given += 1
        return turn

    def read(self, number: int, path: str, name: str, pts: int | None) -> np.ndarray:
        """As `Photographs.read`, when it is that frame's turn."""
        with self._changed:
            self._changed.wait_for(lambda: self._first_open == number)
        return self._photographs.read(path, name, pts)

    def end(self, number: int) -> None:
        """That frame need not be read any more; may be called twice."""
        with self._changed:
            if number >= self._first_open:
                self._over.add(number)
            while self._first_open in self._over:
                self._over.remove(self._first_open)
                self._first_open += 1
            self._changed.notify_all()


class FrameTurn:
    """Reads one frame, once for all of its products."""

    def __init__(self, turns: Turns, number: int) -> None:
        self._turns, self._number = turns, number
        self._pixels: np.ndarray | None = None

    def read(self, path: str, name: str = "", pts: int | None = None) -> np.ndarray:
        if self._pixels is None:
            self._pixels = self._turns.read(self._number, path, name, pts)
            self._turns.end(self._number)
        return self._pixels

    @contextmanager
    def until_its_end(self) -> Iterator[None]:
        """When the block ends, other frames no longer wait for this one."""
        try:
            yield
        finally:
            self._turns.end(self._number)
