"""Making products: those of single photographs while the run goes on, and all that are missing from its records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from threading import Lock
from typing import NamedTuple

import numpy as np

from sapiens_pl.core.bar import Bar
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.protocols import Film, MakingStopped, PictureProduct, Records, RunProduct, VideoProduct
from sapiens_pl.core.run_facts import RunFacts
from sapiens_pl.core.structures import Failure, PoseResult
from sapiens_pl.core.terminal import printable
from sapiens_pl.products.chosen import ChosenProduct, check_keypoint_set
from sapiens_pl.products.in_turn import FrameTurn, Turns
from sapiens_pl.products.picture_files import PictureFiles, Rereading, read_again
from sapiens_pl.products.run_files import RunFiles
from sapiens_pl.products.second_read import ReadingStopped
from sapiens_pl.products.video_files import VideoFiles
from sapiens_pl.records.listing import read_object
from sapiens_pl.records.pool import BoundedPool
from sapiens_pl.records.run_folder import RunFolder

_NUM_THREADS, _MAX_WAITING = 4, 64


class Done(NamedTuple):
    """What is done of a run.

    Attributes:
        state: a string that changes when the records, or the track ids in them, change.
        photographs: the names of the pictures that are not frames of videos, sorted.
        frames: of each video, the names of its frames in their order.
        states: of each video, as `state`.
    """

    state: str
    photographs: Sequence[str]
    frames: Mapping[str, Sequence[str]]
    states: Mapping[str, str]

    @property
    def names(self) -> list[str]:
        """Of all pictures."""
        return [*self.photographs, *(name for names in self.frames.values() for name in names)]


class Made(NamedTuple):
    """How many files of pictures and of videos, or products of a whole run, were made by format; what could not be
    made; and how many are left for the next time, since the run was to stop.
    """

    counts: Counter[str]
    failures: list[Failure]
    num_left: int = 0

    def add(self, name: str, failure: Failure | None) -> None:
        """Counts a file of that product, as made unless there is a failure."""
        if failure is None:
            self.counts[name] += 1
        else:
            self.failures.append(failure)


class Products:
    """What a run makes of its records, in its folder.

    Args:
        folder: the run's.
        chosen: which.
        keypoint_set: of the records.
        photographs: reads the pictures again.

    Raises:
        ConfigError: a product needs to know more about the keypoints than is known.
    """

    def __init__(
        self,
        folder: RunFolder,
        chosen: Sequence[ChosenProduct],
        keypoint_set: KeypointSet,
        photographs: Rereading,
    ) -> None:
        check_keypoint_set(chosen, keypoint_set)
        self._folder = folder
        self._keypoint_set, self._photographs = keypoint_set, photographs
        self.of_pictures = [PictureFiles(folder, each) for each in chosen if isinstance(each.product, PictureProduct)]
        self.of_videos = [VideoFiles(folder, each) for each in chosen if isinstance(each.product, VideoProduct)]
        self.of_run = [RunFiles(folder, each) for each in chosen if isinstance(each.product, RunProduct)]

    @property
    def are_any(self) -> bool:
        """True if there is anything to make of a single photograph."""
        return bool(self.of_pictures)

    def settle(self, names: Collection[str]) -> None:
        """Removes those pictures' files that were made with other settings; for a process that is alone in the folder.

        To be called before any is made, and by `make_missing`.
        """
        for files in self.of_pictures:
            files.settle(names)

    def make(self, result: PoseResult) -> list[Failure]:
        """Makes the products of one photograph; several threads may. Those of frames wait for the run's end.

        Args:
            result: of a picture that is done, and recorded.

        Returns:
            The failures of those that could not be made. They do not end the run.

        Raises:
            WriteError: no space, no permission, a vanished disk.
        """
        if result.frame is not None:
            return []
        return self.make_some(result, [files.name for files in self.of_pictures]).failures

    def make_some(self, result: PoseResult, names: Collection[str], photographs: Rereading | None = None) -> Made:
        """`make`, for those products of that picture that are named; of any picture."""
        made = Made(Counter(), [])
        for files in self.of_pictures:
            if files.name in names:
                try:
                    failure = files.make(result, self._keypoint_set, photographs or self._photographs)
                except ReadingStopped:  # it stays missing, and is made next time
                    continue
                made.add(files.name, failure)
        return made

    def film(self, video: str, records: Records, stopped: Callable[[], bool]) -> Film:
        """A video of which a frame is done, as its products see it."""
        path = next(records.frames_of(video)).path
        return Film(video, path, self._keypoint_set, lambda: records.frames_of(video), self.photograph, stopped)

    def photograph(self, result: PoseResult) -> np.ndarray:
        """The pixels in which the poses of a result were found, as `read_again`."""
        return read_again(self._photographs, result)

    def facts(self, stopped: Callable[[], bool]) -> RunFacts:
        """What products of the whole run may know about it besides its records."""
        return RunFacts(read_object(self._folder.run_file), self._folder.failures.everything, stopped)

    def frames_in_turn(self) -> Turns:
        """Reads frames again in their order."""
        return Turns(self._photographs)

    def outdated(self, failures: Iterable[Failure], done: Done) -> set[tuple[str, str | None]]:
        """Failures of videos and products that were made of other records or with other settings; and all of the whole
        run, which is tried again whenever it is missing."""
        of_videos = {files.name: files for files in self.of_videos}
        return {("", files.name) for files in self.of_run} | {
            (failure.image, failure.product)
            for failure in failures
            if failure.product in of_videos
            and failure.image in done.states
            and not of_videos[failure.product].failed_before(failure.image, done.states[failure.image])
        }


def make_missing(
    products: Products,
    records: Records,
    done: Done,
    given_up: Iterable[Failure] = (),
    stopped: Callable[[], bool] = lambda: False,
    note: Callable[[Failure], None] = lambda failure: None,
    bar: Bar | None = None,
) -> Made:
    """Makes what is missing; for a process that is alone in the folder.

    Args:
        products: those that are wanted.
        records: of the run, with the tracks of its videos.
        done: what there is of them.
        given_up: products that could not be made before; they are not tried again.
        stopped: True as soon as the run is to stop; what is left stays missing.
        note: called with each failure of a product.
        bar: shows how far that is, in files of pictures, frames of videos, and products of the whole run.

    Raises:
        ConfigError: the records are damaged.
        WriteError: no space, no permission, a vanished disk.
    """
    products.settle(done.names)
    not_again = {(failure.image, failure.product) for failure in given_up}
    made = Made(Counter(), [])
    missing = _missing(products.of_pictures, done, not_again)
    of_videos = _missing_of_videos(products, done, not_again)
    facts = products.facts(stopped)
    of_run = [files for files in products.of_run if files.missing(done.state, facts)]
    num_single = sum(map(len, missing.values())) + len(of_run)
    num_missing = num_single + sum(map(len, of_videos.values()))
    bar = bar or Bar("products", "file", shown=False)
    bar.show(0, num_single + sum(len(done.frames[video]) * len(files) for video, files in of_videos.items()))
    work = _Work(products, records, stopped, note, made, bar)
    _make_of_pictures(work, missing)
    _make_of_videos(work, done, of_videos)
    for files in of_run:
        bar.say(files.name)
        with suppress(MakingStopped):  # it stays missing, and is made next time
            if not stopped():
                failure = files.make(records, done.state, products.photograph, facts)
                made.add(files.name, failure)
                if failure is not None:
                    note(failure)
                bar.step()
    return made._replace(num_left=num_missing - made.counts.total() - len(made.failures))


class _Work(NamedTuple):
    """What making shares."""

    products: Products
    records: Records
    stopped: Callable[[], bool]
    note: Callable[[Failure], None]
    made: Made
    bar: Bar


def _make_of_pictures(work: _Work, missing: dict[str, list[str]]) -> None:
    products, records, stopped, note, made, bar = work
    counting, turns = Lock(), products.frames_in_turn()

    def make(result: PoseResult, turn: FrameTurn | None) -> None:
        if turn is None:
            outcome = products.make_some(result, missing[result.name])
        else:
            with turn.until_its_end():
                outcome = products.make_some(result, missing[result.name], turn)
        for failure in outcome.failures:
            note(failure)
        with counting:
            made.failures.extend(outcome.failures)
            made.counts.update(outcome.counts)
        bar.step(len(missing[result.name]))

    pool = BoundedPool(_NUM_THREADS, _MAX_WAITING)
    try:
        for result in records.results(missing):
            if stopped():
                break
            pool.submit(make, result, None if result.frame is None else turns.next())
    finally:
        pool.close()
    pool.raise_error()


def _missing_of_videos(
    products: Products, done: Done, not_again: Collection[tuple[str, str | None]]
) -> dict[str, list[VideoFiles]]:
    """The products that each video lacks."""

    def lacks(video: str, files: VideoFiles, state: str) -> bool:
        is_left_out = (video, files.name) in not_again and files.failed_before(video, state)
        return not is_left_out and files.missing(video, state)

    states = done.states.items()
    return {video: [files for files in products.of_videos if lacks(video, files, state)] for video, state in states}


def _make_of_videos(work: _Work, done: Done, missing: Mapping[str, Sequence[VideoFiles]]) -> None:
    products, records, stopped, note, made, bar = work
    for video, lacking in missing.items():
        if not lacking or stopped():
            continue
        film = products.film(video, records, stopped)
        for files in lacking:
            bar.say(f"{files.name} of {printable(video)}")
            most = bar.done + len(done.frames[video])
            counted = film._replace(results=partial(bar.counted, film.results, most))
            with suppress(MakingStopped):  # it stays missing, and is made next time
                failure = files.make(counted, done.states[video])
                made.add(files.name, failure)
                if failure is not None:
                    note(failure)
            bar.step(most - bar.done)


def _missing(
    products: Iterable[PictureFiles], done: Done, given_up: set[tuple[str, str | None]]
) -> dict[str, list[str]]:
    """The products that each picture lacks, without the pictures that lack none."""
    missing: dict[str, list[str]] = {}
    for files in products:
        if files.of_frames:
            files.settle_frames(done.frames, done.states)
        for name in files.missing(done.names if files.of_frames else done.photographs):
            if (name, files.name) not in given_up:
                missing.setdefault(name, []).append(files.name)
    return missing
