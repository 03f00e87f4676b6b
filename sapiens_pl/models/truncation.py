"""Reads parts that a mapped file has lost as zeros; otherwise the system would end the process.

A program that overwrites a weights file (`cp`) truncates it first. The next read of a part of the map that is no longer
in the file is SIGBUS, in whichever thread of a matrix product it happens. With zeros there, the pass ends, and the look
that follows it (`models.watch`) ends the run in order.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

import numpy as np

from sapiens_pl.models.mapping import MAPS

_FIXED = 0x10
"""MAP_FIXED of Linux, which Python does not name."""
_MISTAKES = 1000
"""After so many signals in a row that no file explains, there is another reason."""


@contextmanager
def zeros_for_what_is_cut_off() -> Iterator[None]:
    """On Linux and in the main thread; elsewhere it does nothing.

    The handler that Python installs only writes a byte and returns, and the read is tried again and again until the
    thread here has put zeros in its place. Torch computes without Python's lock, so the thread can.
    """
    if sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.signal(signal.SIGBUS, lambda number, frame: None)
    wakeup_before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    thread = threading.Thread(target=_mend, args=(reading,), daemon=True, name="truncation")
    thread.start()
    _tell_children()
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup_before)
        signal.signal(signal.SIGBUS, before or signal.SIG_DFL)
        os.set_blocking(writing, True)
        os.write(writing, b"\0")
        thread.join()
        os.close(reading)
        os.close(writing)


@cache
def _tell_children() -> None:
    os.register_at_fork(after_in_child=_as_it_was)  # they have no such thread


def _as_it_was() -> None:
    with suppress(ValueError):  # not the main thread
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGBUS, signal.SIG_DFL)


def _mend(reading: int) -> None:
    mistakes = 0
    while b"\0" not in (numbers := os.read(reading, 4096)):
        if signal.SIGBUS in numbers:
            mended = [_put_zeros(map_) for map_ in list(MAPS)]
            mistakes = 0 if any(mended) else mistakes + 1
        if mistakes > _MISTAKES:  # the next one ends the process, as it would have
            ctypes.CDLL(None).signal(int(signal.SIGBUS), None)


def _put_zeros(map_: mmap.mmap) -> bool:
    """True if the map's file is shorter than the map."""
    start = -(-map_.size() // mmap.PAGESIZE) * mmap.PAGESIZE
    if start >= len(map_):
        return False
    libc = ctypes.CDLL(None)
    size, number = ctypes.c_size_t, ctypes.c_int
    libc.mmap.argtypes, libc.mmap.restype = (ctypes.c_void_p, size, number, number, number, ctypes.c_long), size
    address = np.frombuffer(map_, np.uint8).ctypes.data + start
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _FIXED
    libc.mmap(address, len(map_) - start, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0)
    return True
