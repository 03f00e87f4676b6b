"""Weights from the Hugging Face hub: from its cache, else downloaded into it.

What the cache holds is used without asking the hub. Several processes that want a file at once download it once:
huggingface_hub locks it, shows the bar, and resumes a broken connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

from sapiens_pl.core.bar import has_terminal, watched
from sapiens_pl.core.errors import CheckpointError
from sapiens_pl.models.transformers_folder import SETTINGS_FILES, choose_transformers_weights

_ANSWER_SECONDS = 10.0
_TRIES = 4
_KINDS = (".safetensors", "_torchscript.pt2", ".pth", "_bfloat16.pt2")
"""Of several files that fit, the first kind is taken: safetensors before pickles, float32 before less."""


def find_weights(repository: str, file: str, licence: str | None = None) -> Path:
    """The file, or transformers' folder, that holds a repository's pose weights on this machine.

    Args:
        repository: `owner/name` on the hub.
        file: pattern of the weights' name, as the hub is asked which file it holds. A repository with a
            `config.json` is taken as a folder of transformers'.
        licence: printed before a download.

    Raises:
        CheckpointError: not in the cache, and the hub does not give it: gated, missing, offline, unreachable.
    """
    cached = cached_weights(repository, file)
    return cached if cached is not None else _download(repository, file, licence)


def cached_weights(repository: str, file: str) -> Path | None:
    """The weights in the hub's cache on this machine, None if they are not there whole."""
    folder = _cache(repository)
    newest_first = sorted(folder.glob("snapshots/*"), key=lambda path: path.stat().st_mtime, reverse=True)
    main = folder / "refs" / "main"
    if main.is_file():
        newest_first.insert(0, folder / "snapshots" / main.read_text("ascii", "replace").strip())
    for snapshot in newest_first:
        names = [path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()]
        chosen = choose_files(names, file)
        if chosen:
            return _location(snapshot, chosen)
    return None


def _cache(repository: str) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE, f"models--{repository.replace('/', '--')}")


def choose_files(names: Sequence[str], pattern: str) -> list[str]:
    """Which of a repository's files are needed: a folder of transformers', or the one that fits the pattern best."""
    weights = choose_transformers_weights(names) if SETTINGS_FILES[0] in names else []
    if weights:  # last, so that if they are in the cache, the others are too
        return [name for name in SETTINGS_FILES if name in names] + weights
    fitting = [name for name in names if fnmatch(name, pattern)]
    for kind in _KINDS:
        of_kind = sorted(name for name in fitting if name.endswith(kind))
        if of_kind:
            return of_kind[-1:]  # published file names end in their accuracy
    return []


def _download(repository: str, pattern: str, licence: str | None) -> Path:
    from huggingface_hub import HfApi

    try:
        info = HfApi().model_info(repository, timeout=_ANSWER_SECONDS, files_metadata=True)
        names = [sibling.rfilename for sibling in info.siblings or ()]
        chosen = choose_files(names, pattern)
        if not chosen:
            raise CheckpointError(_no_such_file(repository, pattern, names))
        print(f"Downloading {chosen[-1]} of {repository} (licence: {licence or 'see its model card'}).", flush=True)
        sizes = {sibling.rfilename: sibling.size for sibling in info.siblings or ()}
        size, so_far = sizes.get(chosen[-1]), partial(_so_far, repository)
        with watched(f"downloading {chosen[-1]}", "B", size, so_far, shown=not has_terminal()):
            paths = [_fetched(repository, name) for name in chosen]
    except CheckpointError:
        raise
    except Exception as error:  # huggingface_hub's own, its HTTP library's (which differs by version), the disk's
        raise CheckpointError(_why_not(repository, pattern, error)) from None
    snapshot = paths[0].parents[chosen[0].count("/")]
    return _location(snapshot, chosen)


def _fetched(repository: str, name: str) -> Path:
    """One file; a connection that breaks is taken up where it was (before 2.0 huggingface_hub does not by itself)."""
    from huggingface_hub import hf_hub_download

    for _ in range(_TRIES):
        try:
            return Path(hf_hub_download(repository, name, etag_timeout=_ANSWER_SECONDS))
        except Exception as error:
            if type(error).__name__ != "RemoteProtocolError":  # of httpx, which not every version needs
                raise
    return Path(hf_hub_download(repository, name, etag_timeout=_ANSWER_SECONDS))


def _so_far(repository: str) -> int:
    """Bytes of what is under way; in a terminal the hub's library shows a bar of its own."""
    files = [path.stat().st_size for path in (_cache(repository) / "blobs").glob("*.incomplete")]
    return max(files, default=0)


def _location(snapshot: Path, chosen: list[str]) -> Path:
    return snapshot if chosen[0] in SETTINGS_FILES else snapshot / chosen[0]


def _no_such_file(repository: str, pattern: str, names: list[str]) -> str:
    shown = ", ".join(sorted(names)[:5]) or "nothing"
    return (
        f"{repository} on the Hugging Face hub holds no weights called {pattern} (it holds {shown}); look at "
        f"https://huggingface.co/{repository}/tree/main, fetch the checkpoint by hand and set model.checkpoint=FILE."
    )


def _why_not(repository: str, pattern: str, error: Exception) -> str:
    from huggingface_hub import constants, errors

    page = f"https://huggingface.co/{repository}"
    by_hand = f"fetch {pattern} from {page}/tree/main by hand and set model.checkpoint=FILE"
    if isinstance(error, errors.GatedRepoError):
        return f"{repository} is gated: accept its terms at {page} and log in (hf auth login), or {by_hand}."
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"The Hugging Face hub has no repository {repository}, or not for you (hf auth login); else {by_hand}."
    if constants.HF_HUB_OFFLINE or isinstance(error, errors.OfflineModeIsEnabled):
        return f"HF_HUB_OFFLINE is set and {constants.HF_HUB_CACHE} has no weights of {repository}; {by_hand}."
    said = f"{type(error).__name__}: {' '.join(str(error).split())[:150]}".rstrip(": ")
    return (
        f"{repository} could not be fetched from {constants.ENDPOINT} ({said}); run the same command again where that "
        f"works, or {by_hand}."
    )
