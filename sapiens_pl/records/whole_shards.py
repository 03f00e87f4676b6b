"""Which tars and tables need not be opened again: of each that is whole, the stamp that it had, and how many pictures.

    records/whole-0of1-0.jsonl   a line for each shard of which all pictures have their outcome; one file a process

A line counts as long as the shard has its stamp, the boxes are found in the same way, and the records have as many
pictures of it. If such a file is lost, the shards are only opened again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from sapiens_pl.core.errors import ConfigError, write_error
from sapiens_pl.core.text_files import to_json
from sapiens_pl.data.portions import ShardState
from sapiens_pl.records.in_turn import Group, read_in_turn
from sapiens_pl.records.reading import Records
from sapiens_pl.records.run_folder import RunFolder

log = logging.getLogger(__name__)


def folders_above(name: str) -> Iterator[str]:
    """All beginnings of a picture's name that end before a slash; a tar's name is among them."""
    place = name.find("/")
    while place >= 0:
        yield name[:place]
        place = name.find("/", place + 1)


def records_of(folder: RunFolder, shards: Sequence[str] | None) -> Records:
    """All records, or only those of some tars and tables."""
    return Records.read(folder.path, shards)


def _pictures_by_shard(group: Group) -> Counter[str]:
    if group.shard is not None:
        return Counter({group.shard: group.tally().pictures.total()})
    return Counter(above for name in group.records().names(None) for above in folders_above(name))


class WholeShards:
    """Those of one run.

    Args:
        folder: the run's.
        terms: what decides, besides the shards themselves, which pictures these have and what their boxes are.
        is_wanted: whether a shard's pictures are to be looked at in any case.
    """

    def __init__(
        self, folder: RunFolder, terms: Any, is_wanted: Callable[[ShardState], bool] = lambda state: False
    ) -> None:
        self._folder, self._is_wanted = folder, is_wanted
        self._terms = hashlib.blake2b(json.dumps(terms, default=str).encode(), digest_size=8).hexdigest()
        self._file = folder.records / f"whole-{folder.own_processes}{folder.rank}.jsonl"
        self._known: dict[str, ShardState] | None = None
        self._has_told = False

    def whole(self, stamps: Mapping[str, str]) -> dict[str, ShardState]:
        """Those of the shards that are whole, if their stamps are as they were then."""
        known = self._all()
        self._tell_of_others({name: stamp for name, stamp in stamps.items() if name in known})
        found = {name: known[name] for name, stamp in stamps.items() if name in known and known[name].stamp == stamp}
        found = {name: state for name, state in found.items() if not self._is_wanted(state)}
        if not found:
            return found
        num_recorded = sum(read_in_turn(self._folder.path, _pictures_by_shard, list(found)), Counter[str]())
        return {name: state for name, state in found.items() if num_recorded[name] == state.num_pictures}

    def _tell_of_others(self, stamps: Mapping[str, str]) -> None:
        """Says, once, that a shard is another file by now, whose pictures may be others under the old names."""
        other = next((name for name, stamp in stamps.items() if self._all()[name].stamp != stamp), None)
        if other is None or self._has_told:
            return
        self._has_told = True
        log.warning(
            "%s is not the file that it was when its pictures were done (%s then, %s now). Pictures of the same names "
            "count as done, in it and in other tars or tables that changed; to do them again, list their names in a "
            "file (output.redo=FILE), or start over (output.overwrite=true).",
            *(other, self._all()[other].stamp, stamps[other]),
        )

    def add(self, states: Sequence[ShardState]) -> None:
        """Notes those that are whole.

        Raises:
            WriteError: no space, no permission, a vanished disk.
        """
        lines = [to_json({"terms": self._terms, **state._asdict()}) + "\n" for state in states if state.is_whole]
        if not lines:
            return
        try:
            with open(self._file, "ab") as file:
                file.write("".join(lines).encode())
        except OSError as error:
            raise write_error(self._file, error) from None
        self._folder.outlet.put(self._file)

    def knows_any(self) -> bool:
        """Whether an earlier run has gone through a shard, with boxes that were found in the same way."""
        return bool(self._all())

    def _all(self) -> dict[str, ShardState]:
        if self._known is None:
            self._known = self._read()
        return self._known

    def _read(self) -> dict[str, ShardState]:
        """What all processes of all runs have noted; of a shard that stands there twice, what was noted last."""
        files = list(self._folder.records.glob("whole-*.jsonl"))
        with suppress(OSError):
            files.sort(key=os.path.getmtime)
        known: dict[str, ShardState] = {}
        for file in files:
            try:
                lines = file.read_text("utf-8", errors="replace").split("\n")
            except OSError as error:
                raise ConfigError(f"{file} cannot be read ({error.strerror}); fix that, or remove it.") from None
            for line in lines:
                with suppress(ValueError, TypeError, AttributeError):  # what a killed run has begun
                    row = json.loads(line)
                    if row.pop("terms") == self._terms:
                        known[row["name"]] = ShardState(**row)
        return known
