"""Ctrl-C in a command's first seconds, while it imports: one line, no traceback, exit code 130."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sapiens_pl.core import interrupts


def mapped(pid: int, library: str) -> bool:
    try:
        return library in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return True  # it has ended


@pytest.mark.slow
@pytest.mark.parametrize(
    "module, library",
    [
        ("predict", "/cv2/"),
        ("predict", "libtorch_cpu"),
        ("predict", "torchvision"),
        ("evaluate", "/cv2/"),
        ("collect", "/cv2/"),
        ("convert", "libtorch_cpu"),
        ("models", "/cv2/"),
    ],
)
def test_ctrl_c_while_a_command_imports(tmp_path, module, library):
    arguments = ["in.pth", "out.safetensors"] if module == "convert" else []
    process = subprocess.Popen(
        [sys.executable, "-m", f"sapiens_pl.{module}", *arguments],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    end = time.monotonic() + 60
    while not mapped(process.pid, library) and time.monotonic() < end:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (130, "", "interrupted.\n")


def test_who_imports_the_package_keeps_his_own_ctrl_c():
    handler = signal.getsignal(signal.SIGINT)
    assert interrupts.module_to_run() is None
    interrupts.end_at_once()  # as the import has done
    assert signal.getsignal(signal.SIGINT) is handler
    assert getattr(handler, "__module__", "") != interrupts.__name__


def test_ctrl_c_ends_a_command_with_one_line(capsys):
    def work():
        signal.raise_signal(signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit) as ended:
            interrupts.run(work)
    finally:
        signal.signal(signal.SIGINT, handler)
    out, err = capsys.readouterr()
    assert ended.value.code == 130 and not out and err.count("\n") == 1 and err.startswith("interrupted;")
