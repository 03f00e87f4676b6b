"""`dry_run=true`: what a run would do and what it would cost, without weights, device, or anything written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig

from sapiens_pl.accuracy.annotations import read_annotations
from sapiens_pl.boxes.matching import WholeImage
from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.remote import is_url
from sapiens_pl.core.terminal import printable
from sapiens_pl.data.datamodule import ImageDataModule
from sapiens_pl.data.handed_in import Finished
from sapiens_pl.detection.boxes import DetectorBoxes, auto_boxes
from sapiens_pl.records.at_hand import at_hand
from sapiens_pl.records.reading import Records
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.run.cost import NetworkFacts, bytes_to_write, crops_per_second, network_facts
from sapiens_pl.run.keypoint_meaning import check_named_meaning
from sapiens_pl.run.launch import fit_to_launcher
from sapiens_pl.run.ranks import own_rank
from sapiens_pl.run.redo import read_redo
from sapiens_pl.run.resume import check_folder, finished_among
from sapiens_pl.run.running import Demo
from sapiens_pl.run.table import not_counted_lines

_GB, _TFLOP = 1e9, 1e12


def dry_run(cfg: DictConfig, demo: Demo) -> int:
    """Tells what the run would do; the exit code is that of a run that can begin.

    Args:
        cfg: as `conf/predict.yaml` composes it.
        demo: as for `pose_run`.

    Raises:
        ConfigError: what the run itself would refuse before it has the weights.
    """
    if cfg.annotations is not None:
        read_annotations(cfg.annotations)
    fit_to_launcher(cfg)
    demo.fill_in(cfg)
    check_named_meaning(cfg)
    if own_rank():
        return 0  # the first one says it
    if not is_url(cfg.output.dir):
        return _told(cfg, _checked_folder(cfg))
    with at_hand(cfg.output.dir, only_read=True) as folder:
        check_folder(RunFolder(folder, 0, cfg.data.shard, cfg.data.num_shards), cfg)
        return _told(cfg, folder)


def _told(cfg: DictConfig, folder: Path) -> int:
    finds_people = _finds_people(cfg)
    boxes = WholeImage() if finds_people else instantiate(cfg.boxes, _convert_="all")
    data, facts = _planned(cfg, boxes, folder, finds_people), network_facts(cfg)
    rows = [*_images(data), *_crops(data, facts, finds_people)]
    rows += not_counted_lines(data.not_counted)
    rows += _space(folder, *bytes_to_write(cfg, data.num_crops, facts), finds_people)
    if cfg.calibrate and data.num_crops:
        rows.append(("time", _time(cfg, data, finds_people)))
    print("Dry run: this is what the run would do; nothing is written.")
    print("\n".join(f"  {name:<16}{printable(value)}" for name, value in rows))
    return 0


def _checked_folder(cfg: DictConfig) -> Path:
    """`output.dir`, where a run can write and may go on; it need not be there yet.

    Raises:
        ConfigError: it cannot, or may not.
    """
    folder = Path(cfg.output.dir).expanduser()
    if HydraConfig.initialized() and str(folder) == HydraConfig.get().runtime.output_dir:
        folder = Path("outputs")  # the run's own will be in there, called by the time
    elif folder.is_dir():
        check_folder(RunFolder(folder, 0, cfg.data.shard, cfg.data.num_shards), cfg)
    place = _existing(folder)
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        what = "cannot be written to" if place.is_dir() else "is no folder"
        raise ConfigError(f"output.dir={cfg.output.dir} cannot be made or used: {place} {what}; choose another.")
    return folder


def _existing(path: Path) -> Path:
    """The path itself, or the nearest place above it that is there."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())


def _finds_people(cfg: DictConfig) -> bool:
    """Whether the boxes come from a detector: nobody knows then how many people there are."""
    source: Any = get_object(cfg.boxes._target_)
    if source is auto_boxes:
        return cfg.boxes.demo_file is None
    return isinstance(source, type) and issubclass(source, DetectorBoxes)


def _planned(cfg: DictConfig, boxes: Any, folder: Path, finds_people: bool) -> ImageDataModule:
    """This shard's images that are left to do, as one process would have them."""
    records = Records(None, []) if cfg.output.overwrite else Records.read(folder)
    redo = read_redo(cfg.output.redo)

    def finished(names: Names, digests: np.ndarray | None, shards: Sequence[str] | None = None) -> Finished:
        found, changed = finished_among(records, names, None if finds_people else digests, redo)
        refused = changed & ~redo.is_named(names) & (not redo.changed)
        if refused.any():
            raise ConfigError(
                f"{folder} holds results made with other boxes ({int(refused.sum())} images, "
                f"{names[int(np.flatnonzero(refused)[0])]} the first); set output.redo=changed to do these again."
            )
        return found

    data: ImageDataModule = instantiate(cfg.data, boxes=None, _partial_=True, _convert_="all")(
        boxes=boxes, finished=finished
    )
    data.plan_all()
    return data


def _images(data: ImageDataModule) -> list[tuple[str, str]]:
    counts = data.counts
    listed, failed = counts.listed, counts.failed
    done = f"{counts.done_before} done before, {counts.failed_before} failed before"
    share = f" (shard {data.shard} of {data.num_shards})" if data.num_shards > 1 else ""
    rows = [("images", f"{listed} found; {data.num_images} to do{share}, {done}")]
    return (
        [*rows, ("left out", f"{failed} that the box file or the listing has and cannot be read")] if failed else rows
    )


def _crops(data: ImageDataModule, facts: NetworkFacts, finds_people: bool) -> list[tuple[str, str]]:
    flops = facts.flops
    a_crop = "operations a crop not known" if flops is None else f"{flops / _TFLOP:.3g} TFLOP a crop"
    if finds_people:
        return [("people", f"not known before the detector has looked at {data.num_images} images"), ("work", a_crop)]
    size = data.batch_size
    batches = f"{size} batches: their size is found on the device"
    if not isinstance(size, str):
        batches = f"{-(-data.num_crops // size)} of {size} crops"
    total = "" if flops is None else f"{flops * data.num_crops / _TFLOP:,.1f} TFLOP, "
    return [("people", f"{data.num_crops} to do"), ("batches", batches), ("work", f"{total}{a_crop}")]


def _space(folder: Path, sizes: dict[str, int], unknown: list[str], finds_people: bool) -> list[tuple[str, str]]:
    free = shutil.disk_usage(_existing(folder)).free
    total = sum(sizes.values())
    listed = ", ".join(f"{name} {size / _GB:.3g} GB" for name, size in sizes.items())
    more = f"; not estimated: {', '.join(unknown)}" if unknown else ""
    each = " for one person an image" if finds_people else ""
    scarce = ", which is less than that" if total > free else ""
    return [
        ("to write", f"about {total / _GB:.3g} GB{each} ({listed}){more}"),
        ("free space", f"{free / _GB:.1f} GB in {folder}{scarce}"),
    ]


def _time(cfg: DictConfig, data: ImageDataModule, finds_people: bool) -> str:
    num_crops = data.num_crops
    if data.goes_by_shards:
        data.plan()  # from the first one on again
    speed, device = crops_per_second(cfg, data)
    if finds_people:
        return f"{speed:.2f} crops/s on one {device}: {1000 / speed / 60:.1f} minutes for 1000 people"
    hours = num_crops / speed / 3600
    devices = cfg.trainer.devices if isinstance(cfg.trainer.devices, int) else 1
    several = max(devices, 1) * cfg.trainer.num_nodes
    shared = f", {hours / several:.2f} hours on {several}" if several > 1 else ""
    return f"{speed:.2f} crops/s on one {device}: {hours:.2f} device hours{shared}"
