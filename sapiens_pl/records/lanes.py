"""Threads for what must happen in an order, but need not be waited for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Condition, Thread


class Lanes:
    """Runs requests: within a lane one after the other, in several lanes in parallel.

    A request for a key replaces an earlier one for the same key that has not begun.

    Args:
        do: runs a request, given the key and what to do. It must not raise.
        num_lanes: threads, which begin when there is something to do.
        max_waiting: `ask` waits while there is more.
    """

    def __init__(self, do: Callable[[str, str], None], num_lanes: int, max_waiting: int) -> None:
        self._do, self._max_waiting = do, max_waiting
        self._queues: list[deque[str]] = [deque() for _ in range(num_lanes)]
        self._threads: dict[int, Thread] = {}
        self._asked: dict[str, str] = {}
        self._under_way: set[str] = set()
        self._change = Condition()

    def ask(self, lane: int, key: str, what: str) -> None:
        """May be called by several threads; a key must always use the same lane."""
        with self._change:
            if key not in self._asked:
                self._change.wait_for(lambda: len(self._asked) < self._max_waiting)
                self._queues[lane].append(key)
            self._asked[key] = what
            self._change.notify_all()
            if lane not in self._threads:
                self._threads[lane] = Thread(target=self._work, args=[lane], name=f"outlet {lane}", daemon=True)
                self._threads[lane].start()

    def is_asked(self, key: str) -> bool:
        """True until it is done."""
        with self._change:
            return key in self._asked or key in self._under_way

    def num_left(self) -> int:
        """How much is not done yet."""
        with self._change:
            return len(self._asked) + len(self._under_way)

    def wait(self) -> None:
        """Returns when all is done."""
        with self._change:
            self._change.wait_for(lambda: not self._asked and not self._under_way)

    def _work(self, lane: int) -> None:
        queue = self._queues[lane]
        while True:
            with self._change:
                self._change.wait_for(lambda: bool(queue))
                key = queue.popleft()
                what = self._asked.pop(key)
                self._under_way.add(key)
                self._change.notify_all()
            try:
                self._do(key, what)
            finally:
                with self._change:
                    self._under_way.discard(key)
                    self._change.notify_all()
