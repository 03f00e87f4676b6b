"""Coming back to a run: may this configuration go on in that folder, and what is left to do?"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from omegaconf import DictConfig

from sapiens_pl.errors import ConfigError
from sapiens_pl.geometry import SAPIENS_CROPS, CropSettings
from sapiens_pl.models.tensors import checkpoint_sha256
from sapiens_pl.structures import ImageTask
from sapiens_pl.writers.run_folder import RunFolder

_START_OVER = "choose another output.dir, or set output.overwrite=true to start over"
_DIGEST_BYTES = 8


def result_settings(cfg: DictConfig, crop_settings: CropSettings, boxes: Any = None) -> dict[str, Any]:
    """What decides a result, besides the image and its boxes; a resumed run must have the same.

    Args:
        boxes: the box source; one that finds the boxes itself says what decides them.
    """
    return {
        "model.checkpoint": f"SHA-256 {checkpoint_sha256(cfg.model.checkpoint)}",
        "model.crop": None if crop_settings == SAPIENS_CROPS else json.loads(json.dumps(crop_settings._asdict())),
        "model.num_heads": cfg.model.num_heads,
        "model.input_hw": cfg.model.input_hw and list(cfg.model.input_hw),
        "model.flip_test": cfg.model.flip_test,
        "trainer.precision": str(cfg.trainer.precision),
    } | getattr(boxes, "settings", {})


def prepare_folder(folder: RunFolder, cfg: DictConfig, settings: dict[str, Any]) -> None:
    """Starts over or continues, as the configuration says; refuses to mix two kinds of result.

    Raises:
        ConfigError: the folder's results were made with other settings, or may not be continued.
    """
    if cfg.output.overwrite and folder.num_shards > 1:
        raise ConfigError(
            f"output.overwrite=true would remove what other shards have written to {folder.path}; choose another "
            "output.dir, or remove that one by hand."
        )
    _check_number_of_shards(folder)
    earlier: dict[str, Any] = folder.read_run().get("settings") or settings
    detects = any(map(_is_of_detector, settings))
    if cfg.output.overwrite and folder.read_run():  # only what a run of ours has made is removed
        folder.clear()
        if detects and any(earlier.get(key) != settings[key] for key in filter(_is_of_detector, settings)):
            folder.set_detections_aside()
            earlier = settings
    folder.remove_leftovers()
    folder.open()
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


def _is_of_detector(key: str) -> bool:
    return key.startswith("boxes.")


def finished_names(
    folder: RunFolder, tasks: list[ImageTask], record: bool, retry_failed: bool = False
) -> tuple[set[str], set[str]]:
    """Names of the images that need not be done again: those with a result, and other ones that failed.

    Args:
        tasks: all images of the run, with their boxes.
        record: note these boxes in the folder, for the next run to compare.
        retry_failed: images that failed are not finished.

    Raises:
        ConfigError: an image's result was made with other boxes.
    """
    done, earlier = folder.done(), folder.read_inputs()
    digests = {task.name: boxes_digest(task) for task in tasks}
    changed = [name for name, digest in digests.items() if name in done and earlier.get(name, digest) != digest]
    if changed:
        raise ConfigError(
            f"{folder.path} holds results made with other boxes ({len(changed)} images, {changed[0]} the first); "
            f"{_START_OVER}."
        )
    if record:
        with folder.turn():  # shards and ranks that know their own boxes only add to one list
            earlier = folder.read_inputs()
            merged = {**earlier, **digests}
            if merged != earlier:
                folder.write_inputs(merged.items())
    return done, set() if retry_failed else folder.failures.images() - done


def boxes_digest(task: ImageTask) -> str:
    """A short hash of everything that an image's boxes give to its result."""
    if task.bboxes_xyxy is None:
        return "whole"
    meaning = (b"raw" if task.raw_exif else b"") + (b"normalised" if task.normalised else b"")
    content = hashlib.blake2b(meaning, digest_size=_DIGEST_BYTES)
    for array in (task.bboxes_xyxy, task.bbox_scores, task.instance_ids):
        content.update(array.tobytes())
    return content.hexdigest()
