"""Log lines: one form for whatever is said beside the results, by whichever process, on the screen and in files.

    [2026-11-29 15:03:34][WARNING] photos/a.jpg is cut off; what is there of it is read.
    [2026-11-29 15:03:34][INFO][rank 1] ...
    [2026-11-29 15:03:34][WARNING][torch] what a library says

Libraries imported later may set their loggers' levels, so `quieten_libraries` may be called again.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import Any, TextIO

from sapiens_pl.core.remote_sentences import without_secrets
from sapiens_pl.core.terminal import printable

_OURS, _WARNINGS, _FILE_ONLY = "sapiens_pl", "sapiens_pl.warnings", "sapiens_pl.in_the_log_file"
_RANK_VARIABLES = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
"""Those in which Lightning looks, in its order."""
_QUIET = ("lightning.pytorch", "lightning.fabric", "botocore", "aiobotocore", "httpx", "huggingface_hub", "fsspec")
"""Libraries that tell what they do, and advertise, at INFO."""
_HARMLESS = (
    "Couldn't infer the batch indices",  # our batches say themselves what is in them
    "It will use the implementation from `LightningModule`",  # the copy to the device: as it is meant
    "across ranks is zero",  # nothing left to do is a result
    "does not have many workers",
    "multi-threaded, use of fork",
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
)
logging.getLogger(_FILE_ONLY).addHandler(logging.NullHandler())  # else Python prints it where nothing is set up


def rank() -> int:
    """This process's number among those of its run, as whoever has started it says."""
    said = (os.environ.get(name, "") for name in _RANK_VARIABLES)
    return next((int(text) for text in said if text.isdecimal()), 0)


class Lines(logging.Formatter):
    """The form, in which each of our messages is one printable line, and no secret stands."""

    def __init__(self) -> None:
        super().__init__("%(message)s", "%Y-%m-%d %H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        marks = [self.formatTime(record, self.datefmt), record.levelname]
        if rank():
            marks.append(f"rank {rank()}")
        whose = record.name.partition(".")[0]
        is_ours = whose == _OURS
        if not is_ours:
            marks.append(whose)
        message = without_secrets(super().format(record))
        return f"{''.join(f'[{mark}]' for mark in marks)} {printable(message) if is_ours else message}"


class OnScreen(logging.Filter):
    """Keeps from the screen what is said there in another way."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.name != _FILE_ONLY


class LinesHandler(logging.StreamHandler):
    """The form on a stream; `conf/hydra/job_logging/lines.yaml` names it."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self.setFormatter(Lines())
        self.addFilter(OnScreen())


def log_to_stderr() -> None:
    """For a command that Hydra does not start."""
    logging.basicConfig(level=logging.WARNING, handlers=[LinesHandler()])
    logging.getLogger(_OURS).setLevel(logging.INFO)
    quieten_libraries()


def note(text: str, level: int = logging.INFO) -> None:
    """Says it in the run's log file only: it stands on the screen in another form."""
    for line in text.splitlines():
        if line.strip():
            logging.getLogger(_FILE_ONLY).log(level, "%s", line)


def say_line(text: str) -> None:
    """A line of the form on stderr, and in the run's log file."""
    record = logging.LogRecord(_OURS, logging.INFO, "", 0, text, None, None)
    print(Lines().format(record), file=sys.stderr, flush=True)
    note(text)


def quieten_libraries() -> None:
    """Leaves out what nobody can act on; other warnings of libraries are lines of the form."""
    logging.raiseExceptions = False  # a log file on a full disk is no reason for a traceback
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    if "TORCH_LOGS" not in os.environ:  # else somebody wants torch's lines as torch writes them
        _take_over("torch")
    for harmless in _HARMLESS:
        warnings.filterwarnings("ignore", message=f".*{harmless}")
    warnings.showwarning = _show_warning  # type: ignore[assignment]


def _take_over(library: str) -> None:
    """Has its loggers speak through ours, and not in a form of their own."""
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if name.partition(".")[0] == library and isinstance(logger, logging.Logger) and logger.handlers:
            logger.handlers.clear()
            logger.propagate = True


def _show_warning(message: Any, category: type[Warning], filename: str, lineno: int, *rest: Any) -> None:
    logging.getLogger(_WARNINGS).warning("%s (%s, %s:%d)", message, category.__name__, filename, lineno)
