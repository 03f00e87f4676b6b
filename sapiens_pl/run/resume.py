"""Coming back to a run: may this configuration go on in that folder, and what is left to do?"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.folders import walk
from sapiens_pl.core.geometry import SAPIENS_CROPS
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.protocols import PoseNetwork
from sapiens_pl.data.handed_in import Finished
from sapiens_pl.products.chosen import Product, all_products, check_products, choose_products
from sapiens_pl.products.removing import check_places, clear_products, places_of
from sapiens_pl.records.clearing import remove_file
from sapiens_pl.records.listing import section, visible
from sapiens_pl.records.outlet import remove
from sapiens_pl.records.reading import Records
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.records.schema import ABSENT, DONE, FAILED
from sapiens_pl.records.settling import settle
from sapiens_pl.records.store import make_store, read_store, refuse_first_edition
from sapiens_pl.records.whole_shards import records_of
from sapiens_pl.run.account import read_account
from sapiens_pl.run.redo import Redo, listed

_START_OVER = "choose another output.dir, or set output.overwrite=true to start over"
_COARSEST_CLOCK_NS = 2_000_000_000


def result_settings(cfg: DictConfig, network: PoseNetwork, boxes: Any = None) -> dict[str, Any]:
    """What decides a result, besides the image and its boxes; a resumed run must have the same.

    Args:
        boxes: the box source; one that finds the boxes itself says what decides them.
    """
    crop = network.crop_settings
    return {
        "model.checkpoint": network.identity,
        "model.crop": None if crop == SAPIENS_CROPS else json.loads(json.dumps(crop._asdict())),
        "model.numerics": getattr(network, "numerics", None),
        "model.num_heads": cfg.model.get("num_heads"),
        "model.input_hw": list(network.input_hw),
        "model.flip_test": cfg.model.flip_test,
        "trainer.precision": str(cfg.trainer.precision),
    } | getattr(boxes, "settings", {})


def prepare_folder(
    folder: RunFolder, cfg: DictConfig, settings: dict[str, Any], keypoint_set: KeypointSet, redo: Redo
) -> None:
    """Starts over or continues, as the configuration says; refuses to mix two kinds of result.

    Raises:
        ConfigError: the folder's records were made with other or unknown settings, may not be continued,
            or cannot be removed.
    """
    check_folder(folder, cfg)
    _check_number_of_shards(folder)
    detects = any(map(_is_of_detector, settings))
    if cfg.output.overwrite:
        _start_over(folder, all_products(cfg), settings, detects)
    folder.remove_leftovers()
    folder.open()
    settle_records(folder)
    held = folder.has_results() or (detects and folder.has_detections())
    _refuse_to_resume(folder, cfg, held)
    _take_store(folder, settings, keypoint_set, held, detects)
    if folder.lock.only_one:
        remove(folder.changed_file)
        folder.failures.settle(lambda failure: redo.failed or bool(redo.is_named(Names.of([failure.image])).any()))


def check_folder(folder: RunFolder, cfg: DictConfig) -> None:
    """Checks a folder as far as possible before the network is known; changes nothing there.

    Raises:
        ConfigError: the run cannot have it.
    """
    _check_files(folder)
    check_products(cfg)
    check_places(folder.path, [each.product for each in choose_products(cfg)])
    if cfg.output.overwrite and folder.num_shards > 1:
        raise ConfigError(
            f"output.overwrite=true would remove what other shards have written to {folder.address}; choose another "
            "output.dir, or remove that one by hand."
        )
    if not cfg.output.overwrite:
        _refuse_without_store(folder, all_products(cfg))
    if not cfg.output.overwrite and not cfg.output.resume:
        _refuse_to_resume(folder, cfg, folder.has_results())


def _refuse_to_resume(folder: RunFolder, cfg: DictConfig, held: bool) -> None:
    if held and not cfg.output.resume:
        raise ConfigError(
            f"{folder.address} already holds results and output.resume=false; set output.overwrite=true to replace "
            "them, or choose another output.dir."
        )


def settle_records(folder: RunFolder) -> None:
    """Turns what killed runs have left into parts, and sets damaged files aside."""
    store = read_store(folder.records)
    if store is None:
        return
    begin = folder.looked.with_suffix(".begun")
    folder.write(begin, b"")  # its time is this moment, by the file system's own clock
    settle(folder.records, store, _last_look_ns(folder), None if folder.lock.only_one else folder.shard)
    os.replace(begin, folder.looked)


def _last_look_ns(folder: RunFolder) -> int:
    """When everything in the store was whole, to be on the safe side; 0 if that is not known."""
    try:
        looked = folder.looked.stat()
        return looked.st_mtime_ns - _COARSEST_CLOCK_NS if looked.st_dev == folder.records.stat().st_dev else 0
    except OSError:
        return 0


def _take_store(
    folder: RunFolder, settings: dict[str, Any], keypoint_set: KeypointSet, held: bool, detects: bool
) -> None:
    """Makes the store, or refuses the one that is there if it is of other results."""
    store = read_store(folder.records)
    if store is not None and not held and folder.lock.only_one:  # nothing depends on what it says
        remove_file(folder.records / "store.json")
        store = None
    earlier = settings if store is None else store.settings
    for key in sorted({*settings, *earlier}):
        if _is_of_detector(key) and not detects:  # boxes from elsewhere are compared picture by picture
            continue
        if earlier.get(key) != settings.get(key):
            raise ConfigError(
                f"{folder.address} holds results made with {key}={earlier.get(key)}, not {settings.get(key)}; "
                f"{_START_OVER}."
            )
    if store is not None and store.keypoint_set != keypoint_set:
        raise ConfigError(
            f"{folder.address} holds results of the keypoint set {store.keypoint_set.dataset_name} with "
            f"{store.keypoint_set.num_keypoints} keypoints, which is not the network's now; {_START_OVER}."
        )
    make_store(folder.records, keypoint_set, settings)


def _check_number_of_shards(folder: RunFolder) -> None:
    """Shards that run at once must agree on their number: others would deal the images differently."""
    if folder.lock.only_one:
        return
    config = read_account(folder.run_file).terms.config or {}
    others = section(config, "data").get("num_shards", folder.num_shards)
    if others != folder.num_shards:
        raise ConfigError(
            f"shards with data.num_shards={others}, not {folder.num_shards}, are running in {folder.address}; wait for "
            "their end or choose another output.dir."
        )


def _check_files(folder: RunFolder) -> None:
    """What the run is going to write must not have anything else in its place."""
    for file in folder.files:
        if file.is_dir():
            raise ConfigError(f"{file} is a folder; move it away, and run the same command again.")
    for place in folder.folders:
        if os.path.lexists(place) and not place.is_dir():
            raise ConfigError(f"{place} is not a folder; move it away, and run the same command again.")


def _start_over(
    folder: RunFolder, products: Collection[type[Product]], settings: dict[str, Any], detects: bool
) -> None:
    """Removes all results; detections stay if they were made with the same settings."""
    if not folder.run_file.exists() and not (folder.records / "store.json").exists():
        # Only what a run of ours has made is removed.
        if visible(folder.records.glob("*")) or any(_holds_product(folder.path, product) for product in products):
            raise ConfigError(
                f"{folder.address} holds results, but neither run.json nor records/store.json says that a run has made "
                "them, so output.overwrite=true does not remove them; remove them by hand, or choose another "
                "output.dir."
            )
        return
    try:
        store = read_store(folder.records)
    except ConfigError:
        store = None
    clear_products(folder.path, products)
    folder.clear()
    earlier = {} if store is None else store.settings
    if detects and any(earlier.get(key) != settings[key] for key in filter(_is_of_detector, settings)):
        folder.set_detections_aside()


def _refuse_without_store(folder: RunFolder, products: Collection[type[Product]]) -> None:
    """Refuses to replace results of unknown origin."""
    refuse_first_edition(folder.path)
    if read_store(folder.records) is None and any(_holds_product(folder.path, product) for product in products):
        raise ConfigError(
            f"{folder.address} holds results, but no store.json in records/ that says with which settings they were "
            f"made; put it back, {_START_OVER}."
        )


def _holds_product(folder: Path, product: type[Product]) -> bool:
    suffix: str = getattr(product, "suffix", "")
    for place in places_of(product):
        if not suffix and (folder / place).is_file():
            return True
        for _, _, files in walk(folder / place) if suffix else ():
            if any(file.endswith(suffix) and not file.startswith(".") for file in files):
                return True
    return False


def _is_of_detector(key: str) -> bool:
    return key.startswith("boxes.")


def refuse_moved_links(folder: RunFolder, left_out: dict[str, Any], followed: dict[str, str]) -> None:
    """Refuses to use results of other pictures for those behind a link that has changed.

    Args:
        left_out: what `run.json` says about the earlier links.
        followed: by name, the links to folders elsewhere, and where each leads.

    Raises:
        ConfigError: one led elsewhere when the folder's results were made.
    """
    earlier = section(left_out, "links_followed")
    for name, target in followed.items():
        if earlier.get(name, target) != target:
            raise ConfigError(
                f"the link {name} led to {earlier[name]} when the results in {folder.address} were made, and leads to "
                f"{target} now, so they are of other pictures; {_START_OVER}."
            )


def finished_pictures(
    folder: RunFolder, names: Names, digests: np.ndarray | None, redo: Redo, shards: Sequence[str] | None = None
) -> Finished:
    """Which pictures need not be done again.

    New ones, those that had nobody and have boxes now, and those that were not there yet are done as a matter of
    course. The posed ones whose boxes changed are listed in a file.

    Args:
        names: of pictures.
        digests: (n,) uint64, of their boxes; None if they are not known, or there is no such picture.
        shards: the only tars and tables that they are from.

    Raises:
        ConfigError: boxes of posed pictures have changed, and they are not to be done again; or damaged records.
    """
    found, changed = finished_among(records_of(folder, shards), names, digests, redo)
    if changed.any():
        _refuse_or_list(folder, names, changed, changed & ~redo.is_named(names) & (not redo.changed))
    return found


def finished_among(
    records: Records, names: Names, digests: np.ndarray | None, redo: Redo
) -> tuple[Finished, np.ndarray]:
    """The same from the records alone, and (n,) bool: posed pictures whose boxes have changed."""
    positions = records.positions(names)

    def of_names(column: np.ndarray) -> np.ndarray:
        return np.append(column, np.zeros(1, column.dtype))[positions]  # the last one is that of position -1

    done, failed = of_names(records.is_status(DONE)), of_names(records.is_status(FAILED))
    absent = of_names(records.is_status(ABSENT))
    again = redo.is_named(names)
    failed &= ~again & (not redo.failed)
    if digests is None:
        return Finished(done & ~again, failed, absent, done & again), np.zeros(len(names), bool)
    differs = done & (of_names(records.boxes_digests) != digests)
    kept = done & ~differs & ~again
    return Finished(kept, failed, absent, done & ~kept), differs & (of_names(records.num_people) > 0)


def _refuse_or_list(folder: RunFolder, names: Names, changed: np.ndarray, refused: np.ndarray) -> None:
    if folder.rank == 0:
        folder.open()
        folder.write(folder.changed_file, listed(sorted(names.select(np.flatnonzero(changed)))).encode())
    if refused.any():
        first = names[int(np.flatnonzero(refused)[0])]
        raise ConfigError(
            f"{folder.address} holds results made with other boxes ({int(refused.sum())} images, {first} the first; "
            f"all are listed in {folder.changed_file}); set output.redo=changed to do these again, {_START_OVER}."
        )
