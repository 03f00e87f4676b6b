"""What can be known of a run besides its records, for those of its products that tell of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from sapiens_pl.core.structures import Failure


class RunFacts(NamedTuple):
    """What stands in a run's folder beside the records.

    Attributes:
        account: what `run.json` says; empty where there is none.
        failures: gives whatever `failures.jsonl` lists, in no order.
        stopped: True as soon as the run is to stop; what takes long then raises `MakingStopped`.
    """

    account: dict[str, Any]
    failures: Callable[[], Iterator[Failure]]
    stopped: Callable[[], bool]
