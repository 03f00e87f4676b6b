"""What a report says about the run itself: from `run.json`, as far as it is there, and from `failures.jsonl`.

Anything may be missing: the folder may be of any version, and of a run that was interrupted.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nsmallest
from typing import Any, NamedTuple

from sapiens_pl.core.columns import as_unicode
from sapiens_pl.core.not_counted import NotCounted
from sapiens_pl.core.not_counted_lines import not_counted_lines
from sapiens_pl.core.remote_sentences import without_secrets
from sapiens_pl.core.structures import Failure
from sapiens_pl.core.typed_json import typed
from sapiens_pl.core.wording import one_line, shortened
from sapiens_pl.records.listing import section

_FIRST_NAMES, _TEXT_LENGTH = 5, 300
_MOST_ROWS = 64
"""Of ranks."""
_ENDED = {"merging": "complete"}
"""The report is one of the things that are made last."""
_SETTINGS = (
    ("pictures", "data", "images"),
    ("boxes", "boxes", "_target_"),
    ("box file", "boxes", "file"),
    ("checkpoint", "model", "checkpoint"),
    ("flip test", "model", "flip_test"),
    ("batch size", "data", "batch_size"),
    ("precision", "trainer", "precision"),
    ("annotations", "annotations"),
)


class Fact(NamedTuple):
    """A line of a list."""

    name: str
    value: str


class Reason(NamedTuple):
    """Of failures: the error's class, how many there are of it, and the first by name, each with its sentence."""

    error: str
    num: int
    of: str
    first: list[tuple[str, str]]


class Share(NamedTuple):
    """A part of a rank's time."""

    name: str
    seconds: float
    part: float


class Rank(NamedTuple):
    """What one process has done, in texts; where its time went."""

    name: str
    status: str
    cells: list[str]
    shares: list[Share]


_PICTURE = "picture"
"""What failures are of."""
RANK_COLUMNS = ("pictures", "people", "crops/s", "batch", "memory GiB", "device GiB", "seconds")


def what_ran(account: dict[str, Any]) -> list[Fact]:
    """Status, checkpoint, device, versions and settings."""
    config, versions = section(account, "config"), section(account, "versions")
    facts = [Fact("command", str(account.get("command") or "")), Fact("status", _status(account))]
    facts += [Fact("ended", str(account.get("worked_until") or ""))]
    facts += [Fact("device", str(account.get("device") or ""))]
    for name, *keys in _SETTINGS:
        value = section(config, *keys[:-1]).get(keys[-1])
        facts.append(Fact(name, "" if value is None else str(value)))
    identity = section(account, "settings").get("model.checkpoint")
    facts.append(Fact("checkpoint's identity", str(identity or "")))
    facts.append(Fact("versions", ", ".join(f"{name} {version}" for name, version in versions.items())))
    facts.append(Fact("error", str(account.get("error") or account.get("incomplete") or "")))
    return [Fact(name, shortened(as_unicode(without_secrets(value)), _TEXT_LENGTH)) for name, value in facts if value]


def counts(account: dict[str, Any], num_pictures: int, num_people: int, reasons: Iterable[Reason]) -> list[Fact]:
    """What is in the folder, and how fast it came."""
    num_failed = sum(reason.num for reason in reasons if reason.of == _PICTURE)
    folder, run = section(account, "folder"), section(account, "counts")
    facts = [Fact("pictures done", f"{num_pictures:,}"), Fact("people", f"{num_people:,}")]
    named = (
        ("pictures failed", folder.get("failed", num_failed)),
        ("pictures absent", folder.get("absent") or None),
        ("boxes failed", run.get("boxes_failed") or None),
        ("not reached", run.get("images_not_reached") or None),
        ("videos", folder.get("videos")),
        ("tracks", folder.get("tracks")),
        ("crops/s", account.get("crops_per_second")),
        ("seconds", account.get("seconds_with_loading")),
        ("peak memory, GiB", section(account, "peak_memory").get("host_gib")),
        ("device memory, GiB", section(account, "peak_memory").get("device_gib")),
    )
    facts += [Fact(name, number(value)) for name, value in named if number(value)]
    if folder.get("videos") and folder.get("tracks") is None and account.get("status") not in (None, "complete"):
        facts.append(Fact("tracks", "not counted yet"))
    return facts


def ranks(account: dict[str, Any]) -> list[Rank]:
    """The processes, as far as they have reported."""
    processes = account.get("processes")
    rows = [row for row in processes if isinstance(row, dict)] if isinstance(processes, list) else []
    return [_rank(row) for row in rows[:_MOST_ROWS]]


def _rank(row: dict[str, Any]) -> Rank:
    done, memory = section(row, "counts"), section(row, "peak_memory")
    cells = (
        *(done.get("images_done"), done.get("people"), row.get("crops_per_second"), row.get("batch_size")),
        *(memory.get("host_gib"), memory.get("device_gib"), row.get("seconds_with_loading")),
    )
    name = f"shard {number(row.get('shard'))}, rank {number(row.get('rank'))}"
    return Rank(name, str(row.get("status") or ""), [number(cell) for cell in cells], _shares(row))


def _shares(row: dict[str, Any]) -> list[Share]:
    whole = _seconds(row.get("seconds_with_loading"))
    known = [
        ("weights", _seconds(section(row, "loading").get("seconds"))),
        ("detection", _seconds(section(row, "detection").get("seconds"))),
        ("poses", _seconds(row.get("seconds"))),
    ]
    total = max(whole, sum(seconds for _, seconds in known))
    known.append(("the rest", total - sum(seconds for _, seconds in known)))
    return [Share(name, seconds, seconds / total) for name, seconds in known if seconds > 0] if total else []


def failures(listed: Iterable[Failure]) -> list[Reason]:
    """By the error's class, and whether pictures, boxes or products are meant; those with the most first."""
    kinds: dict[tuple[str, str], tuple[int, list[Failure]]] = {}
    for failure in listed:
        of = f"product {failure.product}" if failure.product else _PICTURE if failure.instance_id is None else "box"
        num, first = kinds.get((failure.error, of), (0, []))
        first.append(failure)
        if len(first) > 4 * _FIRST_NAMES:
            first = nsmallest(_FIRST_NAMES, first, _place)
        kinds[failure.error, of] = num + 1, first
    reasons = [
        Reason(error, num, of, [_told(each) for each in nsmallest(_FIRST_NAMES, first, _place)])
        for (error, of), (num, first) in kinds.items()
    ]
    return sorted(reasons, key=lambda reason: (-reason.num, reason.error, reason.of))


def _place(failure: Failure) -> tuple[str, int, str]:
    return failure.image, -1 if failure.instance_id is None else failure.instance_id, failure.message


def _told(failure: Failure) -> tuple[str, str]:
    box = "" if failure.instance_id is None else f", box {failure.instance_id}"
    name = f"{shortened(as_unicode(failure.image), _TEXT_LENGTH)}{box}"
    return name, as_unicode(one_line(failure.message, _TEXT_LENGTH))


def not_counted(account: dict[str, Any]) -> list[Fact]:
    """What was given to the run and not counted, as in the closing table."""
    try:
        what = typed(NotCounted, section(account, "not_counted"))
    except TypeError:
        return []
    return [Fact(name, shortened(as_unicode(text), _TEXT_LENGTH)) for name, text in not_counted_lines(what)]


def _status(account: dict[str, Any]) -> str:
    status = str(account.get("status") or "")
    return _ENDED.get(status, status)


def number(value: Any) -> str:
    """A number for people; "" for other values."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"


def _seconds(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else 0.0
