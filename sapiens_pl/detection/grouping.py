"""Images of all sizes in few passes: those that become equally large inside the network go together."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")


def in_groups(
    items: Sequence[Item], key: Callable[[Item], Hashable], run: Callable[[list[Item]], Sequence[Any]]
) -> list[Any]:
    """What `run` gives for each item, in their order; called once for all items with the same key."""
    groups: dict[Hashable, list[int]] = {}
    for index, item in enumerate(items):
        groups.setdefault(key(item), []).append(index)
    results: list[Any] = [None] * len(items)
    for indices in groups.values():
        for index, result in zip(indices, run([items[index] for index in indices])):
            results[index] = result
    return results
