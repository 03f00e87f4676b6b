"""Reports a sweep: `sweep.csv`, `sweep.png`, and a table with the batch size to use."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from omegaconf import OmegaConf

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.terminal import printable
from sapiens_pl.inference.batch_size import smallest_good_enough
from sapiens_pl.products.csv_table import FORMULA_SIGNS
from sapiens_pl.products.json_files import COORDINATE_DECIMALS
from sapiens_pl.records.listing import section
from sapiens_pl.records.reading import Records
from sapiens_pl.run.account import Account, Work, read_account
from sapiens_pl.run.sweep import job_folders, output_folder

log = logging.getLogger(__name__)

NEAR_PX = 0.01
_MOST_COMPARED = 2000
_BATCH_SIZE = "data.batch_size"


class SweepRow(NamedTuple):
    """One job of a sweep.

    `others` names the overrides, besides the batch size, that not all jobs share. Speeds are crops a second,
    from the end of the first batch on where there were two. The differences are to the first complete job
    with the same `others`.
    """

    job: str
    others: str
    batch_size: int | None
    status: str
    crops_per_second: float | None
    peak_gib: float | None
    memory_of: str
    largest_difference_px: float | None
    keypoints_apart: int | None
    keypoints: int | None


def write_report(folder: Path) -> None:
    """Writes the report of the jobs below a sweep's folder, and prints its table."""
    rows = read_sweep(folder)
    write_csv(rows, folder / "sweep.csv")
    draw(rows, folder / "sweep.png")
    where = f"  table          {folder / 'sweep.csv'}\n  picture        {folder / 'sweep.png'}"
    print(printable(f"\n{table(rows)}\n\n{where}", keep="\n"))


def account_of(output: Path) -> Account:
    """A run's account; an empty one if it never began."""
    if not output.is_dir():
        return Account()
    try:
        return read_account(output / "run.json")
    except ConfigError:
        return Account(status="its run.json is damaged")


def read_sweep(folder: Path) -> list[SweepRow]:
    """The rows of all jobs below a sweep's folder, in the order of their groups and batch sizes."""
    jobs = job_folders(folder)
    overrides = [_overrides(job) for job in jobs]
    common = set.intersection(*map(set, overrides)) if len(jobs) > 1 else set()
    first: dict[str, Path] = {}
    rows = [_row(job, [text for text in texts if text not in common], first) for job, texts in zip(jobs, overrides)]
    return sorted(rows, key=lambda row: (row.others, row.batch_size or 0))


def _overrides(job: Path) -> list[str]:
    return [str(text) for text in OmegaConf.load(job / ".hydra" / "overrides.yaml")]


def _row(job: Path, overrides: list[str], first: dict[str, Path]) -> SweepRow:
    others = " ".join(text for text in overrides if not text.startswith(f"{_BATCH_SIZE}="))
    output = output_folder(job)
    account = account_of(output)
    work = account.work or Work()
    batch_size = work.batch_size
    if batch_size is None:  # it was interrupted, or never began
        configured = section(account.terms.config or {}, "data").get("batch_size", _batch_size(overrides))
        batch_size = _whole(configured)
    status = account.status or "did not begin"
    if work.largest_working_batch is not None:
        status = f"out of memory, halved to {work.largest_working_batch}"
    elif "memory" in (account.error or "").lower():
        status = "out of memory"
    memory = work.peak_memory
    memory_of = "host" if memory.device_gib is None else "device"
    apart: tuple[float | None, int | None, int | None] = (None, None, None)
    if status == "complete":
        try:
            apart = compare(first.setdefault(others, output), output)
        except ConfigError as error:
            log.warning("%s is not compared: %s", job.name, error)
    return SweepRow(
        job.name,
        others,
        batch_size,
        status,
        account.work and (work.warm_crops_per_second or work.crops_per_second),
        account.work and (memory.host_gib if memory.device_gib is None else memory.device_gib),
        memory_of,
        *apart,
    )


def _batch_size(overrides: Iterable[str]) -> str:
    return next((text.partition("=")[2] for text in overrides if text.startswith(f"{_BATCH_SIZE}=")), "")


def _whole(value: Any) -> int | None:
    return int(value) if str(value).isdecimal() else None


def compare(one: Path, other: Path) -> tuple[float, int, int]:
    """Largest distance between two runs' keypoints in image px, how many lie farther apart than 0.01 px, of how many.

    Of many images, the first two thousand by name are compared.
    """
    expected = {result.name: result for result in islice(Records.read(one).results(), _MOST_COMPARED)}
    found = {result.name: result for result in Records.read(other).results(expected)}
    distances = [np.zeros(0)]
    for name, result in expected.items():
        same = found.get(name)
        if same is None or same.keypoints.shape != result.keypoints.shape:
            distances.append(np.full(1, np.inf))
        else:
            apart = np.abs(same.keypoints.astype(np.float64) - result.keypoints).max(axis=2, initial=0)
            distances.append(np.round(apart, COORDINATE_DECIMALS).ravel())
    joined = np.concatenate(distances)
    return float(joined.max(initial=0)), int((joined > NEAR_PX).sum()), len(joined)


def recommended(rows: Iterable[SweepRow]) -> SweepRow | None:
    """The smallest batch within 3% of the best speed, of the jobs that ran through as they were configured."""
    measured = [row for row in rows if row.status == "complete" and row.crops_per_second and row.batch_size]
    measured.sort(key=lambda row: row.crops_per_second or 0)
    best = {row.batch_size or 0: row for row in measured}  # of several jobs with one batch size, the fastest
    size = smallest_good_enough({size: row.crops_per_second or 0 for size, row in best.items()})
    return None if size is None else best[size]


def write_csv(rows: list[SweepRow], path: Path) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(SweepRow._fields)
        writer.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: Any) -> Any:
    """Overrides may begin with + or =, which a spreadsheet would read as a formula; numbers stay numbers."""
    if isinstance(value, str) and value.startswith(FORMULA_SIGNS):
        return f"'{value}"
    return "" if value is None else value


def table(rows: list[SweepRow]) -> str:
    """The report as plain text, one block for each combination of the other overrides."""
    lines = []
    for others in dict.fromkeys(row.others for row in rows):
        group = [row for row in rows if row.others == others]
        lines.append(f"{others or 'Sweep'}\n  {'batch':>6} {'crops/s':>9} {'peak GiB':>15} {'apart':>14}  status")
        for row in group:
            size = "?" if row.batch_size is None else row.batch_size
            speed = "" if row.crops_per_second is None else f"{row.crops_per_second:.2f}"
            memory = "" if row.peak_gib is None else f"{row.peak_gib:.2f} ({row.memory_of})"
            apart = "" if row.largest_difference_px is None else f"{row.largest_difference_px:.4f} px"
            lines.append(f"  {size:>6} {speed:>9} {memory:>15} {apart:>14}  {row.status}")
            if row.keypoints_apart:
                lines.append(
                    f"         {row.keypoints_apart} of {row.keypoints} keypoints are apart by over {NEAR_PX} px"
                )
        best = recommended(group)
        if best is not None:
            lines.append(f"  use data.batch_size={best.batch_size}: the smallest within 3% of the best speed here")
    return "\n".join(lines)


def draw(rows: list[SweepRow], path: Path) -> None:
    """Speed and peak memory against the batch size, a line for each combination of the other overrides."""
    from matplotlib.figure import Figure  # seconds to import, and only needed here

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    speed, memory = figure.subplots(1, 2)
    sizes = sorted({row.batch_size for row in rows if row.batch_size and row.status == "complete"})
    for others in dict.fromkeys(row.others for row in rows):
        group = [row for row in rows if row.others == others and row.batch_size and row.status == "complete"]
        label = others or None
        speed.plot([r.batch_size for r in group], [r.crops_per_second for r in group], "o-", label=label)
        memory.plot([r.batch_size for r in group], [r.peak_gib for r in group], "o-", label=label)
        best = recommended(group)
        if best is not None:
            speed.plot(
                best.batch_size, best.crops_per_second, "o", ms=13, mfc="none", color=speed.lines[-1].get_color()
            )
    kinds = " and ".join(sorted({row.memory_of for row in rows if row.peak_gib is not None}))
    speed.set_ylabel("crops per second (circled: recommended)")
    memory.set_ylabel(f"peak memory on the {kinds}, GiB")
    for axes in (speed, memory):
        axes.set_xlabel("batch size, crops")
        heights = [float(y) for line in axes.lines for y in np.atleast_1d(line.get_ydata()) if y is not None]
        axes.set_ylim(0, 1.1 * max(heights, default=0) or 1)  # room for the circle
        axes.grid(alpha=0.3)
        if sizes:
            axes.set_xscale("log", base=2)
            axes.set_xticks(sizes, [str(size) for size in sizes])
    if any(row.others for row in rows):
        figure.legend(*speed.get_legend_handles_labels(), loc="outside lower center", ncols=1, fontsize=8)
    figure.savefig(path, dpi=120)
