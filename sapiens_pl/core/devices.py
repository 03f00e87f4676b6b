"""Devices and their memory: how much is in use, how to tell an out-of-memory error, how to release cached memory."""

from __future__ import annotations

import gc
import platform
import re
import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch

GIB = 2**30

_OUT_OF_MEMORY = re.compile(
    "out[ _]of[ _]memory"  # CUDA, HIP, MPS, XPU, and CUDA's error names
    "|could not create a (?:primitive|memory)"  # oneDNN, when memory is short
    "|can't allocate memory|not enough memory|cannot allocate memory|bad_alloc"  # the CPU allocators
    "|could not create a (memory|primitive(?! desc))"  # oneDNN
    "|ALLOC_FAILED|failed to allocate",  # cuBLAS, cuDNN, cuSOLVER and their HIP counterparts
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """True for the exceptions by which torch's back ends say that memory ran out; some have no class of their own."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None


def free_cached(device: torch.device) -> None:
    """Returns memory that torch caches to the device."""
    empty_cache = getattr(getattr(torch, device.type, None), "empty_cache", None)
    if empty_cache is not None:
        empty_cache()


def start_afresh() -> None:
    """Frees what an earlier run in this process has left, and resets the peaks where that is possible."""
    gc.collect()
    reset_peak(torch.device("cpu"))
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        for device in range(torch.cuda.device_count()):
            reset_peak(torch.device("cuda", device))


def reset_peak(device: torch.device) -> None:
    """Resets the peak of the device's memory (for a CPU: the host's), where that is possible."""
    if device.type == "cpu":
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    elif device.type in ("cuda", "xpu"):
        getattr(torch, device.type).reset_peak_memory_stats(device)


def host_peak_gib() -> float:
    """The most memory that this process has held since `start_afresh`, GiB (on Linux; elsewhere, ever)."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 2**10 / GIB
    unit = 2**10 if sys.platform != "darwin" else 1  # kB, but bytes on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB


def device_peak_gib(device: torch.device) -> float | None:
    """The most device memory that torch's tensors have held so far, GiB; None where torch does not count it."""
    if device.type in ("cuda", "xpu"):
        return getattr(torch, device.type).max_memory_allocated(device) / GIB
    return None


def peak_gib(device: torch.device) -> float:
    """The most that this process has held of the device's memory since `reset_peak`, GiB; the host's where torch
    does not count the device's.
    """
    on_device = device_peak_gib(device)
    return host_peak_gib() if on_device is None else on_device


def memory_limit_gib(device: torch.device, processes: int = 1) -> float:
    """How much of the device's memory (for a CPU: the host's) this process may hold at most, GiB.

    Args:
        processes: how many share the host.
    """
    if device.type == "cuda":
        return (torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)) / GIB
    limits = [float("inf")]
    with suppress(OSError):
        numbers = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        limits.append(int(numbers["MemAvailable"].split()[0]) * 2**10 / GIB / processes + host_peak_gib())
    with suppress(OSError, ValueError):  # in a container
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()) / GIB / processes)
    return min(limits)


def memory_in_numbers(device: torch.device) -> str:
    """How full the device is, for a sentence."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        held = torch.cuda.memory_allocated(device)
        return f"{held / GIB:.2f} GiB held by this process, {free / GIB:.2f} of {total / GIB:.2f} GiB free"
    return f"at most {host_peak_gib():.2f} GiB held by this process so far"


def device_name(device: torch.device) -> str:
    """The chip's own name, if torch knows it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    chip = platform.processor() or platform.machine()
    if device.type == "cpu":
        with suppress(OSError):
            found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
            chip = found[1] if found else chip
    return f"{device.type} ({chip}, {torch.get_num_threads()} threads)"
