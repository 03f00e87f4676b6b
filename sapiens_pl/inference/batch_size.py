"""The batch size that a device does best with, measured on it: `data.batch_size=auto`.

The answers are kept in `~/.cache/sapiens_pl/batch_sizes.json` (or below `$XDG_CACHE_HOME`), by device, model
and precision.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch

from sapiens_pl.core.devices import device_name, free_cached, is_out_of_memory, memory_limit_gib, peak_gib, reset_peak
from sapiens_pl.inference.module import PoseModule

GOOD_ENOUGH = 0.97
"""The smallest batch that reaches this fraction of the best speed is used: larger ones only cost memory."""

_CEILING = 0.9
_LARGEST = 512
_SECONDS_A_SIZE, _SECONDS_IN_ALL = 0.3, 20.0


def smallest_good_enough(speeds: Mapping[int, float]) -> int | None:
    """The smallest batch size within 3% of the best speed; None if nothing was measured.

    Args:
        speeds: crops a second by batch size.
    """
    best = max(speeds.values(), default=0.0)
    return min((size for size, speed in speeds.items() if speed >= GOOD_ENOUGH * best), default=None)


def best_batch_size(module: PoseModule, trainer: L.Trainer, max_memory_gib: float | None = None) -> int:
    """The smallest batch size within 3% of the best forward speed on this rank's device; measured once.

    The trainer must have placed the module there.

    Args:
        max_memory_gib: the most of the device's memory (for a CPU: the host's) that the process may hold;
            None for nine tenths of what there is for it.
    """
    device = trainer.strategy.root_device
    ceiling = max_memory_gib
    if ceiling is None:
        ceiling = _CEILING * memory_limit_gib(device, trainer.num_devices)
    key = _key(module, trainer)
    found = _remembered().get(key)
    if found is None or not _holds(found, ceiling):
        found = measure(partial(_seconds_a_pass, module, trainer), device, ceiling)
        _remember(key, found)
    if trainer.is_global_zero:
        speeds = ", ".join(f"{size}: {speed:.3g}" for size, speed in found["crops_per_second"].items())
        print(f"data.batch_size=auto: {found['batch_size']} (crops/s of the forward pass by batch size: {speeds}).")
    return found["batch_size"]


def _key(module: PoseModule, trainer: L.Trainer) -> str:
    network: Any = module.network
    rows = 1 if module.flip_indices is None else 2
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return (
        f"{device_name(trainer.strategy.root_device)}, torch {torch.__version__}, {trainer.precision}, "
        f"{type(network).__qualname__} of {parameters} parameters and {network.keypoint_set.num_keypoints} keypoints, "
        f"crops of {tuple(network.input_hw)} px, {rows} a crop"
    )


def _holds(found: dict[str, Any], ceiling: float) -> bool:
    """True if another search, below this ceiling, would end where that one did."""
    try:
        enough = found["stopped_by_gib"] is None or ceiling <= found["stopped_by_gib"]
        return enough and found["peak_gib"] <= ceiling and found["batch_size"] > 0 and bool(found["crops_per_second"])
    except (KeyError, TypeError):  # not written by this program
        return False


def _seconds_a_pass(module: PoseModule, trainer: L.Trainer, size: int) -> float:
    """The fastest of as many forward passes as fit into a fraction of a second, after a first that warms up."""
    network: Any = module.network
    device = trainer.strategy.root_device
    crops = torch.randint(0, 256, (size, 3, *network.input_hw), dtype=torch.uint8, device=device)
    times: list[float] = []
    while not times or (sum(times[1:]) < _SECONDS_A_SIZE and times[0] < _SECONDS_IN_ALL / 4):
        begin = time.perf_counter()
        with torch.inference_mode(), trainer.precision_plugin.predict_step_context():
            module(crops)[:, 0, 0, 0].cpu()  # reading a number waits for it
        times.append(time.perf_counter() - begin)
    return min(times)


def measure(seconds_a_pass: Callable[[int], float], device: torch.device, ceiling: float) -> dict[str, Any]:
    """Doubles the batch until that gains nothing, would need more memory than available, or takes too long.

    Args:
        seconds_a_pass: how long the device takes for a batch of that size; may run out of memory.
        device: where it runs.
        ceiling: GiB that the process may hold there.
    """
    speeds: dict[int, float] = {}
    peaks: dict[int, float] = {}
    stopped_by: float | None = None
    begin, size = time.perf_counter(), 1
    while size <= _LARGEST:
        if _expected_peak(peaks, size) > ceiling:
            stopped_by = ceiling
            break
        free_cached(device)
        reset_peak(device)
        try:
            seconds = seconds_a_pass(size)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            stopped_by = ceiling
            break
        if peak_gib(device) > ceiling:
            stopped_by = ceiling
            break
        speeds[size], peaks[size] = size / seconds, peak_gib(device)
        earlier = [speed for smaller, speed in speeds.items() if smaller <= size // 4]
        if earlier and speeds[size] * GOOD_ENOUGH <= max(earlier):  # two doublings that gained nothing
            break
        if time.perf_counter() - begin + 4 * seconds > _SECONDS_IN_ALL:
            break
        size *= 2
    free_cached(device)
    reset_peak(device)
    chosen = smallest_good_enough(speeds) or 1
    return {
        "batch_size": chosen,
        "peak_gib": round(peaks.get(chosen, 0.0), 3),
        "stopped_by_gib": stopped_by,
        "crops_per_second": {str(size): round(speed, 3) for size, speed in speeds.items()},
    }


def _expected_peak(peaks: dict[int, float], size: int) -> float:
    """Memory grows by the crop."""
    if len(peaks) < 2:
        return 0.0
    (smaller, low), (larger, high) = list(peaks.items())[-2:]
    return high + (size - larger) * (high - low) / (larger - smaller)


def _cache_file() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sapiens_pl" / "batch_sizes.json"


def _remembered() -> dict[str, Any]:
    try:
        known = json.loads(_cache_file().read_text("utf-8"))
    except (OSError, ValueError, RuntimeError):  # RuntimeError: there is no home
        return {}
    return known if isinstance(known, dict) else {}


def _remember(key: str, found: dict[str, Any]) -> None:
    with suppress(OSError, RuntimeError):  # then the next run measures again
        path = _cache_file()
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(_remembered() | {key: found}, indent=1), "utf-8")
        os.replace(temporary, path)
