"""A product of a whole run: whether its files are there and of today's records, and making them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from sapiens_pl.core.errors import SapiensError, write_error
from sapiens_pl.core.protocols import MakingStopped, Records, RunProduct
from sapiens_pl.core.run_facts import RunFacts
from sapiens_pl.core.structures import Failure, PoseResult
from sapiens_pl.core.wording import one_line
from sapiens_pl.products.chosen import ChosenProduct
from sapiens_pl.products.memory import Memory, made_with
from sapiens_pl.products.picture_files import REASON_LENGTH
from sapiens_pl.products.second_read import ReadingStopped
from sapiens_pl.records.outlet import outlet_of, remove
from sapiens_pl.records.run_folder import RunFolder


class RunFiles:
    """The files of one product.

    Args:
        folder: the run's.
        chosen: the product, with its settings.
    """

    def __init__(self, folder: RunFolder, chosen: ChosenProduct) -> None:
        assert isinstance(chosen.product, RunProduct)
        self.name, self._product, self._settings = chosen.name, chosen.product, chosen.settings
        self._run, self._memory = folder, Memory(folder, chosen.name)

    def missing(self, state: str, facts: RunFacts | None = None) -> bool:
        """True if a file is not there or not whole, or was made of other records or facts, or with other settings.

        Args:
            state: differs where the records do.
            facts: as for `make`.
        """
        state = self._with_facts(state, facts)
        known = self._memory.recall()
        sizes = known.get("sizes") if isinstance(known, dict) else None
        if not isinstance(sizes, dict) or known != made_with(self._settings, records=state, sizes=sizes):
            return True
        return any(size_of(self._run.path / name) != size for name, size in sizes.items())

    def make(
        self,
        records: Records,
        state: str,
        photograph: Callable[[PoseResult], np.ndarray] | None = None,
        facts: RunFacts | None = None,
    ) -> Failure | None:
        """Makes all its files again; they appear when all of them are complete.

        Args:
            records: of the run.
            state: as for `missing`.
            photograph: reads the pixels of a result again, for those that show pictures.
            facts: for those that tell of more than the records.

        Returns:
            None, or why it cannot be made.

        Raises:
            ConfigError: the records are damaged.
            MakingStopped: the run is to stop, and it stays missing.
            WriteError: no space, no permission, a vanished disk.
        """
        self._memory.forget()
        target = self._run.path / self._product.outputs[0]
        try:
            with TemporaryDirectory(dir=self._run.unfinished) as unfinished:
                self._tell(photograph, facts)
                self._product.write(records, Path(unfinished))
                sizes = _brought_to_disk(Path(unfinished))
                self._remove_earlier(sizes)
                for name in sizes:
                    target = self._run.path / name
                    target.parent.mkdir(exist_ok=True)
                    os.replace(Path(unfinished, name), target)
                    self._run.outlet.put(target)
        except OSError as error:
            raise write_error(target, error) from None
        except (SapiensError, MakingStopped):
            raise
        except ReadingStopped:
            raise MakingStopped from None
        except Exception as error:  # any error of one product
            reason = f"{', '.join(self._product.outputs)} is not made: {one_line(error, REASON_LENGTH)}"
            return Failure("", None, type(error).__name__, reason, self.name)
        self._memory.remember(made_with(self._settings, records=self._with_facts(state, facts), sizes=sizes))
        return None

    def _with_facts(self, state: str, facts: RunFacts | None) -> str:
        told = getattr(self._product, "facts_state", None)
        return state if told is None or facts is None else f"{state} {told(facts)}"

    def _tell(self, photograph: Callable[[PoseResult], np.ndarray] | None, facts: RunFacts | None) -> None:
        """Sets the attributes that the product has besides the records."""
        for name, value in (("photograph", photograph), ("facts", facts)):
            if hasattr(self._product, name):
                setattr(self._product, name, value)

    def _remove_earlier(self, names: Collection[str]) -> None:
        """Of its folders, the files of the same kind that it does not make any more: there were more of them once."""
        kinds = {Path(name).suffix for name in names}
        for output in self._product.outputs:
            for path in (self._run.path / output).glob("*") if output.endswith("/") else ():
                if path.suffix in kinds and f"{output}{path.name}" not in names and not path.name.startswith("."):
                    remove(path)


def _brought_to_disk(folder: Path) -> dict[str, int]:
    """The size of each file in a folder, by its path below it."""
    sizes = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
            sizes[path.relative_to(folder).as_posix()] = path.stat().st_size
    return sizes


def size_of(path: Path) -> int | None:
    """In bytes; None where no file is."""
    return outlet_of(path).size(path)
