"""Which source brings the pictures that `data.images` asks for: the files in `conf/sources` say what each takes."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

from sapiens_pl.core.configs import config_folder
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.protocols import PictureSource
from sapiens_pl.pictures import MAX_MEGAPIXELS


def open_source(images: Any, max_megapixels: float = MAX_MEGAPIXELS, source: str | None = None) -> PictureSource:
    """The source for these images.

    Args:
        images: what `data.images` says.
        max_megapixels: larger pictures are refused.
        source: a name in `conf/sources`, or a class by its dotted name; None: by what the sources say they take.

    Raises:
        ConfigError: no such source, or it does not take what it is given.
    """
    options = {"images": images, "max_megapixels": max_megapixels}
    known = _known_sources()
    if source is None:
        fitting = [(len(pattern), each) for each in known.values() for pattern in _takes(each, str(images))]
        # Files come last of all, and say themselves what they cannot be.
        return _made(max(fitting, key=lambda pair: pair[0])[1], options)
    if source in known:
        return _made(known[source], options)
    if "." not in str(source):
        raise ConfigError(f"data.source={source} is not known; choose one of {', '.join(known)}.")
    try:
        return get_class(source)(**options)
    except (ImportError, ValueError, HydraException) as error:
        raise ConfigError(f"data.source={source} is no class that can be loaded ({error}).") from None


def _known_sources() -> dict[str, Any]:
    """The files' contents by their names."""
    return {path.stem: OmegaConf.load(path) for path in sorted(Path(config_folder(), "sources").glob("*.yaml"))}


def _takes(source: Any, images: str) -> list[str]:
    return [pattern for pattern in source.takes if fnmatchcase(images.casefold(), pattern.casefold())]


def _made(source: Any, options: dict[str, Any]) -> PictureSource:
    own = {key: value for key, value in source.items() if key != "takes"}
    try:
        return instantiate(own, **options, _convert_="all")
    except HydraException as error:
        if isinstance(error.__cause__, ConfigError):
            raise error.__cause__ from None
        raise
