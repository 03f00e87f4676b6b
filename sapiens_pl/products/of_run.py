"""Making what a run lacks, in its folder: at its end, when it is repeated, or by hand. No network is needed."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from sapiens_pl.core import protocols
from sapiens_pl.core.bar import Bar
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.products.chosen import check_products, choose_products
from sapiens_pl.products.making import Done, Made, Products, make_missing
from sapiens_pl.products.removing import check_places
from sapiens_pl.products.second_read import photographs_of
from sapiens_pl.records.members import any_at_work
from sapiens_pl.records.outlet import outlet_of
from sapiens_pl.records.reading import Records
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.records.scratch import address_of
from sapiens_pl.records.store import FOLDER, live, refuse_first_edition, store_files


def make_of_run(
    folder: RunFolder,
    cfg: DictConfig,
    tracking: protocols.Tracking | None = None,
    stopped: Callable[[], bool] = lambda: False,
    again: bool = False,
    bar: Bar | None = None,
) -> Made:
    """Makes what `output.formats` asks for and is missing; for a process that is alone in the folder.

    Args:
        folder: the run's, opened.
        cfg: with `output`, `products`, and what of `data` stands in `conf/make.yaml`.
        tracking: of its videos; None leaves the ids that box files have given.
        stopped: True as soon as the run is to stop; what is left stays missing.
        again: try also what could not be made before.
        bar: shows how far that is.

    Raises:
        ConfigError: a format or setting that cannot be used, or damaged records.
        WriteError: no space, no permission, a vanished disk.
    """
    chosen = choose_products(cfg)
    check_places(folder.path, [each.product for each in chosen])
    if not chosen:
        return Made(Counter(), [])
    records = Records.read(folder.path)
    photographs = photographs_of(cfg, stopped)
    products = Products(folder, chosen, records.keypoint_set, photographs)
    if again:
        names = {each.name for each in chosen}
        folder.failures.settle(lambda failure: failure.product in names)
    tracked = records if tracking is None else tracking(records)
    done = done_of(records, folder.path, None if tracking is None else tracking.settings)
    outdated = products.outdated(folder.failures.of_products(), done)
    if outdated:
        folder.failures.settle(lambda failure: (failure.image, failure.product) in outdated)
    given_up = folder.failures.of_products()
    try:
        return make_missing(products, tracked, done, given_up, stopped, folder.failures.append, bar)
    finally:
        photographs.close()
        folder.failures.settle()


def make_in_folder(path: Path, cfg: DictConfig, tracking: protocols.Tracking | None = None) -> Made:
    """The same by hand, for a run that has ended; also what could not be made before.

    Raises:
        ConfigError: it holds no records, or a run is writing there; and as above.
    """
    check_is_run(path)
    address = address_of(path)
    folder = RunFolder(path, rank="make")
    folder.lock.acquire()
    try:
        if any_at_work(folder.processes):
            raise ConfigError(f"The run in {address} is still running; wait for its end, and make its products then.")
        folder.remove_unfinished()
        folder.open()
        check_products(cfg)
        with Bar("products", "file") as bar:
            return make_of_run(folder, cfg, tracking, again=True, bar=bar)
    finally:
        folder.close()
        folder.lock.release()


def check_is_run(path: Path) -> None:
    """Raises ConfigError for a folder that holds no records."""
    refuse_first_edition(path)
    if not (path / FOLDER / "store.json").is_file() and not store_files(path / FOLDER):
        raise ConfigError(f"{address_of(path)} holds no records; name the output folder of a run.")


def done_of(records: Records, folder: Path, tracks: Any) -> Done:
    """The finished pictures and videos of a run.

    Args:
        folder: the run's.
        tracks: the settings that, besides the records, decide the track ids in its videos.
    """
    videos = records.videos()
    frames = {video: records.frame_names(video) for video in videos}
    states = {video: _digest([records.video_state(video), tracks]) for video in videos}
    state = state_of(folder)
    return Done(_digest([state, tracks]) if videos else state, records.photographs(), frames, states)


def _digest(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()


def state_of(folder: Path) -> str:
    """A string that changes when a run's records change: parts are named by their content, journals only grow."""
    files = [file.path for file in live(store_files(folder / FOLDER))]
    state = "".join(f"{path.name} {outlet_of(path).size(path)}\n" for path in files)
    return hashlib.blake2b(state.encode(), digest_size=16).hexdigest()
