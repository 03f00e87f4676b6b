"""Images of a Python caller that come one after another: full batches, of which only a few images are in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from sapiens_pl.core.structures import CropBatch, CropSpan, Failure, ImageTask, LoadedImage, PoseResult
from sapiens_pl.data.crops import CropCutter
from sapiens_pl.data.dataset import cut_picture
from sapiens_pl.data.python_images import ImageLike, checked_image, is_turned, load_image, warn_of_turned
from sapiens_pl.data.python_inputs import PythonImages, boxed_images

_MOST_IMAGES = 256
"""The most images in a batch, where many have no boxes: their results must not wait too long."""

_NO_MORE = object()

Item = TypeVar("Item")


class AskedImage(NamedTuple):
    """One image and whose poses are wanted.

    Attributes:
        number: of the image, from 0.
        image: as `checked_image` lets it pass.
        boxes: (N, 4) xyxy, image px, or None for the whole image.
        loaded: its pixels, or why there are none, if it has been read already.
        bbox_scores: (N,), where the boxes have some.
    """

    number: int
    image: ImageLike
    boxes: Any
    loaded: LoadedImage | Failure | None = None
    bbox_scores: np.ndarray | None = None


class UntilError(Generic[Item]):
    """Ends where the iterator fails, and keeps the error, so that what came before is done first."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = iter(items)
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[Item]:
        while True:
            try:
                item = next(self._items)
            except StopIteration:
                return
            except Exception as error:
                self.error = error
                return
            yield item

    def raise_error(self) -> None:
        if self.error is not None:
            raise self.error


def asked_images(images: Iterable[Any], boxes: Iterable[Any] | None) -> Iterator[AskedImage]:
    """The images with their boxes.

    Args:
        images: of any number.
        boxes: of each image (N, 4) xyxy, or None for the whole of it; None for all: every image whole.

    Raises:
        TypeError: an image of another kind.
        ValueError: the boxes end before the images; or, as a list, after them.
    """
    of_images = None if boxes is None else iter(boxes)
    count, turned = 0, False
    for image in images:
        asked = checked_image(count, image)
        if not turned and is_turned(asked):
            turned = True
            warn_of_turned(count)
        of_image = None if of_images is None else next(of_images, _NO_MORE)
        if of_image is _NO_MORE:
            raise ValueError(f"The boxes end after {count} images, and there are more; give boxes for each image.")
        yield AskedImage(count, asked, of_image)
        count += 1
    if isinstance(boxes, Sized) and len(boxes) > count:
        raise ValueError(f"{count} images but {len(boxes)} sets of boxes; give one for each image.")


class ImageStream:
    """Iterates over batches of crops; each but the last has exactly `batch_size`, unless most images have no boxes.

    Args:
        asked: the images, taken when there is room for them.
        batch_size: crops a batch.
        cutter: cuts the boxes out.
        num_threads: that read and crop ahead, a batch each; 0 does it here.

    Attributes:
        tasks: the images that are under way, by their index.
    """

    def __init__(self, asked: Iterable[AskedImage], batch_size: int, cutter: CropCutter, num_threads: int = 0) -> None:
        self._asked = UntilError(map(self._planned, asked))
        self._batch_size, self._cutter, self._num_threads = batch_size, cutter, num_threads
        self.tasks: dict[int, ImageTask] = {}
        self._failures: dict[int, list[Failure]] = {}

    def __iter__(self) -> Iterator[CropBatch]:
        """Ends, too, where the images end with an error: `raise_error` then raises it."""
        if not self._num_threads:
            yield from map(self._batch, self._spans())
            return
        waiting: deque[Future[CropBatch]] = deque()
        pool = ThreadPoolExecutor(self._num_threads, "read")
        try:
            for spans in self._spans():
                waiting.append(pool.submit(self._batch, spans))
                if len(waiting) > self._num_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def raise_error(self) -> None:
        """Raises what ended the images before their end; to be called when all batches are done."""
        self._asked.raise_error()

    def finished(self, index: int, result: PoseResult) -> PoseResult:
        """The result with what was wrong with the image's boxes; the image is under way no more."""
        self.tasks.pop(index)
        return result._replace(failures=(*self._failures.pop(index), *result.failures))

    def _planned(self, asked: AskedImage) -> tuple[ImageTask, AskedImage]:
        tasks, (failures,) = boxed_images(PythonImages([asked.image], asked.number).pictures(), [asked.boxes])
        task = tasks[0]
        if asked.bbox_scores is not None:
            task = task._replace(bbox_scores=asked.bbox_scores[task.instance_ids])
        self.tasks[asked.number], self._failures[asked.number] = task, failures
        return task, asked

    def _spans(self) -> Iterator[list[tuple[CropSpan, ImageTask, AskedImage]]]:
        """What goes into each batch."""
        spans: list[tuple[CropSpan, ImageTask, AskedImage]] = []
        room = self._batch_size
        for task, asked in self._asked:
            start, is_left = 0, True
            while is_left:  # also of an image without boxes, once
                stop = min(task.num_boxes, start + room)
                spans.append((CropSpan(asked.number, start, stop), task, asked))
                room -= stop - start
                start, is_left = stop, stop < task.num_boxes
                if not room or len(spans) >= _MOST_IMAGES:
                    yield spans
                    spans, room = [], self._batch_size
        if spans:
            yield spans

    def _batch(self, spans: list[tuple[CropSpan, ImageTask, AskedImage]]) -> CropBatch:
        return self._cutter.batch([self._cut(*each) for each in spans])

    def _cut(self, span: CropSpan, task: ImageTask, asked: AskedImage) -> Any:
        if isinstance(asked.loaded, Failure):
            return self._cutter.failed(span, asked.loaded)
        return cut_picture(self._cutter, reading(task.name, asked), task, span)


def reading(name: str, asked: AskedImage) -> Callable[[], LoadedImage]:
    """A function that returns the pixels of an image that was read, or is to be read."""
    loaded = asked.loaded
    if isinstance(loaded, LoadedImage):
        return lambda: loaded
    return partial(load_image, name, asked.image)
