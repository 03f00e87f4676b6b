"""From portions of a run to one stream of batches: full across their borders, and without a pause between them.

Each portion has a loader and worker processes of its own, so that their memory is freed with it. The next
portion is planned in a thread, and its workers begin when those of the last have got all of their batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import numpy as np

from sapiens_pl.data.ahead import Ahead
from sapiens_pl.data.dataset import Cutter, PictureDataset
from sapiens_pl.data.loader import PictureLoader
from sapiens_pl.data.packing import pack_on
from sapiens_pl.data.portions import Portion
from sapiens_pl.data.stretches import places_among
from sapiens_pl.data.transport import Means

Batch = TypeVar("Batch")
Packed = tuple[Portion, "PictureDataset | None"]
"""Without a dataset where people are still to be looked for."""
LoaderOf = Callable[[PictureDataset, "Means | None"], "PictureLoader[Batch]"]


class Packer(Iterator[Packed]):
    """Packs portions into batches; spans that do not fill one wait for those of the next portion.

    Args:
        first: the first portion.
        to_come: the other portions.
        batch_size: crops a batch.
        cutter: what is made of their pictures.
    """

    def __init__(self, first: Portion, to_come: Iterator[Portion], batch_size: int, cutter: Cutter) -> None:
        self._first: Portion | None = first
        self._to_come, self._batch_size, self._cutter = to_come, batch_size, cutter
        self._carried = np.zeros((0, 3), np.int64)
        self._earlier: tuple[Portion, ...] = ()

    def __next__(self) -> Packed:
        portion, self._first = self._first or next(self._to_come), None
        return portion, None if portion.look else self.pack(portion)

    def pack(self, portion: Portion) -> PictureDataset:
        """The batches of the next portion, which must be known in full."""
        tasks, share, size = portion.tasks, portion.share, self._batch_size
        stretches = places_among(tasks.pictures.stretches, tasks.indices[share])
        numbers, counts = portion.first + share, tasks.num_boxes[share]
        batches, carried = pack_on(self._carried, counts, size, numbers, stretches, portion.is_last)
        dataset = PictureDataset(portion.source, tasks, batches, self._cutter, portion.first, self._earlier)
        self._carried, known = carried, (*self._earlier, portion)
        self._earlier = tuple(
            each for each in known if ((carried[:, 0] >= each.first) & (carried[:, 0] < each.end)).any()
        )
        return dataset


class PortionLoader(Generic[Batch]):
    """Iterates over the batches of one portion after the other, each exactly once.

    Args:
        packer: gives portions and their batches; it is asked for the further ones in a thread. Where people are to be
            looked for, that is done here, between the batches of one portion and those of the next.
        loader_of: makes the loader of a dataset, given the means that the loader before it works with.
        take: called with each portion but the first, before any of its pictures comes.
        stopped: asked before each batch; True ends the iteration.
    """

    def __init__(
        self,
        packer: Packer,
        loader_of: LoaderOf[Batch],
        take: Callable[[Portion], None],
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._packer, self._ahead = packer, Ahead(packer)
        self._loader_of, self._take, self._stopped = loader_of, take, stopped
        portion, dataset = next(packer)
        assert dataset is not None, "its pictures have been looked at"
        self._is_last, self._loader = portion.is_last, loader_of(dataset, None)

    def __len__(self) -> int:
        """Raises TypeError while it is not known."""
        if not self._is_last:
            raise TypeError("the later portions are not planned yet")
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        loader, following = self._loader, None
        try:
            while True:
                loader.begin()
                if not self._is_last:
                    self._ahead.begin()
                for number, batch in enumerate(loader, 1):
                    if following is None and loader.is_all_begun(number) and self._can_follow_at_once:
                        following = self._following(loader.means)
                        if following is not None:
                            following.begin()
                    yield batch
                if following is None and not self._is_last and not self._stopped():
                    following = self._following(loader.means)
                if following is None:
                    return
                loader, following = following, None
        finally:
            for each in (loader, following):
                if each is not None:
                    each.end()

    @property
    def _can_follow_at_once(self) -> bool:
        if not self._ahead.is_ready:
            return False
        made = self._ahead.made
        return made is None or made[1] is not None

    def _following(self, means: Means) -> PictureLoader[Batch] | None:
        packed = self._ahead.take(self._stopped)
        if packed is None:
            return None
        portion, dataset = packed
        portion = portion.with_people()
        self._take(portion)
        self._is_last = portion.is_last
        return self._loader_of(self._packer.pack(portion) if dataset is None else dataset, means)
