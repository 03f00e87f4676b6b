"""Which source a folder is for, by the files in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from sapiens_pl.core.errors import ConfigError, SapiensError
from sapiens_pl.core.remote import check_protocol, is_url
from sapiens_pl.pictures.left_out import looks_like_picture, not_read_here
from sapiens_pl.pictures.looks import listing
from sapiens_pl.pictures.run_folders import is_passed_over, without_runs


def source_of_folder(images: str, sources: Mapping[str, Any]) -> str | None:
    """The source whose files a folder holds, if there are neither pictures, videos nor folders beside them.

    Args:
        images: what `data.images` says.
        sources: the contents of `conf/sources` by name; `takes_folders` says `of` which files, and `without` which.
    """
    if is_url(images):
        return _source_of_urls(images, sources)
    wanted = {name: source.takes_folders for name, source in sources.items() if "takes_folders" in source}
    fits = dict.fromkeys(wanted, False)
    try:
        with os.scandir(os.path.expanduser(images)) as entries:
            for entry in entries:
                if entry.name.startswith((".", "_")):
                    continue
                if entry.is_dir() and is_passed_over({*os.listdir(entry.path)}):
                    continue
                if looks_like_picture(entry.name) or not_read_here(entry.name) is not None or entry.is_dir():
                    return None
                for name in list(wanted):
                    if _is_one(entry.name, wanted[name].get("without", [])):
                        del wanted[name]
                    else:
                        fits[name] |= _is_one(entry.name, wanted[name].of)
    except OSError:  # not a folder; its source says what it is
        return None
    return next((name for name in wanted if fits[name]), None)


def _source_of_urls(images: str, sources: Mapping[str, Any]) -> str | None:
    """The same for a folder of a bucket or a server."""
    if not images.endswith("/") or any(sign in images for sign in "*[{"):
        return None
    check_protocol(images)
    try:
        names, _ = without_runs(entry.url[len(images) :] for entry in listing(images))
    except ConfigError:
        raise
    except SapiensError as error:
        raise ConfigError(f"data.images: {error}") from None
    shown = [name for name in names if not name.startswith((".", "_"))]
    if any("/" in name or looks_like_picture(name) or not_read_here(name) is not None for name in shown):
        return None
    for name, source in sources.items():
        folders = source.get("takes_folders")
        if folders is None or any(_is_one(each, folders.get("without", [])) for each in shown):
            continue
        if any(_is_one(each, folders.of) for each in shown):
            return name
    return None


def _is_one(name: str, patterns: Any) -> bool:
    return any(fnmatchcase(name.casefold(), pattern) for pattern in patterns)
