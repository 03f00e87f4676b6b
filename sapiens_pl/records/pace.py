"""How fast people are posed."""

from __future__ import annotations

import time


class Pace:
    """Crops a second from the end of the first batch to the end of the last: without the start-up."""

    def __init__(self) -> None:
        self._first: float | None = None
        self._last, self._crops = 0.0, 0

    def batch_ends(self, num_crops: int) -> None:
        self._last = time.perf_counter()
        if self._first is None:
            self._first = self._last
        else:
            self._crops += num_crops

    def leave_out(self, seconds: float) -> None:
        """Something else has just been done for so long."""
        if self._first is not None:
            self._first += seconds

    @property
    def crops_per_second(self) -> float | None:
        """None after fewer than two batches."""
        return self._crops / (self._last - self._first) if self._first is not None and self._crops else None
