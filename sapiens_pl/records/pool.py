"""A few threads for work that the device must not wait for, with a bounded queue."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Semaphore


class BoundedPool:
    """Runs jobs in threads; `submit` waits while too many are pending, and raises what a job raised.

    Args:
        num_threads: jobs at a time.
        max_waiting: jobs handed over and not yet done, those running included.
    """

    def __init__(self, num_threads: int, max_waiting: int) -> None:
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="writer")
        self._slots = Semaphore(max_waiting)
        self._error: BaseException | None = None

    def submit(self, job: Callable[..., None], *args: object) -> None:
        self.raise_error()
        self._slots.acquire()
        self._threads.submit(job, *args).add_done_callback(self._done)

    def _done(self, future: Future) -> None:
        self._error = self._error or future.exception()
        self._slots.release()

    def raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Waits for all jobs; the first error stays for `raise_error`."""
        self._threads.shutdown(wait=True)
