"""What a run says of itself: `run.json` and the closing table."""

from __future__ import annotations

import platform
from typing import Any

import cv2
import lightning
import numpy
import torch
import torchvision

from sapiens_pl.memory import device_peak_gib, host_peak_gib


def versions() -> dict[str, str]:
    """Versions of everything that can change a number."""
    from sapiens_pl import __version__

    return {
        "sapiens_pl": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "lightning": lightning.__version__,
        "opencv": cv2.__version__,
        "numpy": numpy.__version__,
    }


def device_name(device: torch.device) -> str:
    """The chip's own name, as far as torch knows it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.processor() or platform.machine()}, {torch.get_num_threads()} threads)"


def peak_memory(device: torch.device) -> dict[str, float]:
    """Largest memory in use so far, GiB: this process's own, and the device's where torch counts it."""
    peak = {"host_gib": round(host_peak_gib(), 3)}
    on_device = device_peak_gib(device)
    if on_device is not None:
        peak["device_gib"] = round(on_device, 3)
    return peak


def summary_table(run: dict[str, Any]) -> str:
    """The closing table, as plain text."""
    peak, counts = run["peak_memory"], run["counts"]
    on_device = f"{peak['device_gib']:.2f} GiB on the device, " if "device_gib" in peak else ""
    rows = [
        ("images done", counts["images_done"]),
        ("images failed", counts["images_failed"]),
        ("before this run", f"{counts['images_done_before']} done, {counts['images_failed_before']} failed"),
        ("people", counts["people"]),
        ("boxes failed", counts["boxes_failed"]),
        ("speed", f"{run['crops_per_second']:.2f} crops/s ({run['seconds']:.1f} s on {run['device']})"),
        ("peak memory", f"{on_device}{peak['host_gib']:.2f} GiB on the host (main process)"),
    ]
    return "\n".join(f"  {name:<16}{value}" for name, value in rows)
