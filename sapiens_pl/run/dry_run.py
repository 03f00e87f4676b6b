"""`dry_run=true`: what a run would do and what it would cost, without weights, device, or anything written."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig

from sapiens_pl.accuracy.annotations import read_annotations
from sapiens_pl.boxes.matching import WholeImage
from sapiens_pl.core.bar import watched
from sapiens_pl.core.columns import Names
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.not_counted import NotCounted
from sapiens_pl.core.remote import is_url
from sapiens_pl.core.terminal import printable
from sapiens_pl.data.datamodule import ImageDataModule
from sapiens_pl.data.handed_in import Finished
from sapiens_pl.data.portions import PlanCounts
from sapiens_pl.detection.boxes import DetectorBoxes, auto_boxes
from sapiens_pl.pictures import scratch
from sapiens_pl.records.at_hand import at_hand
from sapiens_pl.records.reading import Records
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.run.bytes_to_write import Estimate, bytes_to_write, in_words
from sapiens_pl.run.cost import NetworkFacts, crops_per_second, network_facts
from sapiens_pl.run.keypoint_meaning import check_named_meaning
from sapiens_pl.run.launch import fit_to_launcher
from sapiens_pl.run.people_sample import PeopleSample, look_at_some
from sapiens_pl.run.ranks import own_rank
from sapiens_pl.run.redo import read_redo
from sapiens_pl.run.resume import check_folder, finished_among
from sapiens_pl.run.running import Demo
from sapiens_pl.run.table import not_counted_lines

_GB, _TFLOP = 1e9, 1e12


def dry_run(cfg: DictConfig, demo: Demo) -> int:
    """Prints what the run would do; returns the exit code of a run that can begin.

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
        return 0  # only the first process prints it
    if not is_url(cfg.output.dir):
        return _told(cfg, _checked_folder(cfg))
    with at_hand(cfg.output.dir, only_read=True) as folder:
        check_folder(RunFolder(folder, 0, cfg.data.shard, cfg.data.num_shards), cfg)
        return _told(cfg, folder)


def _told(cfg: DictConfig, folder: Path) -> int:
    finds_people = _finds_people(cfg)
    boxes = WholeImage() if finds_people else instantiate(cfg.boxes, _convert_="all")
    if finds_people and cfg.boxes.weights is not None and not os.path.exists(os.path.expanduser(cfg.boxes.weights)):
        raise ConfigError(
            f"boxes.weights={cfg.boxes.weights} does not exist; give the file with the detector's weights."
        )
    planned, facts = _planned(cfg, boxes, folder, finds_people), network_facts(cfg)
    data = planned.data
    calibrates = bool(cfg.calibrate and data.num_crops)
    if data.goes_by_shards:
        data.plan()  # from the first one on again, for what is looked at; what was counted stays in `planned`
    sample = None
    if calibrates and finds_people:
        with _calibrating(cfg, "detector"):
            sample = look_at_some(cfg, data)
    people = planned.counts.crops if sample is None else planned.counts.images * sample.people_an_image
    rows = [*_images(data, planned.counts), *_crops(data, planned, facts, finds_people, sample)]
    rows += not_counted_lines(planned.not_counted)
    rows += _space(cfg, folder, bytes_to_write(cfg, data, planned.counts, people, facts), finds_people and not sample)
    rows += _copies(data)
    if calibrates:
        with _calibrating(cfg, "poses"):
            rows.append(("time", _time(cfg, data, planned.counts.images, people, sample)))
    print("Dry run: this is what the run would do; nothing is written.")
    print("\n".join(f"  {name:<16}{printable(value)}" for name, value in rows))
    return 0


def _calibrating(cfg: DictConfig, what: str) -> AbstractContextManager[None]:
    """A bar of the seconds; loading the network comes before them."""
    begin, seconds = time.monotonic(), math.ceil(cfg.calibrate)
    return watched(f"calibration, {what}", "s", seconds, lambda: min(int(time.monotonic() - begin), seconds))


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
        what = "cannot be written to" if place.is_dir() else "is not a folder"
        raise ConfigError(f"output.dir={cfg.output.dir} cannot be made or used: {place} {what}; choose another.")
    return folder


def _existing(path: Path) -> Path:
    """The path itself, or the nearest place above it that is there."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())


def _finds_people(cfg: DictConfig) -> bool:
    """Whether the boxes come from a detector: then the number of people is not known."""
    source: Any = get_object(cfg.boxes._target_)
    if source is auto_boxes:
        return cfg.boxes.demo_file is None
    return isinstance(source, type) and issubclass(source, DetectorBoxes)


class _Planned(NamedTuple):
    """What there is to do: its `counts`, and `people_done`, the people already on record."""

    data: ImageDataModule
    counts: PlanCounts
    people_done: int
    not_counted: NotCounted


def _planned(cfg: DictConfig, boxes: Any, folder: Path, finds_people: bool) -> _Planned:
    """This shard's images that are left to do, as one process would have them; of tars some at a time."""
    redo, people_done = read_redo(cfg.output.redo), [0]
    everything = Records(None, []) if cfg.output.overwrite else None

    def finished(names: Names, digests: np.ndarray | None, shards: Sequence[str] | None = None) -> Finished:
        nonlocal everything
        if everything is None and shards is None:
            everything = Records.read(folder)
        records = everything if everything is not None else Records.read(folder, shards)
        found, changed = finished_among(records, names, None if finds_people else digests, redo)
        refused = changed & ~redo.is_named(names) & (not redo.changed)
        if refused.any():
            raise ConfigError(
                f"{folder} holds results made with other boxes ({int(refused.sum())} images, "
                f"{names[int(np.flatnonzero(refused)[0])]} the first); set output.redo=changed to do these again."
            )
        people_done[0] += int(records.num_people[records.positions(names)[found.done]].sum())
        return found

    data: ImageDataModule = instantiate(cfg.data, boxes=None, _partial_=True, _convert_="all")(
        boxes=boxes, finished=finished
    )
    if data.goes_by_shards:
        data.listeners.append(lambda portion: portion.let_go())
    data.plan_all()
    data.listeners.clear()
    return _Planned(data, data.counts, people_done[0], data.not_counted)


def _images(data: ImageDataModule, counts: PlanCounts) -> list[tuple[str, str]]:
    listed, failed = counts.listed, counts.failed
    done = f"{counts.done_before} done before, {counts.failed_before} failed before"
    share = f" (shard {data.shard} of {data.num_shards})" if data.num_shards > 1 else ""
    rows = [("images", f"{listed} found; {counts.images} to do{share}, {done}")]
    return (
        [*rows, ("left out", f"{failed} that the box file or the listing has and cannot be read")] if failed else rows
    )


def _crops(
    data: ImageDataModule, planned: _Planned, facts: NetworkFacts, finds_people: bool, sample: PeopleSample | None
) -> list[tuple[str, str]]:
    flops, num_crops = facts.flops, planned.counts.crops
    a_crop = "operations a crop not known" if flops is None else f"{flops / _TFLOP:.3g} TFLOP a crop"
    done = f", {planned.people_done} done before" if planned.people_done else ""
    about, who = "", f"{num_crops} to do"
    if finds_people and sample is None:
        unknown = f"not known before the detector has looked at {planned.counts.images} images"
        hint = "; calibrate=SECONDS has it look at some" if num_crops else ""
        return [("people", f"{unknown}{hint}{done}"), ("work", a_crop)]
    if sample is not None:
        about, num_crops = "about ", round(planned.counts.images * sample.people_an_image)
        who = f"about {num_crops} to do: {_seen(sample)}"
    size = data.batch_size
    batches = f"{size} batches: their size is found on the device"
    if not isinstance(size, str):
        batches = f"{about}{-(-num_crops // size)} of {size} crops"
    total = "" if flops is None else f"{about}{_operations(flops * num_crops)}, "
    return [("people", f"{who}{done}"), ("batches", batches), ("work", f"{total}{a_crop}")]


def _seen(sample: PeopleSample) -> str:
    each = f"{sample.people_an_image:.2f} +- {sample.standard_error:.2f} an image"
    return f"the detector has looked at {sample.num_images} images and seen {sample.num_people}, {each}"


def _operations(flops: float) -> str:
    return f"{flops / _TFLOP:,.1f} TFLOP" if flops >= _TFLOP / 10 else f"{flops / _TFLOP:.3g} TFLOP"


def _space(cfg: DictConfig, folder: Path, found: Estimate, one_person: bool) -> list[tuple[str, str]]:
    place = Path(cfg.output.scratch or tempfile.gettempdir()) if is_url(cfg.output.dir) else folder
    free, total = shutil.disk_usage(_existing(place.expanduser())).free, sum(found.sizes.values())
    listed = ", ".join(
        f"{name} {'at most ' * (name == 'report')}{in_words(size)}" for name, size in found.sizes.items()
    )
    unknown = ", ".join(f"{name} ({why})" if why else name for name, why in found.unknown.items())
    more = f"; not estimated: {unknown}" if unknown else ""
    basis = f"; pictures as of {found.num_read} that were drawn on" if found.num_read else ""
    each = " for one person an image" if one_person else ""
    scarce = ", which is less than that" if total > free else ""
    until = ", where it is until it has gone up (output.scratch)" if is_url(cfg.output.dir) else ""
    return [
        ("to write", f"about {in_words(total)}{each} ({listed}{basis}){more}"),
        ("free space", f"{free / _GB:.1f} GB in {place}{scarce}{until}"),
    ]


def _copies(data: ImageDataModule) -> list[tuple[str, str]]:
    """What tars and tables from behind URLs take on the disk."""
    size = getattr(data.source, "bytes_at_urls", lambda: None)()
    if size is None:
        return []
    place, most = scratch.room()
    at_once = f"of {in_words(size)} behind URLs at most {in_words(min(most, size))} at a time (data.scratch_gib)"
    return [("copies", f"{at_once} in {place}, {in_words(shutil.disk_usage(place).free)} free")]


def _time(
    cfg: DictConfig,
    data: ImageDataModule,
    num_images: int,
    people: float,
    sample: PeopleSample | None,
) -> str:
    if data.goes_by_shards:
        data.plan()
    speed, device = crops_per_second(cfg, data)
    hours, told = people / speed / 3600, f"{speed:.2f} crops/s"
    if sample is not None:
        hours += num_images * sample.looked_at / max(sample.images_per_second, 1e-9) / 3600
        told = f"detector {sample.images_per_second:.2f} images/s, {told}"
    devices = cfg.trainer.devices if isinstance(cfg.trainer.devices, int) else 1
    several = max(devices, 1) * cfg.trainer.num_nodes
    shared = f", {hours / several:.2f} hours on {several}" if several > 1 else ""
    return f"{told} on one {device}: {hours:.2f} device hours{shared}"
