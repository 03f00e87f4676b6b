"""Reads one span in a process of its own, to see whether that process survives."""

from __future__ import annotations

import math
import mmap
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import torch

from sapiens_pl.core.errors import ReaderDiedError, ReadTimeoutError, SapiensError, StoreRefusedError
from sapiens_pl.core.remote import give_up_within
from sapiens_pl.core.structures import CropSpan
from sapiens_pl.data.dataset import PictureDataset, prepare_worker
from sapiens_pl.data.worker_watch import SHARE_FOR_STORES, START_METHOD, die_with

_POLL_SECONDS = 0.1


class Trial(NamedTuple):
    """How it ended: an `error` of the picture, or what was `read`; neither if the outcome is unknown."""

    error: SapiensError | None = None
    read: Any = None


def try_alone(
    dataset: PictureDataset, span: CropSpan, times: int, read_timeout: float, stopped: Callable[[], bool]
) -> Trial:
    """Reads and cuts a span `times` times in one new process.

    A picture that damages its process may show no sign until the next read.

    Raises:
        StoreRefusedError: the store cannot be read any more; that is not a picture's fault.
    """
    task = dataset.task(span.image_index)
    where = task.path or task.name
    reads = mmap.mmap(-1, 1)  # shared with a forked process, in no file
    context: Any = multiprocessing.get_context(START_METHOD)
    try:
        receiver, sender = context.Pipe(duplex=False)
        given = (dataset, span, times, read_timeout, reads, sender, os.getpid())
        process = context.Process(target=_read, args=given, daemon=True)
        process.start()
    except OSError:  # no room for one process more
        return Trial()
    sender.close()
    read, done, since = None, 0, time.monotonic()
    while process.is_alive() and time.monotonic() - since < read_timeout and not stopped():
        process.join(_POLL_SECONDS)
        read = read or _received(receiver)
        if reads[0] != done:
            done, since = reads[0], time.monotonic()
    read = read or _received(receiver)
    receiver.close()
    if isinstance(read, StoreRefusedError):
        process.join(1)
        raise read
    if process.is_alive():
        process.kill()
        process.join(1)
        if stopped() or done:  # it can be read, and the disk is slow
            return Trial(read=read)
        return Trial(
            ReadTimeoutError(
                f"{where} could not be read within {read_timeout:g} s (data.read_timeout), even alone; check the disk "
                "or the network mount that it lies on."
            )
        )
    if process.exitcode == 0:
        return Trial(read=read)
    how = f"exit code {process.exitcode}"
    if process.exitcode is not None and process.exitcode < 0:
        how = signal.Signals(-process.exitcode).name
    return Trial(ReaderDiedError(f"{where} killed the process that read it, even alone ({how}); replace it."))


def _received(receiver: Connection) -> Any:
    """What has arrived; None if there is nothing yet, or if the pipe broke."""
    with suppress(EOFError, OSError):
        return receiver.recv() if receiver.poll(0) else None


def _read(
    dataset: PictureDataset,
    span: CropSpan,
    times: int,
    read_timeout: float,
    reads: mmap.mmap,
    sender: Connection,
    main_process: int,
) -> None:
    die_with(main_process)
    # As torch does for its workers: the threads of the process that this one was forked from are not here.
    torch.set_num_threads(1)
    prepare_worker(0)
    give_up_within(SHARE_FOR_STORES * read_timeout)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number in range(times):
        signal.alarm(math.ceil(2 * read_timeout))  # in case no process is left to end it
        try:
            image = dataset.cut(span)
        except StoreRefusedError as error:
            sender.send(error)
            return
        reads[0] = number + 1
    with suppress(OSError, MemoryError):  # a failure to report is not the picture's fault
        sender.send(image)
