"""`output.redo`: which pictures that have their outcome are done again; and the list of those whose boxes changed."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.text_files import open_text
from sapiens_pl.data.portions import ShardState

log = logging.getLogger(__name__)

CHANGED, FAILED = "changed", "failed"


class Redo(NamedTuple):
    """What is asked for: posed pictures whose boxes changed, pictures that failed, or those that a file names."""

    changed: bool = False
    failed: bool = False
    names: Names = Names.of([])
    file: str | None = None

    def is_named(self, names: Names) -> np.ndarray:
        """(n,) bool."""
        return self.names.positions(names) >= 0

    def concerns(self) -> Callable[[ShardState], bool]:
        """Says of a tar or table that is done whether some of its pictures are done again."""
        parts = (name.split("/") for name in self.names)
        named = {"/".join(of_name[:count]) for of_name in parts for count in range(1, len(of_name))}
        return lambda shard: (self.failed and shard.num_failed > 0) or shard.name in named

    def tell_unknown(self, are_known: np.ndarray) -> None:
        """Warns about names in the file that are not pictures of the run.

        Args:
            are_known: (n,) bool, of those that it names.
        """
        if self.file is None:
            return
        unknown = np.flatnonzero(~are_known)
        if len(unknown):
            log.warning(
                "output.redo=%s names %d pictures that are none of this run's (%s the first).",
                *(self.file, len(unknown), self.names[int(unknown[0])]),
            )


def read_redo(value: Any) -> Redo:
    """What `output.redo` means.

    Raises:
        ConfigError: it is neither of the two words nor a file that can be read.
    """
    if value is None:
        return Redo()
    if value in (CHANGED, FAILED):
        return Redo(changed=value == CHANGED, failed=value == FAILED)
    if not isinstance(value, str) or not os.path.isfile(os.path.expanduser(value)):
        raise ConfigError(
            f"output.redo={value} must be changed, failed, or a text file with a picture's name a line; there is no "
            "such file."
        )
    with open_text(os.path.expanduser(value)) as file:
        names = [_name(line) for line in file.read().split("\n") if line.strip()]
    if not names:
        raise ConfigError(f"output.redo={value} names no picture; write a picture's name a line.")
    return Redo(names=Names.of(dict.fromkeys(names)), file=value)


def listed(names: Iterable[str]) -> str:
    """A name a line, as `read_redo` reads them; odd ones in quotes, as in JSON."""
    return "".join(f"{name if _is_plain(name) else json.dumps(name)}\n" for name in names)


def _is_plain(name: str) -> bool:
    return name.isprintable() and name == name.strip() and not name.startswith('"')


def _name(line: str) -> str:
    if line.startswith('"'):
        try:
            name = json.loads(line)
        except ValueError:
            return line.strip()
        if isinstance(name, str):
            return name
    return line.strip()
