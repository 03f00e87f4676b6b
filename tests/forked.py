"""Commands in a fork of a process that has done already what every run does first (`warmed.py`)."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

from hydra._internal.hydra import Hydra

_SERVER = multiprocessing.get_context("forkserver")
_CAN_CHANGE_THE_MODE = ("-", "hydra/", "hydra.mode", "hydra.searchpath", "experiment", "+experiment")
"""Without these Hydra finds no `hydra.mode`, for which it puts the whole configuration together a second time; a
command that is started afresh lets it look.
"""


def fork_command(
    arguments: list[str], working: Path, output: Path, inject: str = "", module: str = "sapiens_pl.predict"
) -> BaseProcess:
    """Starts a command in a working directory; what it prints goes to `output` with the suffixes .out and .err."""
    with _found_by_the_server():
        forkserver.set_forkserver_preload(["warmed"])
        forkserver.ensure_running()
    process = _SERVER.Process(target=_command, args=(arguments, working, output, inject, module))
    process.start()
    return process


@contextmanager
def _found_by_the_server() -> Iterator[None]:
    """It knows only the environment's path when it imports; what is in the environment besides goes to the command."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *([before] if before else [])])
    try:
        yield
    finally:
        leave_path(before)


def leave_path(before: str | None) -> None:
    os.environ.pop("PYTHONPATH")
    if before:
        os.environ["PYTHONPATH"] = before


def _command(arguments: list[str], working: Path, output: Path, inject: str, module: str) -> None:
    multiprocessing.set_start_method("fork", force=True)  # the system's own, which being forked has changed
    os.setsid()
    os.chdir(working)
    for number, stream in ((1, "out"), (2, "err")):
        os.dup2(os.open(output.with_suffix(f".{stream}"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = [f"{module.rpartition('.')[2]}.py", *arguments]
    if not any(text.startswith(_CAN_CHANGE_THE_MODE) for text in arguments):
        setattr(Hydra, "get_mode", lambda *given, **options: None)  # noqa: B010
    exec(inject, {})
    sys.exit(import_module(module).main())
