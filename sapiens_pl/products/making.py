"""Making products: those of single pictures while the run goes on, and all that are missing from its records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from threading import Lock
from typing import NamedTuple

from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.protocols import PictureProduct, Records
from sapiens_pl.core.structures import Failure, PoseResult
from sapiens_pl.products.chosen import ChosenProduct, check_keypoint_set
from sapiens_pl.products.picture_files import PictureFiles
from sapiens_pl.products.run_files import RunFiles
from sapiens_pl.products.second_read import Photographs, ReadingStopped
from sapiens_pl.records.pool import BoundedPool
from sapiens_pl.records.run_folder import RunFolder

_NUM_THREADS, _MAX_WAITING = 4, 64


class Made(NamedTuple):
    """How many files of pictures, or products of a whole run, were made by format; what could not be made; and how many
    are left for the next time, since the run was to stop.
    """

    counts: Counter[str]
    failures: list[Failure]
    num_left: int = 0

    def add(self, name: str, failure: Failure | None) -> None:
        """One of that product, made unless there is a failure."""
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
        photographs: reads the pictures once more.

    Raises:
        ConfigError: a product has to know more of the keypoints than is known.
    """

    def __init__(
        self,
        folder: RunFolder,
        chosen: Sequence[ChosenProduct],
        keypoint_set: KeypointSet,
        photographs: Photographs,
    ) -> None:
        check_keypoint_set(chosen, keypoint_set)
        self._keypoint_set, self._photographs = keypoint_set, photographs
        self.of_pictures = [PictureFiles(folder, each) for each in chosen if isinstance(each.product, PictureProduct)]
        self.of_run = [RunFiles(folder, each) for each in chosen if not isinstance(each.product, PictureProduct)]

    @property
    def are_any(self) -> bool:
        """True if there is anything to make of a single picture."""
        return bool(self.of_pictures)

    def settle(self, names: Collection[str]) -> None:
        """Removes those pictures' files that were made with other settings; for a process that is alone in the folder.

        To be called before any is made, and by `make_missing`.
        """
        for files in self.of_pictures:
            files.settle(names)

    def make(self, result: PoseResult) -> list[Failure]:
        """Makes the products of one picture; several threads may.

        Args:
            result: of a picture that is done, and recorded.

        Returns:
            Why there is none, for each that could not be made. None of these ends anything.

        Raises:
            WriteError: no space, no permission, a vanished disk.
        """
        return self.make_some(result, [files.name for files in self.of_pictures]).failures

    def make_some(self, result: PoseResult, names: Collection[str]) -> Made:
        """`make`, for those products of that picture that are named."""
        made = Made(Counter(), [])
        for files in self.of_pictures:
            if files.name in names:
                try:
                    failure = files.make(result, self._keypoint_set, self._photographs)
                except ReadingStopped:  # it stays missing, and is made next time
                    continue
                made.add(files.name, failure)
        return made


def make_missing(
    products: Products,
    records: Records,
    names: Sequence[str],
    state: str,
    given_up: Iterable[Failure] = (),
    stopped: Callable[[], bool] = lambda: False,
    note: Callable[[Failure], None] = lambda failure: None,
) -> Made:
    """Makes whatever is missing; for a process that is alone in the folder.

    Args:
        products: those that are wanted.
        records: of the run.
        names: of all pictures that are done, sorted.
        state: differs where the records do.
        given_up: products that could not be made before; they are not tried again.
        stopped: True as soon as the run is to stop; what is left stays missing.
        note: told of each product that could not be made.

    Raises:
        ConfigError: the records are damaged.
        WriteError: no space, no permission, a vanished disk.
    """
    products.settle(names)
    made = Made(Counter(), [])
    missing = _missing(products.of_pictures, names, {(failure.image, failure.product) for failure in given_up})
    if missing:
        _make_of_pictures(products, records, missing, stopped, note, made)
    num_missing = sum(map(len, missing.values()))
    for files in products.of_run:
        if files.missing(state):
            num_missing += 1
            if not stopped():
                made.add(files.name, files.make(records, state))
    return made._replace(num_left=num_missing - made.counts.total() - len(made.failures))


def _make_of_pictures(
    products: Products,
    records: Records,
    missing: dict[str, list[str]],
    stopped: Callable[[], bool],
    note: Callable[[Failure], None],
    made: Made,
) -> None:
    counting = Lock()

    def make(result: PoseResult) -> None:
        outcome = products.make_some(result, missing[result.name])
        for failure in outcome.failures:
            note(failure)
        with counting:
            made.failures.extend(outcome.failures)
            made.counts.update(outcome.counts)

    pool = BoundedPool(_NUM_THREADS, _MAX_WAITING)
    try:
        for result in records.results(missing):
            if stopped():
                break
            pool.submit(make, result)
    finally:
        pool.close()
    pool.raise_error()


def _missing(
    products: Iterable[PictureFiles], names: Sequence[str], given_up: set[tuple[str, str | None]]
) -> dict[str, list[str]]:
    """The products that each picture lacks, without the pictures that lack none."""
    missing: dict[str, list[str]] = {}
    for files in products:
        for name in files.missing(names):
            if (name, files.name) not in given_up:
                missing.setdefault(name, []).append(files.name)
    return missing
