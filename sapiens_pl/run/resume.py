"""Coming back to a run: may this configuration go on in that folder, and what is left to do?"""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
from omegaconf import DictConfig

from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.geometry import SAPIENS_CROPS
from sapiens_pl.core.protocols import PoseNetwork
from sapiens_pl.records.listing import section
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.records.wholeness import set_damaged_aside

_START_OVER = "choose another output.dir, or set output.overwrite=true to start over"


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


def prepare_folder(folder: RunFolder, cfg: DictConfig, settings: dict[str, Any]) -> None:
    """Starts over or continues, as the configuration says; refuses to mix two kinds of result.

    Raises:
        ConfigError: the folder's results were made with other settings or nobody knows which, may not be continued,
            or cannot be removed.
    """
    _check_files(folder)
    if cfg.output.overwrite and folder.num_shards > 1:
        raise ConfigError(
            f"output.overwrite=true would remove what other shards have written to {folder.path}; choose another "
            "output.dir, or remove that one by hand."
        )
    _check_number_of_shards(folder)
    detects = any(map(_is_of_detector, settings))
    if cfg.output.overwrite:
        _start_over(folder, settings, detects)
    folder.remove_leftovers()
    folder.open()
    if folder.lock.only_one:
        set_damaged_aside(folder)
    earlier = _earlier_settings(folder) or settings
    if not folder.has_results() and not (detects and folder.has_detections()):
        return
    if not cfg.output.resume:
        raise ConfigError(
            f"{folder.path} already holds results and output.resume=false; set output.overwrite=true to replace "
            "them, or choose another output.dir."
        )
    for key in sorted({*settings, *earlier}):
        if _is_of_detector(key) and not detects:  # boxes from elsewhere are compared image by image
            continue
        if earlier.get(key) != settings.get(key):
            raise ConfigError(
                f"{folder.path} holds results made with {key}={earlier.get(key)}, not {settings.get(key)}; "
                f"{_START_OVER}."
            )
    if folder.lock.only_one:
        folder.failures.tidy(cfg.output.retry_failed and folder.num_shards == 1)


def _check_number_of_shards(folder: RunFolder) -> None:
    """Shards that are at work at once must be of one number: others would deal the images otherwise."""
    if folder.lock.only_one:
        return
    others = folder.read_run().get("config", {}).get("data", {}).get("num_shards", folder.num_shards)
    if others != folder.num_shards:
        raise ConfigError(
            f"shards with data.num_shards={others}, not {folder.num_shards}, are at work in {folder.path}; wait for "
            "their end or choose another output.dir."
        )


def _check_files(folder: RunFolder) -> None:
    """What the run is going to write must not have anything else in its place."""
    for file in folder.files:
        if file.is_dir():
            raise ConfigError(f"{file} is a folder; move it away, and run the same command again.")
    for place in folder.folders:
        if os.path.lexists(place) and not place.is_dir():
            raise ConfigError(f"{place} is no folder; move it away, and run the same command again.")


def _start_over(folder: RunFolder, settings: dict[str, Any], detects: bool) -> None:
    """Removes all results; detections stay if they were made with the same settings."""
    if not folder.run_file.exists() and not folder.inputs_file.exists():  # only what a run of ours has made is removed
        if folder.has_done():
            raise ConfigError(
                f"{folder.path} holds results, but neither run.json nor inputs.txt says that a run has made them, so "
                "output.overwrite=true does not remove them; remove them by hand, or choose another output.dir."
            )
        return
    try:
        earlier = folder.read_run().get("settings") or {}
    except ConfigError:
        earlier = {}
    folder.clear()
    if detects and any(earlier.get(key) != settings[key] for key in filter(_is_of_detector, settings)):
        folder.set_detections_aside()


def _earlier_settings(folder: RunFolder) -> dict[str, Any]:
    """Those that the folder's results were made with; nothing where there are no results."""
    earlier = folder.read_run().get("settings")
    if isinstance(earlier, dict) and earlier:
        return earlier
    if folder.has_done():
        raise ConfigError(
            f"{folder.path} holds results, but no run.json that says with which settings they were made; put it back, "
            f"{_START_OVER}."
        )
    return {}


def _is_of_detector(key: str) -> bool:
    return key.startswith("boxes.")


def refuse_moved_links(folder: RunFolder, left_out: dict[str, Any], followed: dict[str, str]) -> None:
    """Refuses to take the results of other pictures for those that lie behind a link now.

    Args:
        left_out: what `run.json` said of it.
        followed: by name, the links to folders elsewhere, and where each leads.

    Raises:
        ConfigError: one led elsewhere when the folder's results were made.
    """
    earlier = section(left_out, "links_followed")
    for name, target in followed.items():
        if earlier.get(name, target) != target:
            raise ConfigError(
                f"the link {name} led to {earlier[name]} when the results in {folder.path} were made, and leads to "
                f"{target} now, so they are of other pictures; {_START_OVER}."
            )


def finished_names(
    folder: RunFolder, names: Names, digests: np.ndarray | None, retry_failed: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Which images need not be done again: those with a result, and other ones that failed; (n,) bool each.

    The boxes are noted in the folder before anything comes of them, for the next run to compare.

    Args:
        names: of all images of the run, or of images that only a box file names, without digests then.
        digests: (n,) uint64, of their boxes.
        retry_failed: images that failed are not finished.

    Raises:
        ConfigError: an image's result was made with other boxes, or nobody knows with which.
    """
    done, earlier = folder.done(), folder.read_inputs()
    failed = set() if retry_failed else folder.failures.images() - done
    masks = np.array([name in done for name in names], bool), np.array([name in failed for name in names], bool)
    if digests is None:
        return masks
    now = {name: f"{digest:016x}" for name, digest in zip(names, digests.tolist())}
    unknown = [name for name in now if name in done and name not in earlier]
    if unknown:
        raise ConfigError(
            f"{folder.path} holds results ({len(unknown)} images, {unknown[0]} the first) that its inputs.txt does not "
            f"name, so it is not known with which boxes they were made; put that file back, {_START_OVER}."
        )
    changed = [name for name, digest in now.items() if name in done and earlier[name] != digest]
    if changed:
        raise ConfigError(
            f"{folder.path} holds results made with other boxes ({len(changed)} images, {changed[0]} the first); "
            f"{_START_OVER}."
        )
    if any(earlier.get(name) != digest for name, digest in now.items()):
        folder.open()
        with folder.turn():  # shards and ranks that know their own boxes only add to one list
            folder.write_inputs((folder.read_inputs() | now).items())
    return masks
