"""Commands in a fork of a process that has done already what every run does first (`warmed.py`)."""

from __future__ import annotations

import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from hydra._internal.hydra import Hydra
from waiting_ranks import Start, ranks_in_waiting

_SERVER = multiprocessing.get_context("forkserver")
_CAN_CHANGE_THE_MODE = ("-", "hydra/", "hydra.mode", "hydra.searchpath", "experiment", "+experiment")
"""Without these Hydra finds no `hydra.mode`, for which it puts the whole configuration together a second time; a
command that is started afresh lets it look.
"""


def fork_command(
    arguments: list[str],
    working: Path,
    output: Path,
    inject: str = "",
    module: str = "sapiens_pl.predict",
    environment: Mapping[str, object] | None = None,
) -> BaseProcess:
    """Starts a command in a working directory; what it prints goes to `output` with the suffixes .out and .err.

    Args:
        environment: what it has beside this process's.
    """
    _start_server()
    variables = os.environ | {name: str(value) for name, value in (environment or {}).items()}
    process = _SERVER.Process(target=_command, args=(arguments, working, output, inject, module, variables))
    process.start()
    return process


def in_a_fork(function: Callable[..., Any], *given: Any, timeout: float = 300) -> Any:
    """What a function gives in a process of its own, whose parent has no threads that could hold a lock meanwhile.

    Args:
        function: of a module; what it is given and gives can be pickled.
    """
    _start_server()
    here, there = _SERVER.Pipe()
    process = _SERVER.Process(target=_answer, args=(there, function, given))
    process.start()
    there.close()
    try:
        assert here.poll(timeout), "it hangs"
        result, said = here.recv()
    finally:
        process.kill()
        process.join()
    assert not said, said
    return result


def command_from_a_fork(arguments: list[str], working: Path, output: Path) -> int:
    """Runs a command to its end, for a function that runs `in_a_fork`, and gives its exit code.

    Args:
        output: what it prints goes there as for `fork_command`.
    """
    given = (arguments, working, output, "", "sapiens_pl.predict", dict(os.environ))
    process = multiprocessing.get_context("fork").Process(target=_command, args=given)
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _answer(answers: Connection, function: Callable[..., Any], given: tuple[Any, ...]) -> None:
    multiprocessing.set_start_method("fork", force=True)
    try:
        answers.send((function(*given), ""))
    except BaseException:
        answers.send((None, traceback.format_exc()))


def _start_server() -> None:
    """If there is none; when it imports, it knows no path but the environment's."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *([before] if before else [])])
    try:
        forkserver.set_forkserver_preload(["warmed"])
        forkserver.ensure_running()
    finally:
        leave_path(before)


def leave_path(before: str | None) -> None:
    os.environ.pop("PYTHONPATH")
    if before:
        os.environ["PYTHONPATH"] = before


def _command(
    arguments: list[str], working: Path, output: Path, inject: str, module: str, variables: dict[str, str]
) -> None:
    multiprocessing.set_start_method("fork", force=True)  # the system's own, which being forked has changed
    os.setsid()
    for number, stream in ((1, "out"), (2, "err")):
        os.dup2(os.open(output.with_suffix(f".{stream}"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if not any(text.startswith(_CAN_CHANGE_THE_MODE) for text in arguments):
        setattr(Hydra, "get_mode", lambda *given, **options: None)  # noqa: B010
    start = ranks_in_waiting(arguments) or Start(arguments, working, variables)
    os.environ.clear()
    os.environ.update(start.variables)
    _let_lightning_look_for_its_rank()
    os.chdir(start.working)
    sys.argv = [f"{module.rpartition('.')[2]}.py", *start.arguments]
    exec(inject, {})
    sys.exit(import_module(module).main())


def _let_lightning_look_for_its_rank() -> None:
    """Which it does when it is imported."""
    from lightning.fabric.utilities.rank_zero import _get_rank, rank_zero_only

    rank_zero_only.rank = _get_rank() or 0
