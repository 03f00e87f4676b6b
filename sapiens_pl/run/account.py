"""What the processes of a run have left, put together: the sum of their reports, and the files of the whole run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sapiens_pl.core.errors import ConfigError, SapiensError
from sapiens_pl.core.terminal import printable
from sapiens_pl.detection.record import DetectionRecord, summed_passes
from sapiens_pl.products.merge import merge
from sapiens_pl.records.listing import section
from sapiens_pl.records.members import any_at_work
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.run.command import complain

_OF_ALL = ("settings", "config", "versions", "left_out")
"""What every process says alike."""
COMPLETE, MERGING = "complete", "merging"
"""`MERGING`: all images have their outcome, and the files that hold the whole run are not there yet."""
_WORST_FIRST = ("failed", "interrupted")


def collect(folder: RunFolder) -> dict[str, Any]:
    """Settles the failure list, and sums the reports of all processes into `run.json`, which it returns.

    A run that only now has all of its images is not complete before `finish`.
    """
    folder.failures.settle()
    with folder.turn():  # else an older sum could replace a newer one
        reports = folder.read_reports()
        if not reports:
            return folder.read_run()
        try:
            earlier = folder.read_run()
        except ConfigError:  # what it said is in the reports too
            earlier = {}
        run = summed(reports, earlier)
        if run["status"] == COMPLETE and nothing_came_out(run, folder):
            run["status"] = "failed"
        elif run["status"] == COMPLETE and earlier.get("status") != COMPLETE:
            run["status"] = MERGING
        folder.write_run(run)
    return run


def finish(folder: RunFolder, run: dict[str, Any]) -> dict[str, Any]:
    """Writes the files that hold the whole run; only then is it complete."""
    merge_results(folder, run)
    run = run | {"status": COMPLETE}
    with folder.turn():
        folder.write_run(run)
    return run


def merge_results(folder: RunFolder, run: dict[str, Any]) -> None:
    """Writes the files that hold the whole run, as its configuration asks for them."""
    formats = section(run, "config", "output").get("formats", [])
    formats = [formats] if isinstance(formats, str) else formats
    merge(folder, formats)


def nothing_came_out(run: dict[str, Any], folder: RunFolder) -> bool:
    """True if there were images to do, and not one has a result, of this run or an earlier one."""
    return section(run, "counts").get("images_planned", 0) > 0 and not folder.has_done()


def summed(reports: list[dict[str, Any]], earlier: dict[str, Any]) -> dict[str, Any]:
    """One account of a run from those of its processes; what none of them says stays as it was."""
    sizes = {report["shard"]: report["world_size"] for report in reports}
    expected = sum(sizes.values()) + reports[0]["num_shards"] - len(sizes)
    statuses = {report["status"] for report in reports}
    status = next((worst for worst in _WORST_FIRST if worst in statuses), "complete")
    counted = [report for report in reports if "counts" in report]
    run = {key: next((report[key] for report in reports if report.get(key)), earlier.get(key)) for key in _OF_ALL}
    run |= {
        "status": status if len(reports) == expected or status == "failed" else "incomplete",
        "processes_expected": expected,
        "processes_ended": len(reports),
    }
    unequal = _what_does_not_add_up(reports)
    if unequal is not None and run["status"] == "complete":
        run |= {"status": "incomplete", "incomplete": unequal}
    errors = [report["error"] for report in reports if "error" in report]
    if errors:
        run["error"] = errors[0]
    if counted:
        run |= _sums(counted)
    passes = [report["detection"] for report in reports if "detection" in report]
    if passes:
        run["detection"] = summed_passes(passes)
    run["processes"] = [
        {key: value for key, value in report.items() if key not in (*_OF_ALL, "num_shards")} for report in reports
    ]
    return run


def _what_does_not_add_up(reports: list[dict[str, Any]]) -> str | None:
    """None where the shares of all processes are all images that there are; else why not, in a sentence."""
    numbers = sorted({report["num_shards"] for report in reports})
    if len(numbers) > 1:
        listed = " and ".join(map(str, numbers))
        return f"Shards of different numbers (data.num_shards={listed}) have worked in this folder."
    counted = [report for report in reports if "images_listed" in report]
    listings = sorted({report["images_listed"] for report in counted})
    if len(listings) > 1:
        return f"The processes have not found the same images ({' and '.join(map(str, listings))})."
    dealt = sum(report["images_dealt"] for report in counted)
    if listings and dealt != listings[0]:
        return f"The processes' shares are {dealt} images, but there are {listings[0]}."
    return None


def _sums(reports: list[dict[str, Any]]) -> dict[str, Any]:
    counts = {key: sum(report["counts"].get(key, 0) for report in reports) for key in reports[0]["counts"]}
    seconds = max(report["seconds"] for report in reports)
    warm = [report["warm_crops_per_second"] for report in reports if report["warm_crops_per_second"]]
    memories = [report["peak_memory"] for report in reports]
    limits = [report["largest_working_batch"] for report in reports if "largest_working_batch" in report]
    sums = {
        "batch_size": max((report["batch_size"] or 0 for report in reports), default=0) or None,
        "device": ", ".join(dict.fromkeys(report["device"] for report in reports)),
        "counts": counts,
        "seconds": seconds,
        "seconds_with_loading": max(report["seconds_with_loading"] for report in reports),
        "crops_per_second": round(counts["people"] / seconds, 3) if seconds else 0.0,
        "warm_crops_per_second": round(sum(warm), 3) if warm else None,
        "peak_memory": {
            key: max(memory[key] for memory in memories if key in memory)
            for key in ("host_gib", "device_gib")
            if any(key in memory for memory in memories)
        },
    }
    return sums | ({"largest_working_batch": min(limits)} if limits else {})


def summary_table(run: dict[str, Any]) -> str:
    """The closing table, as plain text."""
    peak, counts, processes = run["peak_memory"], run["counts"], run["processes"]
    drawings = counts.get("drawings_left_out", 0)
    on_device = f"{peak['device_gib']:.2f} GiB on the device, " if "device_gib" in peak else ""
    rows = [
        ("images done", counts["images_done"]),
        ("images failed", counts["images_failed"]),
        ("before this run", f"{counts['images_done_before']} done, {counts['images_failed_before']} failed"),
        ("people", counts["people"]),
        ("boxes failed", counts["boxes_failed"]),
        *([("drawings", f"{drawings} left out; the log says why")] if drawings else []),
        ("speed", f"{run['crops_per_second']:.2f} crops/s ({run['seconds']:.1f} s on {run['device']})"),
        ("peak memory", f"{on_device}{peak['host_gib']:.2f} GiB on the host (main process)"),
    ]
    if "detection" in run:
        found = run["detection"]
        speed = f", {found['images_per_second']:.2f} images/s ({found['seconds']:.1f} s)" if found["seconds"] else ""
        rows.append(("detection", f"{found['people']} people in {found['images']} images{speed}"))
    if run["processes_expected"] > 1:
        rows.append(("processes", f"{run['processes_ended']} of {run['processes_expected']} ended"))
        measured = [process for process in processes if process.get("warm_crops_per_second")]
        for word, choose in (("slowest", min), ("fastest", max)):
            if len(measured) > 1:
                rows.append((word, _one_process(choose(measured, key=lambda each: each["warm_crops_per_second"]))))
    return "\n".join(f"  {name:<16}{value}" for name, value in rows)


def _one_process(process: dict[str, Any]) -> str:
    who = f"shard {process['shard']}, rank {process['rank']}"
    return f"{process['warm_crops_per_second']:.2f} crops/s, {process['counts']['people']} people ({who})"


def tell(path: Path, with_files: bool = True) -> int:
    """Puts together the run in that folder and prints its account.

    Args:
        path: the run's output folder.
        with_files: write the files that hold the whole run too, if nobody is at work there.

    Returns:
        0 all processes are complete, 1 some are not, 2 there is nothing to put together.
    """
    if not (path / "run.json").is_file():
        return complain(f"{path} holds no run.json; name the output folder of a run.", 2)
    try:
        folder = RunFolder(path, "collect")
        folder.open()
        try:
            run = collect(folder)
            at_work = _somebody_is_at_work(folder)
            if with_files and not at_work:
                DetectionRecord(folder).settle()
                if run.get("status") == MERGING:
                    run = finish(folder, run)
                else:
                    merge_results(folder, run)
        finally:
            folder.close()
            folder.lock.release()
    except SapiensError as error:
        return complain(str(error), 2 if isinstance(error, ConfigError) else 1)
    print(f"{summary_table(run)}\n" if "counts" in run else "", end="")
    print(f"  {'status':<16}{run.get('status', 'unknown')}\n  {'results':<16}{printable(str(folder.path))}")
    if at_work:
        print("The run is still at work; files that hold all of it are written at its end.")
    return 0 if run.get("status") == "complete" else 1


def _somebody_is_at_work(folder: RunFolder) -> bool:
    """If not, nobody can begin until the folder's lock is released."""
    try:
        folder.lock.acquire()
    except ConfigError:
        return True
    return any_at_work(folder.processes)  # ranks whose first one was killed
