"""Folders with configuration files of the caller's own, as `--config-dir` and `hydra.searchpath` name them.

Hydra finds a choice in them by itself (`model=mine`). Products are no choice: all there are stand in the configuration,
those of one's own too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra._internal.utils import get_args_parser
from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from sapiens_pl.core.configs import config_folder
from sapiens_pl.core.errors import ConfigError

_SEARCHPATH, _PRODUCTS, _ON_DISK = "hydra.searchpath", "products", "file://"


def with_own_products(arguments: Sequence[str]) -> list[str]:
    """The arguments, and one more that takes in the files of `products/` in the caller's folders.

    Raises:
        ConfigError: one of them is called as a format that there is.
    """
    if any(text.lstrip("+").partition("=")[0] == _PRODUCTS for text in arguments):
        return list(arguments)  # a rank that has been started with them, or somebody who has named them
    found = [path for folder in _own_folders(arguments) for path in sorted(Path(folder, _PRODUCTS).glob("[!_.]*.yaml"))]
    for path in found:
        if Path(config_folder(), _PRODUCTS, path.name).is_file():
            raise ConfigError(f"{path} is called as a format that there is already; give the file another name.")
    names = dict.fromkeys(path.stem for path in found)
    return [*([f"+{_PRODUCTS}=[{','.join(names)}]"] if names else []), *arguments]


def as_typed(hydra: HydraConf) -> list[str]:
    """The arguments of a run without those that `with_own_products` adds, and with where the caller's files are.

    Args:
        hydra: what Hydra knows of the run.
    """
    folders = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
    given = [text for text in hydra.overrides.task if not text.startswith(f"+{_PRODUCTS}=[")]
    searched = [text for text in hydra.overrides.hydra if text.startswith(f"{_SEARCHPATH}=")]
    return [*given, *searched, *(f"--config-dir={folder}" for folder in folders)]


def searchpath(folder: str) -> str:
    """The override that is to Hydra's API what `--config-dir` is to its command line.

    Raises:
        ConfigError: there is no such folder.
    """
    if not Path(folder).is_dir():
        raise ConfigError(f"--config-dir={folder} is not a folder; name the one that holds your configuration files.")
    return f"{_SEARCHPATH}=['{_ON_DISK}{Path(folder).resolve()}']"


def _own_folders(arguments: Sequence[str]) -> list[str]:
    given = get_args_parser().parse_known_args(list(arguments))[0]
    folders = [given.config_dir] if given.config_dir else []
    for text in given.overrides:
        if text.partition("=")[0] == _SEARCHPATH:
            folders += [str(each).removeprefix(_ON_DISK) for each in _list(text)]
    return folders


def _list(override: str) -> list[object]:
    try:
        value = OverridesParser.create().parse_override(override).value()
    except HydraException:  # told by Hydra
        return []
    return value if isinstance(value, list) else []
