"""Checks whether a machine has what a run needs: a line for each thing, with a remedy if it is missing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from sapiens_pl.core.opencv import opencv_complaint

GOOD, NOTE, LACK, FAULT = "ok", "note", "lacks", "FAULT"
"""LACK: something that only some runs need is missing; FAULT: runs cannot work, or not properly."""
_PYTHONS = ((3, 10), (3, 13))
_LEAST_SHARED_GB, _LEAST_FILES, _LEAST_DISK_GB = 1.0, 1024, 5.0
_DISK_TRIAL_BYTES = 64 << 20
_TRIAL_SECONDS = 300
_EXTRAS = {
    "video": ("av", "videos: reading, drawing"),
    "detector": ("transformers", "person detectors of the Hugging Face hub"),
    "evaluate": ("pycocotools", "COCO's average precision"),
    "pandas": ("pandas", "data frames"),
    "slurm": ("submitit", "job arrays that the command submits itself"),
    "heif": ("pillow-heif", "HEIC photographs, as telephones take them"),
    "s3": ("s3fs", "pictures and results in buckets, s3://"),
    "gs": ("gcsfs", "the same in Google's, gs://"),
    "http": ("aiohttp", "pictures and box files behind https://"),
    "ray": ("ray", "poses inside a Ray Data pipeline"),
}


class Finding(NamedTuple):
    """One line: `state` is one of the words above; `remedy` is "" where nothing is to be done."""

    what: str
    state: str
    said: str
    remedy: str = ""


def examine(folder: Path, trial: bool = True) -> Iterator[Finding]:
    """All findings, each as soon as it is there.

    Args:
        folder: where runs are to write.
        trial: pose the demo as well, which takes some seconds.
    """
    checks: list[Callable[[], Finding | list[Finding]]] = [
        _python,
        _torch,
        _devices,
        _opencv,
        _shared_memory,
        _open_files,
        lambda: _disk(folder),
        _weights,
        _extras,
    ]
    for check in [*checks, *([_trial] if trial else [])]:
        try:
            found = check()
        except Exception as error:  # a check that fails is a finding, not the end
            said = f"could not be looked at ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
            found = Finding(
                getattr(check, "__name__", "disk").strip("_"), FAULT, said, "Fix that, and run doctor again."
            )
        yield from found if isinstance(found, list) else [found]


def _python() -> Finding:
    version, first, last = platform.python_version(), *(".".join(map(str, each)) for each in _PYTHONS)
    said = f"{version} on {platform.platform(terse=True)}, {sys.prefix}"
    if _PYTHONS[0] <= sys.version_info[:2] <= _PYTHONS[1]:
        return Finding("Python", GOOD, said)
    return Finding("Python", NOTE, said, f"Python {first} to {last} are tested; use one of these if anything fails.")


def _torch() -> list[Finding]:
    try:
        import torch
        import torchvision

        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except (ImportError, RuntimeError, AttributeError) as error:
        said = f"torch and torchvision do not work together ({' '.join(str(error).split())[:150]})"
        remedy = "Install both from one place: pip install --force-reinstall torch torchvision"
        return [Finding("PyTorch", FAULT, said, remedy)]
    import lightning

    said = f"{torch.__version__}, torchvision {torchvision.__version__}, lightning {lightning.__version__}"
    old = tuple(map(int, re.findall(r"\d+", torch.__version__)[:2])) < (2, 8)
    return [Finding("PyTorch", FAULT, said, "2.8 or newer is needed.") if old else Finding("PyTorch", GOOD, said)]


def _devices() -> list[Finding]:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        half = "bfloat16" if torch.cuda.get_device_capability(index) >= (8, 0) else "float16"
        said = f"{torch.cuda.get_device_name(index)}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free, {half}"
        found.append(Finding(f"GPU {index}", GOOD, f"{said}; driver for CUDA {torch.version.cuda}"))
    if not found and Path("/proc/driver/nvidia/version").exists():
        remedy = (
            "Install a PyTorch whose CUDA fits the driver (nvidia-smi), or give the container its GPUs (--gpus all)."
        )
        found.append(Finding("GPU", FAULT, "there is a driver, and PyTorch sees no GPU", remedy))
    elif not found and torch.backends.mps.is_available():
        found.append(Finding("GPU", GOOD, "Apple's, by MPS"))
    elif not found:
        found.append(Finding("GPU", NOTE, "none; runs use the CPU", "Large models need a GPU: 3 TFLOP a person."))
    return [*found, Finding("CPU", GOOD, f"{cores} cores, {_memory()}{_half_of_cpu()}")]


def _memory() -> str:
    with suppress(ValueError, OSError, AttributeError):
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return f"{total / 2**30:.1f} GiB of memory"
    return "memory unknown"


def _half_of_cpu() -> str:
    with suppress(OSError):
        if re.search(r"\b(avx512_bf16|amx_bf16)\b", Path("/proc/cpuinfo").read_text()):
            return ", fast bfloat16 (trainer.precision=bf16-mixed)"
    return ""


def _opencv() -> Finding:
    complaint = opencv_complaint()
    if complaint is not None:
        said, _, remedy = complaint.partition("; ")
        return Finding("OpenCV", FAULT, said, f"{remedy[:1].upper()}{remedy[1:]}")
    import cv2

    return Finding("OpenCV", GOOD, cv2.__version__)


def _shared_memory() -> Finding:
    try:
        free = shutil.disk_usage("/dev/shm").free / 1e9
    except OSError:
        return Finding("shared memory", NOTE, "there is no /dev/shm; workers send batches in other ways")
    if free >= _LEAST_SHARED_GB:
        return Finding("shared memory", GOOD, f"{free:.1f} GB free in /dev/shm")
    said = f"{free:.2f} GB free in /dev/shm; runs work, and read more slowly"
    return Finding("shared memory", LACK, said, "docker run --shm-size=8g")


def _open_files() -> Finding:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY or soft >= _LEAST_FILES:
        return Finding("open files", GOOD, f"{'any number' if soft == resource.RLIM_INFINITY else soft} a process")
    return Finding("open files", LACK, f"only {soft} a process", f"ulimit -n {_LEAST_FILES}")


def _disk(folder: Path) -> Finding:
    there = folder.absolute()
    while not there.is_dir():
        there = there.parent
    free = shutil.disk_usage(there).free / 1e9
    try:
        speed = _write_speed(there)
    except OSError as error:
        return Finding("disk", FAULT, f"{there} cannot be written ({error.strerror})", "Choose another output.dir.")
    said = f"{free:.1f} GB free in {there}, {speed:.0f} MB/s to the disk"
    if free < _LEAST_DISK_GB:
        return Finding("disk", LACK, said, "A million people of 308 keypoints take about 4 GB; make room.")
    return Finding("disk", GOOD, said)


def _write_speed(folder: Path) -> float:
    block = os.urandom(1 << 20)
    with tempfile.TemporaryFile(dir=folder) as file:
        begin = time.perf_counter()
        for _ in range(_DISK_TRIAL_BYTES >> 20):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        return _DISK_TRIAL_BYTES / 1e6 / (time.perf_counter() - begin)


def _weights() -> list[Finding]:
    from sapiens_pl.core.configs import published_models
    from sapiens_pl.models.hub import cached_weights

    here, missing = list[str](), list[str]()
    for name, cfg in published_models():
        cached = cached_weights(cfg.hub.repository, cfg.hub.file)
        (here if cached else missing).append(f"{name} ({cfg.licence})" if cached else name)
    found = [Finding("weights here", GOOD if here else NOTE, ", ".join(here) or "none but the demo's")]
    if missing:
        said = f"{', '.join(missing)}; model=NAME fetches them, python -m sapiens_pl.models has their licences"
        found.append(Finding("weights to fetch", NOTE, said))
    return found


def _extras() -> list[Finding]:
    found = []
    for extra, (module, what) in _EXTRAS.items():
        version = _version(module)
        if version:
            found.append(Finding(f"extra {extra}", GOOD, f"{module} {version}: {what}"))
        else:
            found.append(
                Finding(f"extra {extra}", NOTE, f"not installed: {what}", f"pip install 'sapiens_pl[{extra}]'")
            )
    return found


def _version(distribution: str) -> str | None:
    """None where it is not installed; a folder of that name is not an installation."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _trial() -> Finding:
    """The demo as anyone would start it, in a process of its own."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="sapiens_pl-doctor-") as folder:
        command = [
            sys.executable,
            "-m",
            "sapiens_pl.predict",
            f"output.dir={folder}/run",
            f"hydra.run.dir={folder}/run",
        ]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=_TRIAL_SECONDS)
        made = len(list(Path(folder, "run", "predictions").rglob("*.json")))
    seconds = time.perf_counter() - begin
    if ran.returncode == 0 and made:
        right: Any = re.search(r"[\d.]+%", ran.stdout)
        said = f"the demo posed {made} images in {seconds:.0f} s" + (
            f", {right[0]} of keypoints right" if right else ""
        )
        return Finding("trial run", GOOD, said)
    last = " ".join((ran.stderr.strip() or ran.stdout.strip() or "it said nothing").splitlines()[-1].split())[:200]
    said = f"the demo ended with exit code {ran.returncode}: {last}"
    return Finding("trial run", FAULT, said, "Run python -m sapiens_pl.predict to see all that it says.")
