"""What a benchmark found: a JSON file and a Markdown table, with the machine that it ran on."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sapiens_pl.core.devices import device_name
from sapiens_pl.run.closing import versions

Row = dict[str, Any]


class Result(NamedTuple):
    """One table: what it answers, its rows (the same keys in each), and what to know when reading it."""

    name: str
    question: str
    rows: list[Row]
    notes: list[str]


def default_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def interleaved(
    jobs: Mapping[str, Callable[[], Any]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each job, measured in turn, so that a busy machine slows all of them; one round before warms up."""
    device = default_device()
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(rounds + 1):
        for name, job in jobs.items():
            begin = clock()
            job()
            wait_for(device)
            if number:
                seconds[name].append(clock() - begin)
    return seconds


def times_faster(slow: list[float], fast: list[float]) -> float:
    """Median over the rounds of how often `fast` goes into `slow`."""
    return statistics.median(one / other for one, other in zip(slow, fast))


def save(results: Result | list[Result], folder: Path) -> None:
    """Writes `folder/NAME.json` and `folder/NAME.md` of each, and shows the tables."""
    for result in [results] if isinstance(results, Result) else results:
        _save(result, folder)


def _save(result: Result, folder: Path) -> None:
    machine = {
        "device": device_name(default_device()),
        "host": device_name(torch.device("cpu")),
        "load_of_the_machine": round(os.getloadavg()[0], 1),
        "versions": versions(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**result._asdict(), "machine": machine}, indent=1) + "\n"
    (folder / f"{result.name}.json").write_text(text, "utf-8")
    table = markdown(result.rows)
    notes = "".join(f"- {note}\n" for note in result.notes)
    where = f"{machine['device']}; torch {machine['versions']['torch']}; load {machine['load_of_the_machine']}"
    (folder / f"{result.name}.md").write_text(f"# {result.question}\n\n{table}\n{notes}\n{where}\n", "utf-8")
    print(f"\n{result.question}\n{table}\n{notes}", flush=True)


def markdown(rows: list[Row]) -> str:
    if not rows:
        return ""
    lines = [" | ".join(rows[0]), " | ".join("---" for _ in rows[0])]
    lines += [" | ".join(_cell(value) for value in row.values()) for row in rows]
    return "".join(f"| {line} |\n" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
