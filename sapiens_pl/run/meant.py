"""What was meant by a name that is not a setting, group or choice."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sapiens_pl.core.configs import config_folder

_EARLIER_NAMES = {
    "output.retry_failed": "output.redo=failed does that now",
    "boxes.batch_size": "it is called boxes.images_per_batch now",
}
_GROUPS = ("data", "boxes", "model", "trainer", "output", "tracking", "smoothing")
_MOST_NAMED = 6
_MUCH_ALIKE = 0.75
_TAKEN_OVER = re.compile(r"\$\{[^:]*\}$")
"""The value of a setting that is taken from another one."""


def no_setting(key: str, root: DictConfig) -> str:
    """A sentence on a key of the command line that the configuration lacks.

    Args:
        key: as far as Hydra could not follow it: of `boxs.file=x`, `boxs`.
        root: the configuration as composed so far.
    """
    whole, value = _argument(key)
    if whole in _EARLIER_NAMES:
        return f"{whole} is not a setting; {_EARLIER_NAMES[whole]}."
    alike = _groups_alike(whole, value) or _of_that_name(whole, root)
    elsewhere = None if alike else _with_another_choice(whole, root)
    if elsewhere:
        return f"{whole} is not a setting here; {elsewhere}."
    alike = alike or _nearly_of_that_name(whole, root)
    hint = f"did you mean {_listed(alike)}?" if alike else "see conf/ for those there are."
    return f"{whole} is not a setting; {hint}"


def no_choice(group: str, choice: str, choices: Sequence[str]) -> str:
    """A sentence on a file of `conf/` that does not exist."""
    offered = [name for name in choices if not name.startswith("_")]
    parts = set(_parts(choice))
    alike = [name for name in offered if parts and parts <= set(_parts(name))]
    alike = alike or get_close_matches(choice.lower(), offered, 1)
    hint = f"did you mean {_listed(alike)}? There are" if alike else "there are"
    return f"{group}={choice} is not a choice; {hint} {', '.join(offered)}."


def _argument(key: str) -> tuple[str, str]:
    """The whole key and the value of the argument that Hydra stopped at."""
    for argument in sys.argv[1:]:
        whole, _, value = argument.lstrip("+~").partition("=")
        if whole == key or whole.startswith(f"{key}."):
            return whole, value
    return key, ""


def _groups_alike(whole: str, value: str) -> list[str]:
    """Of `boxs=coco` and `launcher=slurm`: `boxes=coco` and `hydra/launcher=slurm`."""
    if "." in whole:
        return []
    groups = {path.relative_to(config_folder()).as_posix(): path for path in Path(config_folder()).glob("**/")}
    offering = [name for name, path in groups.items() if value and (path / f"{value}.yaml").is_file()]
    named = [name for name in offering if name.rpartition("/")[2] == whole] or get_close_matches(whole, offering, 1)
    return [f"{name}={value}" for name in named]


def _of_that_name(whole: str, root: DictConfig) -> list[str]:
    """Of `batch_size` and `model.batch_size`: `data.batch_size`."""
    name = whole.rpartition(".")[2]
    return [key for key in _settings(root) if key.count(".") == 1 and key.rpartition(".")[2] == name]


def _nearly_of_that_name(whole: str, root: DictConfig) -> list[str]:
    """Settings that are spelt much like it: beside it, as a whole, or by their last part; else a group."""
    group, _, name = whole.rpartition(".")
    keys = [key for key in _settings(root) if key.startswith("hydra.") == whole.startswith("hydra.")]
    beside = {key.rpartition(".")[2]: key for key in keys if key.rpartition(".")[0] == group}
    anywhere = {key.rpartition(".")[2]: key for key in reversed(keys)}
    return (
        [beside[near] for near in get_close_matches(name, beside, 1)]
        or get_close_matches(whole, keys, 1, _MUCH_ALIKE)
        or [anywhere[near] for near in get_close_matches(name, anywhere, 1, _MUCH_ALIKE)]
        or ([] if group else get_close_matches(whole, map(str, root), 1))
    )


def _settings(node: DictConfig) -> list[str]:
    """The keys that people set: not what configs take from each other, nor what products take from `output`."""
    return [key for key in _leaves(OmegaConf.to_container(node, resolve=False)) if not key.startswith("products.")]


def _leaves(node: Any, prefix: str = "") -> Iterator[str]:
    for name, value in node.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        elif not str(name).startswith("_") and not _TAKEN_OVER.match(str(value)):
            yield f"{prefix}{name}"


def _with_another_choice(whole: str, root: DictConfig) -> str | None:
    """Of `boxes.file`, `boxs.file` and `file`: that `boxes.file` belongs to other choices than the one made."""
    given, _, rest = whole.partition(".")
    groups = [group for group in _GROUPS if group in root]
    for group in get_close_matches(given, groups, 1) if rest else groups:
        files = sorted(Path(config_folder(), group).glob("[!_.]*.yaml"))
        choices = [f"{group}={path.stem}" for path in files if (rest or given) in _own_settings(path)]
        if choices:
            return f"{group}.{rest or given} belongs to {_listed(choices)}"
    return None


def _own_settings(path: Path) -> set[str]:
    """What a file of `conf/` and those of its folder that it builds on say."""
    content = OmegaConf.load(path)
    assert isinstance(content, DictConfig), path
    bases = [path.parent / f"{name}.yaml" for name in content.get("defaults", []) if isinstance(name, str)]
    inherited: Iterable[set[str]] = (_own_settings(base) for base in bases if base.is_file())
    return set(_settings(content)).union(*inherited)


def _parts(name: str) -> list[str]:
    return [part for part in re.split(r"[^a-z0-9.]+", name.lower()) if part]


def _listed(names: Sequence[str]) -> str:
    shown = list(names[:_MOST_NAMED])
    return " or ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]
