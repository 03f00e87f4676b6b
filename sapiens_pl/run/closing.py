"""What a run says of itself at its end: the exit code, `run.json` and the closing table."""

from __future__ import annotations

import platform
import signal
import sys
from contextlib import suppress
from typing import Any, Protocol

import cv2
import lightning as L
import numpy
import torch
import torchvision
from omegaconf import DictConfig

from sapiens_pl.accuracy.annotations import read_annotations
from sapiens_pl.accuracy.of_run import evaluate_run
from sapiens_pl.core.devices import device_name, device_peak_gib, host_peak_gib
from sapiens_pl.core.errors import ConfigError, SapiensError, WriteError
from sapiens_pl.core.terminal import printable
from sapiens_pl.data.datamodule import ImageDataModule
from sapiens_pl.detection.record import DetectionRecord
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.records.writer import PoseWriter
from sapiens_pl.run.account import COMPLETE, MERGING, collect, finish, nothing_came_out, summary_table
from sapiens_pl.run.command import EXIT_BAD_CONFIG, EXIT_COMPLETE, EXIT_FAILED, complain
from sapiens_pl.run.fallen import cause, how_it_ended, speak_for_fallen
from sapiens_pl.run.ranks import Ranks
from sapiens_pl.run.stopping import StopRequest


class Demo(Protocol):
    """What the bundled demo gives to a run, handed in by the command."""

    def fill_in(self, cfg: DictConfig) -> L.Callback: ...

    def report(self, config: Any, folder: RunFolder) -> None: ...


def close_run(
    trainer: L.Trainer,
    data: ImageDataModule,
    writer: PoseWriter,
    stop: StopRequest,
    ranks: Ranks,
    demo: Demo,
    run: dict[str, Any],
    seconds: float,
    total_seconds: float,
) -> int:
    """Counts what came out, writes `run.json`, prints the table; success is a count."""
    module_limit = getattr(trainer.lightning_module, "largest_working_batch", None)
    counts, device = writer.counts, trainer.strategy.root_device
    planned = data.num_images + data.num_without_boxes + sum(failure.instance_id is None for failure in data.failures)
    missing = planned - counts.images_done - counts.images_failed
    others = ranks.wait()  # a run has ended when all of them have
    status, exit_code = "complete", EXIT_COMPLETE
    if stop.exit_code is not None and (missing or any(others)):
        status, exit_code = "interrupted", stop.exit_code
    elif missing or stop.reason or any(code and how_it_ended(code) == "failed" for code in others):
        status, exit_code = "failed", EXIT_FAILED
    elif any(others):  # somebody has ended that rank alone
        status, exit_code = "interrupted", 128 + signal.SIGTERM
    run |= {
        "status": status,
        "versions": versions(),
        "device": device_name(device),
        "batch_size": data.planned_batch_size,
        "counts": {
            "images_planned": planned,
            "images_done_before": data.num_done_before,
            "images_failed_before": data.num_failed_before,
            **vars(counts),
            "images_not_reached": missing,
        },
        "seconds": round(seconds, 3),
        "seconds_with_loading": round(total_seconds, 3),
        "crops_per_second": round(counts.people / seconds, 3),
        "warm_crops_per_second": writer.pace.crops_per_second and round(writer.pace.crops_per_second, 3),
        "peak_memory": peak_memory(device),
        "images_listed": len(data.list_images().files),
        "images_dealt": data.num_dealt,
        "left_out": data.list_images().left_out.account(),
    }
    if module_limit is not None:
        run["largest_working_batch"] = module_limit
    writer.folder.write_report(run)
    speak_for_fallen(writer.folder, ranks, run)
    whole = collect(writer.folder)
    if others or whole["processes_ended"] == whole["processes_expected"]:
        DetectionRecord(writer.folder).settle()
        if whole["status"] in (MERGING, COMPLETE):
            whole = finish(writer.folder, whole)
        print_summary(whole, writer.folder, stop, demo)
        if whole["status"] == COMPLETE and whole["config"].get("annotations"):
            exit_code = exit_code or _tell_accuracy(writer.folder, whole["config"]["annotations"])
        if "incomplete" in whole:
            print(f"{whole['incomplete']} Run all of them again: what is done is not done twice.")
        if "incomplete" in whole or nothing_came_out(whole, writer.folder):
            exit_code = exit_code or EXIT_FAILED
    elif trainer.is_global_zero:
        print(f"This process has ended ({status}), {whole['processes_ended']} of {whole['processes_expected']} so far.")
    if any(others):
        how = ", ".join(f"rank {rank} by {cause(code)}" for rank, code in enumerate(others, 1) if code)
        print(f"Another process of this run broke off ({how}); run the same command again to continue.")
    return exit_code


def _tell_accuracy(folder: RunFolder, annotations: str) -> int:
    """The exit code; whatever is wrong with the annotations, the results are there."""
    try:
        evaluate_run(folder, read_annotations(annotations))
    except SapiensError as error:
        code = EXIT_BAD_CONFIG if isinstance(error, ConfigError) else EXIT_FAILED
        return complain(f"the run is complete, but its accuracy is not known: {error}", code)
    return EXIT_COMPLETE


def note_the_end(
    folder: RunFolder, ranks: Ranks, run: dict[str, Any], stop: StopRequest, demo: Demo, error: BaseException
) -> None:
    """Says in `run.json` how the run broke off, if that can still be written."""
    status = "failed" if stop.signal is None else "interrupted"
    run |= {"status": status, "versions": versions(), "error": f"{type(error).__name__}: {error}"}
    with suppress(WriteError, OSError):
        folder.open()
        folder.write_report(run)
    if ranks.processes() and stop.signal is None and ranks.agreed:
        print(f"{run['error']}. The other processes of this run do their shares first.", file=sys.stderr)
    others = ranks.end_or_wait()
    with suppress(WriteError, OSError):
        speak_for_fallen(folder, ranks, run)
        whole = collect(folder)
        if others and "counts" in whole:
            print_summary(whole, folder, stop, demo)


def print_summary(run: dict[str, Any], folder: RunFolder, stop: StopRequest, demo: Demo) -> None:
    """The closing table, and in words what is not as it should be."""
    counts = run["counts"]
    print(f"\n{summary_table(run)}\n  {'results':<16}{printable(str(folder.path))}")
    if counts["images_failed"] or counts["boxes_failed"]:
        print(f"  {'reasons':<16}{printable(str(folder.failures.file))}")
    demo.report(run["config"], folder)
    if stop.reason:
        print(printable(stop.reason))
    elif nothing_came_out(run, folder) and not counts["images_not_reached"]:
        print("Nothing could be read: every image failed.")
    elif counts["images_not_reached"]:
        print(f"{counts['images_not_reached']} images were not reached; run the same command again to continue.")


def versions() -> dict[str, str]:
    """Versions of everything that can change a number."""
    from sapiens_pl import __version__

    return {
        "sapiens_pl": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "lightning": L.__version__,
        "opencv": cv2.__version__,
        "numpy": numpy.__version__,
    }


def peak_memory(device: torch.device) -> dict[str, float]:
    """Largest memory in use so far, GiB: this process's own, and the device's where torch counts it."""
    peak = {"host_gib": round(host_peak_gib(), 3)}
    on_device = device_peak_gib(device)
    if on_device is not None:
        peak["device_gib"] = round(on_device, 3)
    return peak
