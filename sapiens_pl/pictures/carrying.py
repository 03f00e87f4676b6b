"""Whether anything stands beside the pictures that is to be carried along (`data.carry`)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sapiens_pl.core.carried import carried_value
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.plan import Pictures
from sapiens_pl.core.protocols import PictureSource, ShardedSource
from sapiens_pl.core.wording import shortened

_MOST_FIELDS = 40


def carried_values(values: Mapping[str, Any] | str, carry: Collection[str]) -> tuple[str | None, ...]:
    """A sample's values in the order of the columns; none for a sample that cannot be read."""
    return tuple(None if isinstance(values, str) else carried_value(values, name) for name in carry)


def fields_of(carry: Collection[str], there: Collection[str]) -> list[str]:
    """The fields in which these columns are: `meta.url` is in `meta`, if no field is called `meta.url`."""
    return list(dict.fromkeys(name if name in there else name.split(".")[0] for name in carry))


def check_carry(source: PictureSource, carry: Collection[str], images: Any) -> None:
    """Refuses columns that no sample has; looks no further than to the first that has each of them.

    Raises:
        ConfigError: a column is in no sample, or there are no pictures.
    """
    left, seen = set(carry), dict[str, None]()
    for pictures in _some_at_a_time(source) if left else ():
        fields = {*left, *(name.split(".")[0] for name in left)}
        for _, values in () if pictures.samples is None else pictures.samples.values(fields):
            if isinstance(values, str):
                continue
            left = {name for name in left if name not in values and carried_value(values, name) is None}
            seen |= dict.fromkeys(values) if len(seen) < _MOST_FIELDS else {}
            if not left:
                return
    if left:
        there = f"; there are {', '.join(sorted(seen))}" if seen else ""
        raise ConfigError(
            f"data.carry: no sample of data.images={shortened(str(images))} has {' or '.join(sorted(left))}{there}; "
            "correct the names."
        )


def _some_at_a_time(source: PictureSource) -> Iterator[Pictures]:
    if not isinstance(source, ShardedSource):
        yield source.pictures()
        return
    for number in range(len(source.shard_names())):
        yield source.some_shards([number]).pictures()
