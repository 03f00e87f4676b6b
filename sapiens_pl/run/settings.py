"""Settings that would be misread, or fail only later: checked before anything large is loaded."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from sapiens_pl.boxes.rules import BOX_SETTINGS
from sapiens_pl.core.carried import carry_of
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.protocols import ShardedSource
from sapiens_pl.core.settings import SWITCH, Kind, check, either, is_list, is_number, is_whole, number, whole_number
from sapiens_pl.data.settings import LOADING
from sapiens_pl.detection.settings import DETECTING
from sapiens_pl.models.keypoint_sets import named_set
from sapiens_pl.models.settings import CROP, MODEL
from sapiens_pl.pictures.carrying import check_carry
from sapiens_pl.pictures.sources import open_source
from sapiens_pl.pictures.video_choice import frame_choice
from sapiens_pl.products.chosen import chosen_formats
from sapiens_pl.run.engines import share_of
from sapiens_pl.run.output import check_output, fill_in_formats
from sapiens_pl.run.overrides import no_text
from sapiens_pl.run.redo import read_redo
from sapiens_pl.tracking.of_records import TrackingOfRun

_GROUPS = ("data", "boxes", "model", "trainer", "output")
_TEXTS = (
    "data.images",
    "boxes.file",
    "boxes.images_file",
    "boxes.model",
    "boxes.weights",
    "model.checkpoint",
    "annotations",
    "output.dir",
    "output.scratch",
)
_ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps", "tpu")
_PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true", "32", "16", "64", "bf16")


def _are_devices(devices: Any) -> bool:
    if isinstance(devices, str):
        return devices == "auto" or all(part.strip().isdecimal() for part in devices.split(",") if part.strip() != "-1")
    if is_list(devices):
        return len(devices) > 0 and all(is_whole(number) and number >= 0 for number in devices)
    return is_whole(devices) and (devices >= 1 or devices == -1)


def _is_class(value: Any) -> bool:
    return is_number(value) or (isinstance(value, str) and bool(value.strip()))


def _is_logger(value: Any) -> bool:
    return isinstance(value, bool) or not isinstance(value, str | int)


_TRAINER = {
    "devices": Kind(
        "a number of devices of at least 1, a list of their numbers such as [0,1], -1 or auto for all", _are_devices
    ),
    "accelerator": Kind(
        f"one of {', '.join(_ACCELERATORS)}; trainer.devices=[0] chooses among several devices",
        lambda value: value in _ACCELERATORS,
    ),
    "precision": Kind(f"one of {', '.join(_PRECISIONS[:6])}", lambda value: str(value) in _PRECISIONS),
    "num_nodes": whole_number(1),
    "enable_progress_bar": SWITCH,
    "enable_checkpointing": SWITCH,
    "enable_model_summary": SWITCH,
    "use_distributed_sampler": SWITCH,
    "logger": Kind("true, false, or a _target_ with its settings", _is_logger),
}
"""Values that Lightning would refuse in its own words, or misread."""
_OUTPUT = {
    "overlay_score_threshold": number(),
    "flush_seconds": number(above=0),
    "resume": SWITCH,
    "overwrite": SWITCH,
    "max_failures": either(whole_number(0), None),
}
_WHOLE_RUN = {"dry_run": SWITCH, "calibrate": number(0)}
_FILE_BOXES = BOX_SETTINGS | {
    "format": either(BOX_SETTINGS["format"], None),  # some formats say themselves how their boxes are written
    "category_id": Kind(
        "a class's number or name, a list of such, or null",
        lambda value: (
            value is None or _is_class(value) or (is_list(value) and len(value) > 0 and all(map(_is_class, value)))
        ),
    ),
}


def in_hydras_words(sentence: str, cfg: DictConfig) -> str:
    """A sentence that begins with an argument's name, as a Python caller hears it, with the setting's key instead."""
    name, sign, _ = sentence.partition("=")
    groups = [str(group) for group, settings in cfg.items() if isinstance(settings, DictConfig) and name in settings]
    return f"{groups[0]}.{sentence}" if sign and len(groups) == 1 else sentence


def check_settings(cfg: DictConfig) -> None:
    """Raises ConfigError for the first setting that is not valid."""
    for group in _GROUPS:
        if not isinstance(cfg.get(group), DictConfig):
            raise ConfigError(f"{group}={cfg.get(group)} is not a choice; see conf/{group}/ for those there are.")
    if "_target_" not in cfg.boxes:
        raise ConfigError("boxes has no _target_; choose one of conf/boxes/ whose name does not begin with _.")
    texts = _TEXTS if OmegaConf.is_dict(cfg.data.source) else (*_TEXTS, "data.source")
    for key in texts:
        value = OmegaConf.select(cfg, key)
        if value is not None and not isinstance(value, str):
            raise ConfigError(f"{no_text(key, value)}.")
    if not cfg.output.dir:
        given = "null" if cfg.output.dir is None else ""
        raise ConfigError(f"output.dir={given} names no folder; give output.dir=FOLDER, or omit it.")
    check(_WHOLE_RUN, cfg, "")
    check(LOADING, cfg.data, "data")
    frame_choice(cfg.data.video, "data.video")
    check(_FILE_BOXES if "format" in cfg.boxes else DETECTING, cfg.boxes, "boxes")
    check(MODEL, cfg.model, "model")
    check(CROP, cfg.model.get("crop") or {}, "model.crop")
    if cfg.model.keypoint_set is not None:
        named_set(cfg.model.keypoint_set)
    check(_TRAINER, cfg.trainer, "trainer")
    check(_OUTPUT, cfg.output, "output")
    check_output(cfg.output)
    TrackingOfRun(cfg)
    read_redo(cfg.output.redo)
    share_of(cfg.data)
    source = None
    if cfg.data.images is not None:
        carry = carry_of(cfg.data.carry)
        source = open_source(cfg.data.images, source=cfg.data.source, columns=cfg.data.columns, carry=carry)
        check_carry(source, carry, cfg.data.images)
    fill_in_formats(cfg, isinstance(source, ShardedSource))
    chosen_formats(cfg)
