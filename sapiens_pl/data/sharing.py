"""Large arrays go to loader processes that are not forked through shared memory, once, and not as bytes to each.

Forked ones (Linux) see the main process's arrays anyway.
"""

from __future__ import annotations

import warnings
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import torch

_LEAST_BYTES = 1 << 20


class LargeArrays:
    """The arrays that have been sent; each takes shared memory as long as this object exists."""

    def __init__(self) -> None:
        self._sent: dict[int, tuple[np.ndarray, torch.Tensor]] = {}

    def share(self) -> None:
        """From now on, in this process, multiprocessing sends large arrays so."""
        ForkingPickler.register(np.ndarray, self.reduced)

    def reduced(self, array: np.ndarray) -> Any:
        """How an array is pickled."""
        if array.nbytes < _LEAST_BYTES or array.dtype.kind not in "iufb" or not array.flags.c_contiguous:
            return array.__reduce__()
        if id(array) not in self._sent:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it says that the array is not writable; nothing writes to it
                self._sent[id(array)] = array, torch.from_numpy(array).clone().share_memory_()
        return _array_of, (self._sent[id(array)][1],)


def _array_of(tensor: torch.Tensor) -> np.ndarray:
    return tensor.numpy()
