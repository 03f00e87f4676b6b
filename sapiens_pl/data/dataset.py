"""From planned batches to what is cut out of their pictures; runs in the loader's worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar

import cv2
import numpy as np
from torch.utils.data import Dataset, get_worker_info

from sapiens_pl.core.errors import SapiensError, StoreRefusedError, UnreadableImageError
from sapiens_pl.core.plan import Tasks
from sapiens_pl.core.protocols import PictureSource
from sapiens_pl.core.structures import CropSpan, Failure, ImageTask, LoadedImage
from sapiens_pl.core.wording import one_line
from sapiens_pl.data.lanes import Ends, lane_order, num_lanes
from sapiens_pl.data.packing import Batches
from sapiens_pl.data.portions import Portion, Portions

Cut = TypeVar("Cut")

_BATCHES_AHEAD, _PICTURES_AHEAD = 2, 32
"""At least so many of both: with two small batches alone, a batch would take as long as an answer is on its way."""


class Watch(Protocol):
    """Records what each worker process is reading."""

    def reading(self, worker_id: int, batch: int, position: int) -> None: ...

    def resting(self, worker_id: int) -> None: ...


class Cutter(Protocol[Cut]):
    """What is made of a picture: crops (`crops.CropCutter`), or nothing but the whole of it.

    `done_to_a_picture` completes the sentence "PICTURE could not be ...".
    """

    done_to_a_picture: str

    def bytes_of(self, spans: list[CropSpan]) -> int:
        """What a batch of these spans takes in the end; 0 where that is not known before."""
        ...

    def cut(self, image: LoadedImage, task: ImageTask, span: CropSpan) -> Cut: ...

    def failed(self, span: CropSpan, failure: Failure) -> Cut:
        """The same for a picture that gives nothing."""
        ...

    def batch(self, images: list[Cut]) -> Any:
        """A batch of what was cut."""
        ...


class PictureDataset(Dataset, Generic[Cut]):
    """Item i is the i-th planned batch: each of its images decoded once, and cut.

    Args:
        source: reads the pictures.
        tasks: those of the run.
        batches: the plan, as `packing.pack_batches` makes it; `arrange` brings it into another order.
        cutter: what is made of them.
        first: the number of the first task, as the batches count.
        earlier: what has the tasks of lower numbers.
    """

    def __init__(
        self,
        source: PictureSource,
        tasks: Tasks,
        batches: Batches,
        cutter: Cutter[Cut],
        first: int = 0,
        earlier: Iterable[Portion] = (),
    ) -> None:
        self.source, self.tasks, self.batches, self.cutter = source, tasks, batches, cutter
        self.first, self._earlier = first, Portions(earlier)
        self._planned, self._order = batches, np.arange(len(batches))
        self.condemned: dict[int, Failure] = {}
        """Images that no process shall touch again, by index."""
        self.read_alone: dict[CropSpan, Cut] = {}
        """What a process of its own has read, where the workers died again and again."""
        self.watch: Watch | None = None

    def __len__(self) -> int:
        return len(self.batches)

    @property
    def batch_bytes(self) -> int:
        """What a full batch takes; 0 where that is not known before."""
        return self.cutter.bytes_of(self.batches[int(self.batches.num_crops.argmax())]) if len(self.batches) else 0

    def arrange(self, start: int, num_workers: int) -> int:
        """Puts the batches from a position on into the order in which each of so many workers reads forwards.

        Returns:
            How many workers are of use: for a short video, fewer than `num_workers`.
        """
        stretches = self.tasks.pictures.stretches
        if stretches is None or start >= len(self) or not len(self.tasks):
            return num_workers
        left = np.sort(self._order[start:])
        batches = self._planned.select(left)
        # The rest of an earlier portion comes first in any case.
        ends = Ends(*(self.tasks.indices[np.maximum(of_batch - self.first, 0)] for of_batch in batches.ends))
        lanes = num_lanes(ends, stretches, len(np.unique(batches.spans[:, 0])), num_workers)
        self._order[start:] = left[lane_order(len(left), max(lanes, 1))]
        self.batches = self._planned.select(self._order)
        return lanes

    def __getitem__(self, index: int) -> list[Cut]:
        worker = get_worker_info()
        self._read_ahead(index, 1 if worker is None else worker.num_workers)
        if self.watch is None or worker is None:
            return [self._image(span) for span in self.batches[index]]
        images = []
        for position, span in enumerate(self.batches[index]):
            self.watch.reading(worker.id, index, position)
            images.append(self._image(span))
        self.watch.resting(worker.id)
        return images

    def task(self, number: int) -> ImageTask:
        """The task of an image, as the batches count."""
        return self._earlier[number] if number < self.first else self.tasks[number - self.first]

    def _read(self, number: int) -> LoadedImage:
        if number < self.first:
            return self._earlier.of(number).read(number)
        return self.source.read(int(self.tasks.indices[number - self.first]))

    def _read_ahead(self, index: int, step: int) -> None:
        """Tells a source that mostly waits what is read now, and what this process reads next."""
        ahead = getattr(self.source, "ahead", None)
        if ahead is None:
            return
        wanted: list[int] = []
        for place, batch in enumerate(range(index, len(self), step)):
            if place >= _BATCHES_AHEAD and len(wanted) >= _PICTURES_AHEAD:
                break
            wanted += [span.image_index for span in self.batches[batch] if span not in self.read_alone]
        own = [number - self.first for number in wanted if number >= self.first and number not in self.condemned]
        ahead([int(self.tasks.indices[place]) for place in own])

    def _image(self, span: CropSpan) -> Cut:
        return self.read_alone[span] if span in self.read_alone else self.cut(span)

    def cut(self, span: CropSpan) -> Cut:
        """Reads one image and cuts it; whatever is wrong with it stays its own failure."""
        if span.image_index in self.condemned:
            return self.cutter.failed(span, self.condemned[span.image_index])
        number = span.image_index
        return cut_picture(self.cutter, lambda: self._read(number), self.task(number), span)


def cut_picture(cutter: Cutter[Cut], read: Callable[[], LoadedImage], task: ImageTask, span: CropSpan) -> Cut:
    """Reads one image and cuts it; whatever is wrong with it stays its own failure."""
    try:
        return cutter.cut(read(), task, span)
    except StoreRefusedError:  # not a picture's fault: the run stops
        raise
    except SapiensError as error:
        return cutter.failed(span, Failure(task.name, None, type(error).__name__, str(error)))
    except Exception as error:  # libraries raise errors of any kind, and the other images must not be affected
        what = f"{task.path or task.name} could not be {cutter.done_to_a_picture}"
        message = f"{what} ({type(error).__name__}: {one_line(error)}); check the image."
        return cutter.failed(span, Failure(task.name, None, UnreadableImageError.__name__, message))


def prepare_worker(worker_id: int) -> None:
    """Keeps OpenCV to one thread a worker and silent: its warnings are in our failures."""
    cv2.setNumThreads(0)
    # Releases of OpenCV have it in one of two places.
    set_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    set_log_level(0)
