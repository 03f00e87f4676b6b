"""One folder, one name: Hydra's own folder follows `output.dir`, and nothing is left beside it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

_JOBS = ".jobs"
_not_there_before: list[Path] = []
"""Folders of runs and those above them, the innermost first."""


def follow_output_dir() -> None:
    """Lets the configuration say `${output_dir_or:DEFAULT}`: the run's folder, and DEFAULT where none is named."""
    OmegaConf.register_new_resolver("output_dir_or", _output_dir_or, replace=True)
    named = _plain_text("hydra.run.dir", _given())
    if named:
        _note_missing(Path(named))


def _output_dir_or(default: str, *, _root_: DictConfig) -> str:
    output: Any = _root_.get("output")
    raw: Any = OmegaConf.to_container(output, resolve=False) if isinstance(output, DictConfig) else {}
    given = raw.get("dir")
    if not isinstance(given, str) or not given or "${hydra:" in given:
        _note_missing(Path(default))
        return default
    named = str(output.dir)
    if "://" in named:
        from sapiens_pl.records.scratch import scratch_folder

        return str(scratch_folder(named, output.get("scratch")))
    folder = Path(named).expanduser()
    _note_missing(folder)
    return str(folder)


def _note_missing(folder: Path) -> None:
    for place in (folder.absolute(), *folder.absolute().parents):
        if place in _not_there_before or os.path.lexists(place):
            return
        _not_there_before.append(place)


def remove_empty_folder() -> None:
    """Removes the run's folder, which Hydra has made, if the run has been refused, and so has left nothing there."""
    for place in _not_there_before:
        with suppress(OSError):
            place.rmdir()
    _not_there_before.clear()


def keep_jobs_in_the_run() -> None:
    """Has a multirun whose jobs share one `output.dir` (shards) leave what Hydra writes in that folder too."""
    given = _given()
    named = _plain_text("output.dir", given)
    if {"-m", "--multirun"}.isdisjoint(sys.argv[1:]) or "hydra.sweep.dir" in given or not named or "://" in named:
        return
    when = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder = os.path.join(os.path.expanduser(named), _JOBS, when)
    text = folder.replace("\\", "\\\\").replace("'", "\\'")
    sys.argv[1:] = [f"hydra.sweep.dir='{text}'", *sys.argv[1:]]


def _given() -> dict[str, str]:
    return {name.lstrip("+"): value for name, sign, value in (each.partition("=") for each in sys.argv[1:]) if sign}


def _plain_text(key: str, given: dict[str, str]) -> str:
    """One text for all jobs, else none."""
    if key not in given or "${" in given[key]:
        return ""
    with suppress(HydraException):
        override: Any = OverridesParser.create().parse_override(f"{key}={given[key]}")
        if not override.is_sweep_override() and isinstance(override.value(), str):
            return str(override.value())
    return ""
