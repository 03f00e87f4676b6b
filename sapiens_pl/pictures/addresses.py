"""Which URLs: one, a folder, a glob, braces, or a list file, as names below a common root."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Iterator
from fnmatch import translate
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from sapiens_pl.core.errors import ConfigError, MissingRemoteError, SapiensError
from sapiens_pl.core.remote import check_protocol, hidden, is_url
from sapiens_pl.core.text_files import open_text
from sapiens_pl.core.wording import shortened
from sapiens_pl.pictures.braces import expand_braces
from sapiens_pl.pictures.looks import entry_of, listing
from sapiens_pl.pictures.run_folders import without_runs

LISTS = (".txt", ".lst", ".list")
_WEB = ("http", "https")


class Addresses(NamedTuple):
    """`names` are those of the `urls` below `root`, in a fixed order; `complete`: they are all that lies below it.

    `run_folders` are below it too, and passed over.
    """

    root: str
    names: list[str]
    urls: list[str]
    complete: bool = False
    run_folders: tuple[str, ...] = ()


def list_addresses(images: str, wanted: Callable[[str], bool], kind: str) -> Addresses:
    """What `data.images` asks for.

    Args:
        images: URLs with braces, several of them between `::`, a glob, a folder, or one; or a list file.
        wanted: of what lies in folders, by its URL.
        kind: what they are called, for sentences.

    Raises:
        ConfigError: there is nothing, or the store refuses access.
    """
    try:
        return _listed(images, wanted, kind)
    except ConfigError:
        raise
    except SapiensError as error:
        raise ConfigError(f"data.images: {error}") from None


def is_list_of_urls(images: str) -> bool:
    """Whether this is a list file on the disk whose first line is a URL."""
    path = os.path.expanduser(images)
    if is_url(images) or not images.lower().endswith(LISTS) or not os.path.isfile(path):
        return False
    with open_text(path) as file:
        return is_url(next((line.strip().strip("\"'") for line in file if line.strip()), ""))


def _listed(images: str, wanted: Callable[[str], bool], kind: str) -> Addresses:
    if not is_url(images):
        return _of_list(os.path.expanduser(images))
    urls = expand_braces(images)
    for url in dict.fromkeys(urls[:1] + urls[-1:]):
        if not is_url(url):
            raise ConfigError(f"data.images: {shortened(url)} stands among URLs and is none; correct it.")
        check_protocol(url)
    if len(urls) > 1 and not any(map(_is_pattern, urls)):
        _look_at_one(urls[0])
        return Addresses(_fixed_part(images), [_name(url, _fixed_part(images)) for url in urls], urls)
    found, passed = dict[str, None](), dict[str, None]()
    root, complete = _fixed_part(images), False
    for url in urls:
        if _is_pattern(url):
            matches = re.compile(_regex(url)).fullmatch
            found |= dict.fromkeys(filter(matches, _without_runs(_fixed_part(url), passed)))
            continue
        folder = _folder_of(url)
        if folder is None:
            found[url] = None
        else:
            root, complete = (folder, True) if len(urls) == 1 else (root, False)
            found |= dict.fromkeys(url for url in _without_runs(folder, passed) if _is_shown(url, folder))
    given = set(urls)
    chosen = [url for url in found if url in given or wanted(url)]
    if not chosen:
        others = f" There are {len(found)} files of other kinds." if found else ""
        if urlsplit(images).scheme.lower() in _WEB:
            others += " A web server need not show what a folder holds; a list file of addresses does."
        raise ConfigError(f"data.images={shortened(hidden(images))} holds no {kind}; correct it.{others}")
    return Addresses(root, [_name(url, root) for url in chosen], chosen, complete, tuple(passed))


def _without_runs(folder: str, passed: dict[str, None]) -> list[str]:
    """The files below a URL that no run has left there; `passed` collects the folders of runs."""
    names, runs = without_runs(entry.url[len(folder) :] for entry in listing(folder))
    passed |= dict.fromkeys(runs)
    return [f"{folder}{name}" for name in names]


def _look_at_one(url: str) -> None:
    """A missing file may be a gap; a fault of the store is raised at once."""
    try:
        entry_of(url)
    except MissingRemoteError:
        return


def _folder_of(url: str) -> str | None:
    """None for a file."""
    if url.endswith("/"):
        return url
    try:
        entry_of(url)
    except MissingRemoteError:
        if urlsplit(url).scheme.lower() in _WEB or not listing(f"{url}/"):
            raise
        return f"{url}/"
    return None


def _is_shown(url: str, folder: str) -> bool:
    return not any(part.startswith(".") for part in url[len(folder) :].split("/"))


def _of_list(path: str) -> Addresses:
    """One URL a line; names are the server or bucket and the path, so a further line does not change other names."""
    urls, protocols = dict[str, None](), dict[str, str]()
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            line = line.strip().strip("\"'")
            if not line:
                continue
            if not is_url(line):
                raise ConfigError(
                    f"{path}, line {number} ({shortened(line, 80)}) is not a URL, and others are; make a list of each."
                )
            try:
                protocols[urlsplit(line).scheme] = line
            except ValueError as error:
                raise ConfigError(f"{path}, line {number} is not a URL ({error}); correct it.") from None
            urls[line] = None
    for url in protocols.values():
        check_protocol(url)
    return Addresses("", list(_different(urls)), list(urls))


def _different(urls: dict[str, None]) -> Iterator[str]:
    """Names that are all different: those that differ only behind the question mark get a number."""
    counts: dict[str, int] = {}
    for url in urls:
        name = _name(url, "")
        counts[name] = counts.get(name, 0) + 1
        yield name if counts[name] == 1 else _numbered(name, counts[name])


def _numbered(name: str, count: int) -> str:
    stem, suffix = posixpath.splitext(name)
    return f"{stem}~{count}{suffix}"


def _name(url: str, root: str) -> str:
    """A path that does not lead above the root."""
    inside = bool(root) and url.startswith(root)
    path = url[len(root) :] if inside else "/".join(urlsplit(hidden(url))[1:3])
    if urlsplit(url).scheme.lower() in _WEB:
        path = unquote(path.partition("?")[0])
    path = posixpath.normpath(f"/{path}").lstrip("/").replace("\0", "") or "_"
    return path if inside or not root else f"_outside/{path}"


def _magic(url: str) -> str:
    return "*[" if urlsplit(url).scheme.lower() in _WEB else "*?["


def _is_pattern(url: str) -> bool:
    return any(sign in url for sign in _magic(url))


def _fixed_part(url: str) -> str:
    """The folder above the first part that stands for several."""
    first = url.split("::")[0]
    place = min((first.index(sign) for sign in (*_magic(url), "{") if sign in first), default=len(first))
    return first[: first.rindex("/", 0, place) + 1]


def _regex(pattern: str) -> str:
    """`**` is any folders, also none; the other signs stay within a part."""
    parts = []
    for part in pattern.split("/"):
        if part == "**":
            parts.append("(?:[^/]+/)*")
        else:
            inside = translate(part).removeprefix("(?s:").removesuffix(r")\Z").removesuffix(r")\z")
            parts.append(re.sub(r"(?<!\\)\.\*", "[^/]*", inside) + "/")
    return "".join(parts).removesuffix("/")
