"""Files that a run has left among the pictures: they are never taken for pictures."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from collections.abc import Set as AbstractSet

from sapiens_pl.pictures.left_out import looks_like_picture

# A folder of ours has one of each.
_RUN_RECORDS = frozenset(["run.json", "inputs.txt", "failures.jsonl", ".processes", ".hydra"])
_RUN_RESULTS = frozenset(["predictions", "records", "overlays", "openpose", "parquet"])
_ALSO_OF_RUNS = frozenset(["openpose_json", "detections", "videos", "frames", "sheets", "track_plots", "dlc"])
SWEEP = frozenset(["sweep.csv", "sweep.png"])
_STORE = "records/store.json"


def results_among(names: AbstractSet[str]) -> frozenset[str]:
    """Which of the names in a folder are those of results, if it is the folder of a run or a sweep."""
    if names >= SWEEP:
        return SWEEP
    if names & _RUN_RECORDS and names & _RUN_RESULTS:
        return _RUN_RESULTS | _ALSO_OF_RUNS
    return frozenset()


def is_passed_over(names: AbstractSet[str]) -> bool:
    """Whether a folder that holds these is one of a run alone, without a picture beside the results."""
    ours = results_among(names)
    return bool(ours) and not any(map(looks_like_picture, names - ours))


def folders_of_runs(names: Collection[str]) -> list[str]:
    """Folders that hold nothing but results, of a listing to the bottom.

    Args:
        names: of files, by their paths below the folder that was listed.
    """
    runs = {name.removesuffix(_STORE) for name in names if name == _STORE or name.endswith(f"/{_STORE}")}
    held: dict[str, set[str]] = {run: set() for run in runs}
    for name in names if runs else ():
        for folder in _above(name):
            if folder in held:
                held[folder].add(name[len(folder) :].partition("/")[0])
    found = list[str]()
    for run, inside in sorted(held.items()):
        ours = _RUN_RESULTS | _ALSO_OF_RUNS
        alone = run and not any(map(looks_like_picture, inside - ours))
        found += [run.removesuffix("/")] if alone else [f"{run}{name}" for name in sorted(inside & ours)]
    return found


def is_below(name: str, folders: AbstractSet[str]) -> bool:
    """Whether a file is in one of the folders, however deep."""
    return bool(folders) and any(folder.removesuffix("/") in folders for folder in _above(name) if folder)


def _above(name: str) -> Iterator[str]:
    """The folders above a file, each with a slash at its end; the topmost one is ""."""
    yield ""
    place = name.find("/")
    while place >= 0:
        yield name[: place + 1]
        place = name.find("/", place + 1)


def without_runs(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """The files that are not results of runs, and the folders that were passed over."""
    listed = list(names)
    passed = folders_of_runs(listed)
    among = set(passed)
    return [name for name in listed if not is_below(name, among)], passed
