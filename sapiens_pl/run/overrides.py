"""Text on the command line that Hydra's grammar reads as something else, and how to quote it."""

from __future__ import annotations

import re
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from sapiens_pl.core.errors import ConfigError

_ACTIVE_IN_DOUBLE_QUOTES = '$`"!'
"""In a shell; there, a backslash before any other character is one."""

_BRACES = re.compile(r"\{.*(?:\.\.|,).*\}")
"""Ranges and lists, as names of shards have them."""


def quoted(key: str, value: str) -> str:
    """An override whose value is a text for Hydra, whatever is in it, to be pasted into a shell."""
    inside = re.sub(r"(\\+)(?='|$)", r"\1\1", value).replace("'", "\\'").replace("${", "\\${")
    override = f"{key}='{inside}'"
    if any(sign in override for sign in _ACTIVE_IN_DOUBLE_QUOTES) or "\\\\" in override:
        return shlex.quote(override)
    return f'"{override}"'


def options_last(arguments: Sequence[str]) -> list[str]:
    """The arguments with Hydra's options, such as -m, behind the overrides: argparse does not take them in between.

    Raises:
        ConfigError: one looks like an option but is unknown, or has an invalid value.
    """
    parser = get_args_parser()
    taking_values = {
        name for action in parser._actions if action.nargs in (None, "?") for name in action.option_strings
    }
    options: list[str] = []
    overrides: list[str] = []
    before = ""
    for argument in arguments:
        is_option = argument.startswith("-") or (before in taking_values and "=" not in argument)
        (options if is_option else overrides).append(argument if is_option else _with_braces(argument))
        before = argument
    setattr(parser, "error", _refuse_option)  # noqa: B010
    parser.parse_args([*overrides, *options])
    return [*overrides, *options]


def _with_braces(argument: str) -> str:
    """`data.images=shards/{0..9}.tar` as Hydra reads a text: braces are otherwise a mapping's for it."""
    key, _, value = argument.partition("=")
    if key != "data.images" or not _BRACES.search(value) or _can_be_read(argument):
        return argument
    override = shlex.split(quoted(key, value))[0]
    return override if _can_be_read(override) else argument


def _refuse_option(said: str) -> NoReturn:
    raise ConfigError(
        f"{said}; settings have no dashes: KEY=VALUE, for instance data.batch_size=8 (--help lists the options)."
    )


@contextmanager
def no_run_folder_of_a_dry_run() -> Iterator[None]:
    """Gives Hydra, which makes a run folder before any job begins, one that is gone afterwards.

    Raises:
        ConfigError: several dry runs are asked for.
    """
    arguments = sys.argv[1:]
    given = {name.lstrip("+"): value for name, sign, value in (each.partition("=") for each in arguments) if sign}
    if given.get("dry_run", "").lower() != "true":
        yield
        return
    if {"-m", "--multirun"} & {*arguments}:
        raise ConfigError("dry_run=true looks at one run; omit -m (--multirun) and give one value for each setting.")
    with tempfile.TemporaryDirectory(prefix="sapiens_pl-dry-") as scratch:
        own = [f"hydra.run.dir={scratch}"]
        if "hydra.run.dir" in given and "output.dir" not in given:
            own.append(f"output.dir={given['hydra.run.dir']}")
        sys.argv[1:] = [*own, *(each for each in arguments if not each.startswith("hydra.run.dir="))]
        yield


def unreadable_override(arguments: Sequence[str] | None = None, choices: bool = False) -> str | None:
    """A sentence on the first argument that Hydra cannot read as KEY=VALUE; None if it can read all.

    Args:
        arguments: the command's; by default those that it was given.
        choices: also on the first that Hydra takes for a choice of several values.
    """
    for argument in sys.argv[1:] if arguments is None else arguments:
        key, sign, value = argument.partition("=")
        if argument.startswith("-"):
            continue
        try:
            override = OverridesParser.create().parse_override(argument)
        except HydraException:
            return _sentence(key, sign, value)
        if choices and override.is_sweep_override():
            return (
                f"{argument} is a choice of values, which needs -m; if it is a single text, quote the value for Hydra "
                "too: "
                f"{quoted(key, value)}, and if it is a list, write {shlex.quote(f'{key}=[{value}]')}"
            )
    return None


def _sentence(key: str, sign: str, value: str) -> str:
    if not sign:
        return (
            f"{key} is not a setting; write KEY=VALUE without blanks around =, for instance data.images=photos/ "
            "(of evaluate predictions=outputs/my_run)"
        )
    if not _can_be_read(f"{key}=x"):
        return f"{key} is not a name of a setting; see conf/ for those there are."
    return f"{key}={value} is not text in Hydra's grammar; quote the value for Hydra too: {quoted(key, value)}"


def _can_be_read(override: str) -> bool:
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True


def no_text(key: str, value: Any) -> str:
    """A sentence on a value that should be a name or a path, and is a number, a list or the like."""
    given = (argument.partition("=") for argument in reversed(sys.argv[1:]))  # of several, the last counts
    raw = next((text for name, _, text in given if name.lstrip("+") == key), str(value))
    kind = _kind(value)
    if key == "data.images" and kind == "list":
        return f"{key}={raw} is a list; several paths stand in a text file (.txt), a path a line: name that"
    return f"{key}={raw} is not text but a {kind} for Hydra; quote the value for Hydra too: {quoted(key, raw)}"


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "yes or no"
    if isinstance(value, int | float):
        return "number"
    return "list" if isinstance(value, Sequence) else "mapping"
