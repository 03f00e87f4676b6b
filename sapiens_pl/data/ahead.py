"""The next item of an iterator, made in a thread while the last one is used."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")

_BETWEEN_LOOKS_SECONDS = 0.1


class Ahead(Generic[Item]):
    """Stays one item ahead: `begin` starts to make it, `take` returns it.

    Args:
        items: used by one thread at a time.
    """

    def __init__(self, items: Iterator[Item]) -> None:
        self._items = items
        self._thread: threading.Thread | None = None
        self._made: list[Item] = []
        self._error: BaseException | None = None

    def begin(self) -> None:
        # A daemon: a run that ends early does not wait for a plan that is no longer needed.
        self._thread = threading.Thread(target=self._make, name="plan ahead", daemon=True)
        self._thread.start()

    @property
    def is_ready(self) -> bool:
        return self._thread is not None and not self._thread.is_alive()

    @property
    def made(self) -> Item | None:
        """The item, once it is ready; None where there is none."""
        return self._made[-1] if self._made else None

    def take(self, stopped: Callable[[], bool] = lambda: False) -> Item | None:
        """The item; None if there is none or the run was stopped. Errors while it was made are raised here."""
        assert self._thread is not None
        while self._thread.is_alive() and not stopped():
            self._thread.join(_BETWEEN_LOOKS_SECONDS)
        if self._error is not None:
            raise self._error
        return self._made.pop() if self._made else None

    def _make(self) -> None:
        try:
            self._made.append(next(self._items))
        except StopIteration:
            pass
        except BaseException as error:
            self._error = error
