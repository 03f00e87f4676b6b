"""Which source brings the pictures that `data.images` asks for: the files in `conf/sources` say what each takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from hydra.utils import get_class, get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from sapiens_pl.core.carried import carry_of
from sapiens_pl.core.configs import config_folder
from sapiens_pl.core.errors import ConfigError, UnreadableImageError
from sapiens_pl.core.protocols import PictureSource
from sapiens_pl.core.structures import LoadedImage
from sapiens_pl.pictures import MAX_MEGAPIXELS
from sapiens_pl.pictures.addresses import is_list_of_urls
from sapiens_pl.pictures.shard_folders import source_of_folder


def open_source(
    images: Any,
    max_megapixels: float = MAX_MEGAPIXELS,
    source: str | Mapping[str, Any] | None = None,
    video: Mapping[str, Any] | None = None,
    columns: Mapping[str, Any] | None = None,
    scratch_gib: float | None = None,
    carry: Any = None,
) -> PictureSource:
    """The source for these images.

    Args:
        images: what `data.images` says.
        max_megapixels: larger pictures are refused.
        source: a name in `conf/sources`, a class by its dotted name, or that name as `_target_` and settings of the
            class's own; None: by what the sources say they take.
        video: which frames of videos (`data.video`); goes to sources that take it.
        columns: which of a table's columns (`data.columns`); only a source that takes them may be given any.
        scratch_gib: that whole files from behind URLs may take on the disk (`data.scratch_gib`).
        carry: what stands beside the pictures and comes with them (`data.carry`); as `columns`.

    Raises:
        ConfigError: no such source, or it does not take what it is given.
    """
    chosen, options = _chosen(images, source), {"images": images, "max_megapixels": max_megapixels}
    settings = {"video": video, "columns": columns, "scratch_gib": scratch_gib, "carry": carry_of(carry) or None}
    taken = inspect.signature(_class_of(chosen)).parameters
    options |= {name: value for name, value in settings.items() if value is not None and name in taken}
    if "columns" not in taken and any((columns or {}).values()):
        raise ConfigError(f"data.columns is for tables of pictures, and data.images={images} is none; omit it.")
    if "carry" not in taken and settings["carry"]:
        raise ConfigError(f"data.carry is for tars and tables of pictures, and data.images={images} is none; omit it.")
    return _made(chosen, options) if isinstance(chosen, DictConfig) else _made_of_own(chosen, options)


def open_again(
    images: Any, max_megapixels: float = MAX_MEGAPIXELS, source: str | Mapping[str, Any] | None = None
) -> Callable[[str, str], LoadedImage]:
    """What reads single pictures later, in another process; arguments as for `open_source`.

    Returns:
        Called with a picture's name and its path, as the source gave them before; raises SapiensError if there is no
        such picture any more, or it cannot be read.

    Raises:
        ConfigError: as `open_source`.
    """
    chosen = _chosen(images, source)
    kind = _class_of(chosen)
    again = getattr(kind, "open_again", None)
    if again is not None:
        return again(max_megapixels)
    read_path = getattr(kind, "read_path", None)
    if read_path is not None:
        return lambda name, path: read_path(path, max_megapixels)
    opened = open_source(images, max_megapixels, source)
    pictures = opened.pictures()
    indices = {name: index for index, name in enumerate(pictures.names)}

    def read(name: str, path: str) -> LoadedImage:
        index = indices.get(name)
        if index is None or pictures.path(index) != path:
            raise UnreadableImageError(
                f"{path} is not among the pictures of data.images={images}; put it back, or name those that it belongs "
                "to (data.images, data.source)."
            )
        return opened.read(index)

    return read


def _chosen(images: Any, source: str | Mapping[str, Any] | None) -> DictConfig | Callable[..., PictureSource]:
    """What a file in `conf/sources` says, or the class that is given by its dotted name, with its settings."""
    if isinstance(source, Mapping):
        given: Any = OmegaConf.to_container(source, resolve=True) if isinstance(source, DictConfig) else source
        own = {str(key): value for key, value in given.items() if key != "_target_"}
        return partial(_loaded(given.get("_target_")), **own)
    known = _known_sources()
    source = source or source_of_folder(str(images), known)
    if source is None and is_list_of_urls(str(images)):
        source = "urls"
    if source is None:
        fitting = [(len(pattern), each) for each in known.values() for pattern in _takes(each, str(images))]
        # Files come last of all, and say themselves what they cannot be.
        return max(fitting, key=lambda pair: pair[0])[1]
    if source in known:
        return known[source]
    if "." not in str(source):
        raise ConfigError(f"data.source={source} is not known; choose one of {', '.join(known)}.")
    return _loaded(source)


def _loaded(name: Any) -> type[PictureSource]:
    """Looked at before it is called: the name may stand in anybody's run folder."""
    try:
        kind = get_class(str(name))
    except (ImportError, ValueError, HydraException) as error:
        raise ConfigError(f"data.source={name} is not a class that can be loaded ({error}).") from None
    missing = [each for each in ("pictures", "read") if not callable(getattr(kind, each, None))]
    if missing:
        raise ConfigError(
            f"data.source={name} is a class without {' and '.join(missing)}; write a PictureSource, as "
            "sapiens_pl/core/protocols.py describes it."
        )
    return kind


def _class_of(chosen: DictConfig | Callable[..., PictureSource]) -> Any:
    if isinstance(chosen, DictConfig):
        return get_object(chosen["_target_"])
    return chosen.func if isinstance(chosen, partial) else chosen


def _known_sources() -> dict[str, Any]:
    """The files' contents by their names."""
    return {path.stem: OmegaConf.load(path) for path in sorted(Path(config_folder(), "sources").glob("*.yaml"))}


def _takes(source: Any, images: str) -> list[str]:
    return [pattern for pattern in source.takes if fnmatchcase(images.casefold(), pattern.casefold())]


def _made_of_own(kind: Callable[..., PictureSource], options: dict[str, Any]) -> PictureSource:
    try:
        inspect.signature(kind).bind(**options)
    except TypeError as error:
        own = kind.func if isinstance(kind, partial) else kind
        raise ConfigError(f"data.source: {error}, says {own.__module__}.{own.__qualname__}; correct it.") from None
    return kind(**options)


def _made(source: Any, options: dict[str, Any]) -> PictureSource:
    own = {key: value for key, value in source.items() if key not in ("takes", "takes_folders")}
    try:
        return instantiate(own, **options, _convert_="all")
    except HydraException as error:
        if isinstance(error.__cause__, ConfigError):
            raise error.__cause__ from None
        raise
